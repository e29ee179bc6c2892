"""A language model that reads its prompt: it finds every fact in a transcript, and answers each stage's question.

What it says follows from the prompt alone, so that two runs that differ in nothing but their accidents end the same.
"""

from __future__ import annotations

import json
import re
from typing import Any

_KINDS = {"failed": "symptom", "checked": "diagnosis", "run ": "solution", "never again": "prevention"}
_SEGMENT = re.compile(r"^\[(S\d+)[^\]]*\] (.+)$", re.MULTILINE)
_ITEM = re.compile(r"^(I\d+) (\w+)(?: \[[\d:]+\])? (.+)$", re.MULTILINE)

#: A talk that such a model has a lot to say about.
TALK = "\n".join(
    f"[00:{minute:02d}:{second:02d}] {text.format(minute)}"
    for minute in range(12)
    for second, text in (
        (0, "On day {} the nightly build failed after exactly 30 minutes of work on the server."),
        (15, "We checked the log of day {} and saw that the disk was full once again."),
        (30, "So run journalctl --vacuum-size={}00M and restart the build agent by hand."),
        (45, "It happens never again when SystemMaxUse={}00M is set in the configuration."),
    )
)


def answer(body: dict[str, Any]) -> str:
    """The text of the completion for the body of a chat request."""
    prompt = next(message["content"] for message in body["messages"] if message["role"] == "user")
    wanted = body["response_format"]["json_schema"]
    return json.dumps(_whole(_ANSWERS[wanted["name"]](prompt), wanted["schema"], wanted["schema"].get("$defs", {})))


def _whole(value: Any, schema: Any, known: dict[str, Any]) -> Any:
    """The value with null for whatever the schema requires and it does not have."""
    schema = known[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    if isinstance(value, list):
        return [_whole(each, schema.get("items", {}), known) for each in value]
    if not isinstance(value, dict):
        return value
    parts = schema.get("properties", {})
    found = {name: _whole(part, parts.get(name, {}), known) for name, part in value.items()}
    return {**dict.fromkeys(schema.get("required", [])), **found}


def _extraction(prompt: str) -> Any:
    return {
        "items": [
            {
                "id": f"I{number:03d}",
                "kind": next((kind for word, kind in _KINDS.items() if word in text), "fact"),
                "text": text,
                "evidence": {"segments": [segment], "quote": text},
            }
            for number, (segment, text) in enumerate(_SEGMENT.findall(prompt), start=1)
        ]
    }


def _items(prompt: str) -> list[tuple[str, str, str]]:
    return [(name, kind, text.partition(" > ")[0]) for name, kind, text in _ITEM.findall(prompt)]


def _matrix(prompt: str) -> Any:
    problems = [name for name, kind, _ in _items(prompt) if kind == "symptom"]
    named = {wanted: [name for name, kind, _ in _items(prompt) if kind == wanted] for wanted in _KINDS.values()}
    return {
        "rows": [
            {
                "problem": problem,
                "diagnosis": [],
                "debugging": named["diagnosis"][place : place + 1],
                "solution": named["solution"][place : place + 1],
                "prevention": named["prevention"][place : place + 1],
            }
            for place, problem in enumerate(problems)
        ]
    }


def _outline(prompt: str) -> Any:
    items = _items(prompt)
    sections = [
        {"heading": kind.capitalize(), "items": [name for name, own, _ in items if own == kind]}
        for kind in dict.fromkeys(kind for _, kind, _ in items)
    ]
    return {"title": "Twelve full disks", "sections": sections}


def _section(prompt: str) -> Any:
    return {"markdown": "\n".join(f"1. {text} [{name}]" for name, _, text in _items(prompt))}


_ANSWERS = {
    "documents_extract": _extraction,
    "documents_map": _matrix,
    "documents_outline": _outline,
    "documents_write": _section,
}
