"""The last page of a document: how it was made, from how much of the recording, what is not in it, and no more."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from stenobus_contracts import (
    BlobRef,
    DocumentSource,
    Evidence,
    Item,
    LlmRequest,
    Media,
    Recognition,
    Segment,
    StageUsage,
    TokenUsage,
    Transcript,
)
from stenobus_documents.dropped import Dropped, Sifted
from stenobus_documents.provenance import provenance
from stenobus_documents.quality import body

from .conftest import StartBench, honest

SOURCE = DocumentSource(
    title="A talk",
    media=Media(uri="https://talks.example/talk.mp4", title="talk.mp4"),
    transcript=BlobRef(uri="file:///x", sha256="0" * 64, size=1),
    recognition=Recognition(engine="whisper", model="small", reason="it is there"),
    language="en",
)
SEGMENTS = (
    Segment(id="S0001", text="Hello!", start=0, end=1, kind="small_talk"),
    Segment(id="S0002", text="The disk was full.", start=5, end=8),
    Segment(id="S0003", text="Nobody knew.", start=9, end=12),
    Segment(id="S0004", text="[music]", start=700, end=702, kind="noise"),
    Segment(id="S0005", text="We ran df.", start=1250.5, end=1252),
)
ITEM = Item(
    id="I001", kind="symptom", text="The disk was full.",
    evidence=Evidence(segments=("S0002",), quote="The disk was full.", start=5),
)  # fmt: skip
LIE = Dropped(text="It burnt down.", quote="fire", segments=("S0005",), reason="its quote is not in the cited segments")
PRICED = StageUsage(
    stage="extract", method="model", provider="openai", model="gpt-4", prompt="extract@2",
    tokens=TokenUsage(input=1000, output=50), cost_usd=Decimal("0.0100"), calls=2,
)  # fmt: skip
UNPRICED = StageUsage(
    stage="map", method="model", provider="vllm", model="qwen", prompt="map@2", cost_usd=None, calls=1
)


def page(*stages: StageUsage, language: Any = None, dropped: tuple[Dropped, ...] = (), **source: Any) -> str:
    return provenance(
        SOURCE.model_copy(update={"document_language": language, **source}),
        Transcript(segments=SEGMENTS, duration_seconds=1252),
        Sifted(items=(ITEM,), dropped=dropped),
        stages,
        (),
    )


def tables(text: str) -> list[list[list[str]]]:
    """The rows of each table below its heads."""
    found: list[list[list[str]]] = [[]]
    for line in text.splitlines():
        if line.startswith("|"):
            found[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        elif found[-1]:
            found.append([])
    return [table[2:] for table in found if table]


def test_models_prompts_and_tokens_have_a_row_each() -> None:
    stages, *_ = tables(page(PRICED, UNPRICED))
    assert stages == [
        ["extract", "model", "openai, gpt-4", "extract@2", "2", "1000", "50", "0.01 USD"],
        ["map", "model", "vllm, qwen", "map@2", "1", "0", "0", "unknown"],
    ]
    assert "- Transcript: whisper small (it is there)\n" in page(PRICED)
    assert "≈1000" in page(PRICED.model_copy(update={"tokens": TokenUsage(input=1000, estimated=True)}))


@pytest.mark.parametrize(
    ("stages", "says"),
    [
        ((PRICED, PRICED), "0.02 USD"),
        ((PRICED, UNPRICED), "unknown (no price is known for qwen; the rest took 0.01 USD)"),
        ((UNPRICED,), "unknown (no price is known for qwen)"),
        ((), "0 USD"),
    ],
)
def test_an_unknown_price_makes_the_cost_unknown(stages: tuple[StageUsage, ...], says: str) -> None:
    assert f"\n- Cost: {says}\n" in page(*stages)


def test_coverage_by_ten_minutes_links_to_the_recording() -> None:
    _, parts, *_ = tables(page(PRICED))
    assert parts == [
        ["[00:00:00](https://talks.example/talk.mp4#t=0) – 00:10:00", "2", "1", "1"],
        ["[00:20:00](https://talks.example/talk.mp4#t=1200) – 00:30:00", "1", "0", "0"],
    ]
    assert "1 statements from 1 of 3 segments of speech; 1 of small talk and 1 of noise were left out" in page(PRICED)


def test_what_is_not_in_it_is_listed_with_its_times_and_no_lie_is_told() -> None:
    text = page(
        PRICED, dropped=(LIE, LIE, LIE.model_copy(update={"segments": ("S9999",), "reason": "it cites nothing"}))
    )
    *_, missing = tables(text)
    assert missing == [
        ["it cites nothing", "1", "–"],
        ["its quote is not in the cited segments", "2", "[00:20:50](https://talks.example/talk.mp4#t=1250)"],
        ["segments of small talk", "1", "[00:00:00](https://talks.example/talk.mp4#t=0)"],
        ["segments of noise or repeats", "1", "[00:11:40](https://talks.example/talk.mp4#t=700)"],
    ]
    assert "burnt" not in text and "fire" not in text


def test_no_reader_is_sent_to_a_store_that_nothing_opens() -> None:
    assert r"\[00:00:00\]" in page(PRICED, media=Media(uri="nats://b/talk.mp4"))
    assert "nats://" not in page(PRICED, media=Media(uri="nats://b/talk.mp4"))


def test_warnings_are_told_once_and_are_text() -> None:
    warned = PRICED.model_copy(
        update={"warnings": ("1 item dropped: its quote is not in the cited segments", "the text | was <b>cut</b> off")}
    )
    text = page(warned, dropped=(LIE,))
    assert "1 item dropped" not in text, "the table says so"
    assert r"- extract: the text \| was \<b\>cut\</b\> off" in text


@pytest.mark.parametrize(("language", "heading"), [("en", "Provenance"), ("pt", "Procedência"), ("es", "Procedencia")])
def test_the_page_has_the_documents_language_and_is_none_of_its_claims(language: str, heading: str) -> None:
    text = page(PRICED, UNPRICED, language=language, dropped=(LIE,))
    assert text.startswith(f"## {heading}\n")
    if language != "en":
        english = ("Recording", "Stage", "Cost:", "unknown", "Segments of", "statements from", "What is", "small talk")
        assert not [words for words in english if words in text]
    assert body(f"# T\n\n## Provenance of errors\n\nThe disk was full.\n\n{text}") == (
        "# T\n\n## Provenance of errors\n\nThe disk was full.\n"
    )


@pytest.mark.parametrize("language", ["en", "pt", "es"])
async def test_the_page_agrees_with_the_quality(start: StartBench, language: Any) -> None:
    def careless(request: LlmRequest) -> Any:
        answer = honest(request)
        if request.task == "documents.extract":
            answer["items"][0]["evidence"]["quote"] = "the network was down"
            answer["items"][1]["evidence"]["segments"] = ["S9999"]
        return answer

    bench = await start(careless)
    ready = await bench.document(document_language=language)
    assert ready.quality is not None
    quality = json.loads(await bench.read(ready.quality))
    text = await bench.markdown(ready)
    stages, parts, missing = tables(text[len(body(text)) :])
    assert quality["sound"] is True
    assert [(row[0], row[1], row[2], int(row[4]), int(row[5]), int(row[6])) for row in stages] == [
        (
            each["stage"], each["method"], ", ".join(filter(None, (each.get("provider"), each.get("model")))) or "–",
            each["calls"], each["tokens"]["input"], each["tokens"]["output"],
        )
        for each in quality["stages"] if each["stage"] != "output"
    ]  # fmt: skip
    assert sum(Decimal(row[7].split()[0]) for row in stages) == Decimal(quality["cost_usd"])
    assert f": {Decimal(quality['cost_usd']).normalize():f} USD\n" in text
    assert [[int(cell) for cell in row[1:]] for row in parts] == [
        [part["speech"], part["cited"], part["statements"]] for part in quality["coverage"]
    ]
    assert {row[0]: int(row[1]) for row in missing[:2]} == quality["dropped"]
    assert [int(row[1]) for row in missing[2:]] == list(quality["left_out"].values())
