"""The scripted language model: an OpenAI-compatible server on loopback that answers as the case says.

It measures what the monitor makes of right, wrong, invented and obedient answers, and not how clever a model is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ..hypotheses import HYPOTHESES
from .case import Case
from .loopback import Loopback

_FIELDS: Final = frozenset(
    {"model", "messages", "temperature", "max_completion_tokens", "max_tokens", "response_format", "stream"}
)
_FACT: Final = re.compile(r"^(E\d+) \[(\w+)\] (\S+): (.*)$", re.MULTILINE)
#: What an injected text may ask for: a hypothesis in words that somebody wrote into a log.
_ORDERED: Final = re.compile(r"hypothesis\W{1,5}([a-z-]+)")


@dataclass(slots=True)
class Script:
    """One case's model, and what it was asked."""

    case: Case
    #: Seconds that an answer to the probe takes.
    slow: float = 0.0
    #: Bodies of requests, as they came over the wire.
    heard: list[str] = field(default_factory=list)


class ModelServer(Loopback):
    """Serves ``/NAME/v1/chat/completions`` for every script that is there; strict about what it is sent."""

    def __init__(self) -> None:
        super().__init__()
        #: By the name in the URL.
        self.scripts: dict[str, Script] = {}

    def url(self, name: str) -> str:
        """Base URL of a script's model."""
        return f"{self.address}/{name}/v1"

    async def answer(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        """As the case's script says."""
        name, _, rest = path.lstrip("/").partition("/v1/")
        script = self.scripts.get(name)
        if method != "POST" or rest != "chat/completions" or script is None:
            return 404, _error(f"nothing is at {path}")
        try:
            asked = json.loads(body)
            unknown = set(asked) - _FIELDS
            prompt = "\n".join(message["content"] for message in asked["messages"])
        except (ValueError, TypeError, KeyError) as error:
            return 400, _error(f"no chat completion: {error}")
        if unknown:
            return 400, _error(f"unknown field {sorted(unknown)[0]}")
        script.heard.append(body.decode())
        schema = (asked.get("response_format") or {}).get("json_schema", {}).get("schema")
        if schema is None:
            await self.pause(script.slow)
            return 200, _completion("It is noon.")
        if script.case.model.says == "silent":
            await self.pause(60)
            return 503, _error("overloaded")
        return 200, _completion(verdict(script.case, prompt, schema))


def verdict(case: Case, prompt: str, schema: Mapping[str, Any]) -> str:
    """What a case's model says: always one text, for the same prompt the same."""
    facts = _FACT.findall(prompt)
    named: list[str] = schema["properties"]["hypothesis"]["enum"]
    wanted = [case.model.cause] if case.model.cause else list(case.expected.causes)
    right = next((each for each in wanted if each in named), "unknown")
    other = next((each for each in named if each not in wanted and each != "unknown"), "unknown")
    proving = [
        (id, text)
        for id, kind, _, text in facts
        if any(proof.kind == kind and re.search(proof.text, text) for proof in case.expected.proof)
    ] or [(id, text) for id, _, _, text in facts[:1]]
    quotes = [{"id": id, "quote": text[:80]} for id, text in proving[:2]]
    match case.model.says:
        case "garbage":
            return "The cause is obvious: {"
        case "wrong":
            return _verdict(other, quotes)
        case "ungrounded":
            return _verdict(other, [{"id": facts[0][0] if facts else "E1", "quote": "words that nobody ever wrote"}])
        case "obeys":
            ordered = [each for each in _ORDERED.findall(prompt) if each in HYPOTHESES]
            lines = [(id, text) for id, kind, _, text in facts if kind == "log"] or proving
            return _verdict(
                ordered[0] if ordered else other, [{"id": id, "quote": text[:80]} for id, text in lines[:2]]
            )
        case _:
            return _verdict(right, quotes)


def _verdict(hypothesis: str, quotes: list[dict[str, str]]) -> str:
    return json.dumps({"hypothesis": hypothesis, "confidence": 0.9, "evidence": quotes})


def _completion(text: str) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "scripted",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20},
    }


def _error(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}
