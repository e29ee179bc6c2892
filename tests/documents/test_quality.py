"""``quality.json``: the finished document is checked as it stands, and says what is not in it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stenobus_contracts import (
    Evidence,
    Item,
    LlmRequest,
    Outline,
    OutlineSection,
    ProblemMatrix,
    ProblemRow,
    Segment,
    StageUsage,
    Transcript,
)
from stenobus_documents.dropped import Dropped, Sifted
from stenobus_documents.quality import Quality, assess

from .conftest import StartBench, honest

TRANSCRIPT = Transcript(
    segments=(
        Segment(id="S0001", text="Hello everyone!", start=0, end=1, kind="small_talk"),
        Segment(id="S0002", text="The disk was 98 percent full.", start=5, end=8, speaker="Ana"),
        Segment(id="S0003", text="We ran df -h on port 8080.", start=610, end=615, speaker="Bob"),
        Segment(id="S0004", text="Nobody knew.", start=1300, end=1302),
    ),
    duration_seconds=1302,
)
ITEMS = (
    Item(
        id="I001",
        kind="symptom",
        text="The disk was 98 percent full.",
        evidence=Evidence(segments=("S0002",), quote="The disk was 98 percent full.", start=5, speaker="Ana"),
    ),
    Item(id="I002", kind="command", text="df -h", evidence=Evidence(segments=("S0003",), quote="ran df -h", start=610)),
)
DOCUMENT = """---
title: "Talk 2026"
---

# A full disk

> **Written by a language model:** gpt-4 (openai). 77 findings.

| Problem | Solution |
|---|---|
| The disk was 98 % full. [00:00:05](file:///t.mp4#t=5) | `df -h` \\[00:10:10\\] |

## What happened

- It was **98%** full. [00:00:05](file:///t.mp4#t=5)

```sh
df -h
```

## Provenance

- Cost: 12345 USD at 11:11:11
"""


def look(markdown: str = DOCUMENT, **changes: Any) -> Quality:
    parts: dict[str, Any] = {
        "transcript": TRANSCRIPT,
        "sifted": Sifted(items=ITEMS),
        "matrix": ProblemMatrix(rows=(ProblemRow(problem="I001", solution=("I002",)),)),
        "outline": Outline(
            title="A full disk", sections=(OutlineSection(heading="What happened", items=("I001", "I002")),)
        ),
        "stages": [StageUsage(stage="clean", method="local", cost_usd=None)],
        "method": "model",
        "title": "Talk 2026",
        **changes,
    }
    return assess(markdown, **parts)


def failed(quality: Quality) -> dict[str, tuple[str, ...]]:
    return {gate.name: gate.failed for gate in quality.gates if gate.failed}


def test_a_sound_document() -> None:
    quality = look()
    assert failed(quality) == {} and quality.sound
    assert [(part.start, part.speech, part.cited, part.statements) for part in quality.coverage] == [
        ("00:00:00", 1, 1, 1),
        ("00:10:00", 1, 1, 1),
        ("00:20:00", 1, 0, 0),
    ]
    assert (quality.statements, quality.uncited) == ({"command": 1, "symptom": 1}, 1)
    assert [(out.id, out.time, out.kind, out.text) for out in quality.left_out_segments] == [
        ("S0001", "00:00:00", "small_talk", "Hello everyone!")
    ]
    [section] = quality.sections
    assert (section.first, section.last, section.speakers) == ("00:00:05", "00:10:10", ("Ana",))
    assert quality.cost_usd is None


@pytest.mark.parametrize(
    ("old", "new", "gate", "what"),
    [
        ("**98%**", "**97%**", "claims", ("97%",)),
        ("98 % full", "97 % full", "claims", ("97",)),
        ("\ndf -h\n", "\ndf -i\n", "claims", ("df -i",)),
        ("`df -h` ", "`df -k` ", "claims", ("df -k",)),
        ("What happened", "In 3.14", "claims", ("3.14",)),
        ("[00:10:10\\]", "[00:10:11\\]", "times", ("\\[00:10:11\\]",)),
        ("(file:///t.mp4#t=5)", "(file:///t.mp4#t=6)", "times", ("[00:00:05](file:///t.mp4#t=6)",) * 2),
    ],
)
def test_an_error_in_the_finished_document_is_found(old: str, new: str, gate: str, what: tuple[str, ...]) -> None:
    assert old in DOCUMENT
    quality = look(DOCUMENT.replace(old, new))
    assert failed(quality) == {gate: what} and not quality.sound


def test_errors_in_what_the_document_is_made_of_are_found() -> None:
    moved = ITEMS[0].model_copy(update={"evidence": Evidence(segments=("S0004",), quote="The disk was 98 percent")})
    assert "evidence" in failed(look(sifted=Sifted(items=(moved, ITEMS[1]))))
    assert failed(look(sifted=Sifted(items=(*ITEMS, ITEMS[1])))) == {"distinct": ("df -h",)}
    assert failed(look(matrix=ProblemMatrix(rows=(ProblemRow(problem="I009"),)))) == {"references": ("I009",)}
    assert failed(look(outline=Outline(title="x", sections=(OutlineSection(heading="x", items=("I001",)),)))) == {
        "references": ("I002 is told nowhere",)
    }


def test_dropped_statements_are_listed() -> None:
    lie = Dropped(text="It burnt.", quote="fire", segments=("S0002",), reason="its quote is not in the cited segments")
    quality = look(sifted=Sifted(items=ITEMS, dropped=(lie,)))
    assert quality.dropped == {"its quote is not in the cited segments": 1}
    assert quality.dropped_statements == (lie,) and quality.sound


async def test_every_document_comes_with_its_quality(start: StartBench) -> None:
    def lying(request: LlmRequest) -> Any:
        answer = honest(request)
        if request.task == "documents.extract":
            answer["items"][0]["evidence"]["quote"] = "the network was down"
        return answer

    bench = await start(lying)
    ready = await bench.document()
    assert ready.quality is not None and ready.quality.content_type == "application/json"
    quality = json.loads(await bench.read(ready.quality))
    assert quality["sound"] is True
    assert [each["quote"] for each in quality["dropped_statements"]] == ["the network was down"]
    assert quality["left_out"] == {"small_talk": 1}
    assert {stage["stage"]: stage.get("prompt", "-").partition("@")[0] for stage in quality["stages"]} == {
        "clean": "-", "extract": "extract", "map": "map", "outline": "outline", "write": "write", "output": "-",
    }  # fmt: skip
