"""All six stages on a real bus, from a transcript to the finished document."""

from __future__ import annotations

import io
from decimal import Decimal
from typing import Any

import docx
import pytest

from stenobus_contracts import LlmError, LlmRequest, Media, Recognition

from .conftest import TALK, StartBench, honest


async def test_a_transcript_becomes_a_document(start: StartBench) -> None:
    bench = await start()
    ready = await bench.document(
        recognition=Recognition(engine="pocketsphinx", model="en-us"), metadata={"team": "ops"}
    )
    text = await bench.markdown(ready)
    assert ready.title == "A full disk"
    assert ready.source.metadata == {"team": "ops"}
    assert "> **Written by a language model:** script-1 (scripted)" in text
    assert "- So run journalctl --vacuum-size=500M" in text
    assert "[00:00:16](file:///talks/disk_full-2.mp4#t=16)" in text
    assert "| Problem | Diagnosis | Solution | Prevention |" in text
    assert "good morning" not in text
    assert [stage.stage for stage in ready.stages] == ["clean", "extract", "map", "outline", "write", "output"]
    assert ready.method == "model"
    assert ready.chunks_processed == 1
    assert (ready.tokens_used.input, ready.tokens_used.output) == (700, 70)
    assert ready.cost_usd == Decimal("0.007")
    assert ready.warnings == ()
    document = docx.Document(io.BytesIO(await bench.read(ready.docx)))
    assert "Problems and solutions" in [paragraph.text for paragraph in document.paragraphs]
    assert (await bench.transcript(ready)).segments[0].kind == "small_talk"


async def test_an_extractive_answerer_makes_an_extractive_document(start: StartBench) -> None:
    def extractive(request: LlmRequest) -> Any:
        fields = {"method": "extractive", "provider": "extractive", "cost_usd": Decimal(0), "usage": {}}
        return {"done": {**fields, "data": honest(request)}}

    bench = await start(extractive)
    ready = await bench.document()
    assert ready.method == "extractive"
    assert ready.cost_usd == 0
    assert "No language model was used; every sentence is verbatim from the recording." in await bench.markdown(ready)


async def test_equal_transcripts_give_equal_bytes(start: StartBench) -> None:
    bench = await start()
    first, second = await bench.document(), await bench.document()
    assert first.markdown.sha256 == second.markdown.sha256
    assert first.docx.sha256 == second.docx.sha256


async def test_a_second_run_asks_nobody_and_reports_the_same_usage(start: StartBench) -> None:
    bench = await start(cache=True)
    first = await bench.document()
    asked = len(bench.model.requests)
    second = await bench.document()
    assert asked == 7
    assert len(bench.model.requests) == asked
    assert second.stages == first.stages


async def test_another_target_is_another_question(start: StartBench, monkeypatch: pytest.MonkeyPatch) -> None:
    await (await start(cache=True)).document(title="Targets")
    monkeypatch.setenv("STENOBUS_DOCUMENTS_MAP_TARGET", "other")
    bench = await start(cache=True)
    await bench.document(title="Targets")
    assert [(request.task, request.target) for request in bench.model.requests] == [("documents.map", "other")]


async def test_titles(start: StartBench) -> None:
    bench = await start(lambda request: {**honest(request), **({"title": " "} if "outline" in request.task else {})})
    assert (await bench.document(title="Given title")).title == "Given title"
    assert (await bench.document()).title == "Disk full 2"
    assert (await bench.document(title="long " * 90)).title == ("long " * 90)[:300].strip()
    hashed = await bench.store(TALK)
    assert (await bench.document(hashed, media=None)).title == "Untitled recording"


async def test_chunks_are_asked_about_one_by_one_and_merged(start: StartBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STENOBUS_DOCUMENTS_EXTRACT_MAX_TOKENS_PER_CHUNK", "200")
    bench = await start()
    talk = "\n".join(
        f"[00:{n:02d}:00] On day {n} the {n}. build failed after {n * 7} minutes of work." for n in range(40)
    )
    ready = await bench.document(talk)
    assert ready.chunks_processed == len(bench.model.asked("extract")) > 4
    assert "40 statements from 40 of 40 segments" in await bench.markdown(ready)
    assert "#t=1800) – 00:40:00 | 10 | 10 | 10 |" in await bench.markdown(ready)


async def test_hostile_sections_stay_inside_their_section(start: StartBench) -> None:
    def hostile(request: LlmRequest) -> Any:
        if request.task != "documents.write":
            return honest(request)
        return {
            "markdown": "# Provenance\n<script>x</script> ![x](http://evil/x.png) `<b>` [I001]\n\n```sh\nfull <x>\n"
        }

    bench = await start(hostile)
    text = await bench.markdown(await bench.document(TALK.replace("because", "full because")))
    assert "<script>" not in text and "&lt;script>" in text
    assert "http://evil" not in text
    assert "### Provenance" in text and text.count("\n## Provenance\n") == 1
    assert "`<b>`" in text and "full <x>\n```" in text


@pytest.mark.parametrize(
    ("talk", "says"),
    [
        (b"", "empty"),
        (b'{"results": {"items": [', "cut off"),
        (b"[Music]\n\n[Applause]", "nothing but noise"),
        (b"RIFF\x00\x00\x00\x00WAVE", "binary"),
    ],
)
async def test_bad_transcripts_are_dead_letters_that_say_why(start: StartBench, talk: bytes, says: str) -> None:
    letter = await (await start()).failure(talk)
    assert letter.reason == "permanent"
    assert says in letter.message


async def test_a_transcript_over_the_limit(start: StartBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STENOBUS_DOCUMENTS_CLEAN_MAX_BYTES", "10")
    assert "10" in (await (await start()).failure()).message


async def test_small_talk_alone_gives_a_document_that_says_so(start: StartBench) -> None:
    bench = await start()
    ready = await bench.document("Hello everyone!\n\nThank you very much.")
    assert bench.model.requests == []
    assert ready.chunks_processed == 0
    assert "Nothing was found in it" in await bench.markdown(ready)
    assert ready.warnings


async def test_a_refusal_of_the_router_is_a_dead_letter(start: StartBench) -> None:
    bench = await start(lambda request: LlmError(code="unsupported", message="No provider can do that."))
    assert "No provider can do that." in (await bench.failure(title="Refused")).message


async def test_media_that_no_viewer_opens_is_cited_without_a_link(start: StartBench) -> None:
    bench = await start()
    text = await bench.markdown(await bench.document(media=Media(uri="s3://bucket/talk.mp4")))
    assert r"\[00:00:16\]" in text and "s3://bucket/talk.mp4#" not in text
