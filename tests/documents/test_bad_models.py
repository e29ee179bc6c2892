"""A model that answers nonsense, is cut off, invents, loops or finds no end: none of it becomes truth in a document."""

from __future__ import annotations

from typing import Any

import pytest

from stenobus_contracts import ExtractInputs, LlmRequest, MapInputs, WriteInputs

from .conftest import TALK, TRUNCATED, StartBench, honest, item


def long_talk(lines: int) -> str:
    return "\n".join(f"[{n // 60:02d}:{n % 60:02d}:00] On day {n} the build {n} failed anew." for n in range(lines))


@pytest.mark.parametrize(
    "nonsense", ["I am sorry, but", "", [], {"items": [{"id": "x"}]}, {"items": 3}, {"rows": []}, None]
)
async def test_nonsense_is_a_clear_failure_and_asked_for_once(start: StartBench, nonsense: Any) -> None:
    bench = await start(lambda request: nonsense)
    letter = await bench.failure()
    assert letter.reason == "permanent"
    assert "Set target of documents-extract to another provider or model." in letter.message
    assert len(bench.model.requests) == 1, "repairs are the router's business"


async def test_data_that_breaks_the_schema_in_spite_of_the_router_is_refused(start: StartBench) -> None:
    bench = await start(lambda request: {"done": {"data": {"items": [{"id": "I001", "kind": "gossip"}]}}})
    letter = await bench.failure()
    assert "scripted answered documents.extract with something that does not fit its schema" in letter.message
    assert "items.0.kind" in letter.message


async def test_an_answer_without_data_is_refused(start: StartBench) -> None:
    bench = await start(lambda request: {"done": {"text": '{"items": []}'}})
    assert "does not fit its schema" in (await bench.failure()).message


# --- cut off ---------------------------------------------------------------------------------------------------------


async def test_an_extraction_that_was_cut_off_is_asked_for_in_halves_and_never_as_it_was(start: StartBench) -> None:
    def short(request: LlmRequest) -> Any:
        if request.task == "documents.extract" and len(ExtractInputs.model_validate(request.inputs).segments) > 2:
            return TRUNCATED
        return honest(request)

    bench = await start(short)
    ready = await bench.document()
    asked = [len(ExtractInputs.model_validate(request.inputs).segments) for request in bench.model.asked("extract")]
    assert asked == [4, 2, 2]
    assert "4 statements" in await bench.markdown(ready)
    extract = next(stage for stage in ready.stages if stage.stage == "extract")
    assert (extract.calls, extract.tokens.total) == (3, 330), "what was cut off was paid for too"


async def test_what_was_cut_off_is_not_paid_for_again_in_another_run(start: StartBench) -> None:
    def short(request: LlmRequest) -> Any:
        if request.task == "documents.extract" and len(ExtractInputs.model_validate(request.inputs).segments) > 2:
            return TRUNCATED
        return honest(request)

    bench = await start(short, cache=True)
    first = await bench.document(title="Cut off")
    asked = len(bench.model.requests)
    second = await bench.document(title="Cut off")
    assert len(bench.model.requests) == asked
    assert first.stages == second.stages


async def test_segments_that_send_a_model_in_circles_stay_unread_and_are_named(start: StartBench) -> None:
    def looping(request: LlmRequest) -> Any:
        if request.task == "documents.extract":
            segments = ExtractInputs.model_validate(request.inputs).segments
            return TRUNCATED if any("build 17 " in segment.text for segment in segments) else honest(request)
        return honest(request)

    bench = await start(looping)
    ready = await bench.document(long_talk(40).replace("day 17", "day 17 of the loop"))
    (warning,) = [warning for warning in ready.warnings if warning.startswith("extract: ")]
    assert "S0018" in warning and "could not be read" in warning
    text = await bench.markdown(ready)
    assert "build 14 failed" in text and "build 20 failed" in text and "build 17 failed" not in text


async def test_a_model_that_is_always_cut_off_is_given_up_soon(start: StartBench) -> None:
    bench = await start(lambda request: TRUNCATED)
    letter = await bench.failure(long_talk(40))
    assert letter.reason == "permanent"
    assert "cut off even for a few segments" in letter.message
    assert len(bench.model.requests) == 5


@pytest.mark.parametrize("task", ["map", "outline"])
async def test_a_matrix_or_outline_that_was_cut_off_is_made_of_parts(start: StartBench, task: str) -> None:
    def short(request: LlmRequest) -> Any:
        if request.task == f"documents.{task}" and len(MapInputs.model_validate(request.inputs).items) > 2:
            return TRUNCATED
        return honest(request)

    bench = await start(short)
    ready = await bench.document(TALK)
    asked = [len(MapInputs.model_validate(request.inputs).items) for request in bench.model.asked(task)]
    assert asked == [4, 2, 2]
    assert ready.warnings == ()
    text = await bench.markdown(ready)
    assert "4 statements" in text and "## Prevention\n" in text and "| Problem |" in text


async def test_the_second_part_of_an_outline_knows_the_headings_of_the_first(start: StartBench) -> None:
    def short(request: LlmRequest) -> Any:
        if request.task != "documents.outline":
            return honest(request)
        items = MapInputs.model_validate(request.inputs).items
        if len(items) > 2:
            return TRUNCATED
        return {"title": "T", "sections": [{"heading": "What happened", "items": [each.id for each in items]}]}

    bench = await start(short)
    text = await bench.markdown(await bench.document())
    assert "What happened" in bench.model.asked("outline")[2].messages[-1].content
    assert text.count("## What happened\n") == 1


async def test_a_section_that_was_cut_off_is_written_in_halves(start: StartBench) -> None:
    def short(request: LlmRequest) -> Any:
        if request.task == "documents.outline":
            items = MapInputs.model_validate(request.inputs).items
            return {"title": "T", "sections": [{"heading": "All", "items": [each.id for each in items]}]}
        if request.task == "documents.write" and len(WriteInputs.model_validate(request.inputs).items) > 1:
            return TRUNCATED
        return honest(request)

    bench = await start(short)
    ready = await bench.document()
    text = await bench.markdown(ready)
    asked = [len(WriteInputs.model_validate(request.inputs).items) for request in bench.model.asked("write")]
    assert asked == [4, 2, 1, 1, 2, 1, 1]
    section = text.partition("## All\n")[2].partition("\n## ")[0]
    assert section.count("\n- ") == 4 and ready.warnings == ()


async def test_a_section_that_no_answer_is_long_enough_for_stands_as_it_was_extracted(start: StartBench) -> None:
    bench = await start(lambda request: TRUNCATED if request.task == "documents.write" else honest(request))
    ready = await bench.document()
    text = await bench.markdown(ready)
    assert "- The nightly build failed with no space left on device. [00:00:05]" in text
    assert ready.warnings == ("write: 4 items stand as they were extracted: the text about them was cut off",)


async def test_a_long_section_is_asked_for_in_parts_that_fit_the_answer(
    start: StartBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def one_section(request: LlmRequest) -> Any:
        if request.task == "documents.outline":
            items = MapInputs.model_validate(request.inputs).items
            return {"title": "T", "sections": [{"heading": "All", "items": [each.id for each in items]}]}
        return honest(request)

    monkeypatch.setenv("STENOBUS_DOCUMENTS_WRITE_MAX_OUTPUT_TOKENS", "400")
    bench = await start(one_section)
    text = await bench.markdown(await bench.document(long_talk(40)))
    asked = [len(WriteInputs.model_validate(request.inputs).items) for request in bench.model.asked("write")]
    assert len(asked) > 4 and sum(asked) == 40
    assert text.partition("## All\n")[2].partition("\n## ")[0].count("\n- ") == 40


# --- inventions ------------------------------------------------------------------------------------------------------


async def test_invented_quotes_and_segments_are_dropped_and_counted(start: StartBench) -> None:
    def lying(request: LlmRequest) -> Any:
        answer = honest(request)
        if request.task == "documents.extract":
            answer["items"][0]["evidence"]["quote"] = "the network was down"
            answer["items"][1]["evidence"]["segments"] = ["S9999"]
        return answer

    bench = await start(lying)
    ready = await bench.document(TALK.replace("failed", "failed and failed"))
    assert ready.warnings == (
        "extract: 1 item dropped: it cites no segment of its chunk",
        "extract: 1 item dropped: its quote is not in the cited segments",
    )
    text = await bench.markdown(ready)
    assert "nightly build" not in text
    assert "| it cites no segment of its chunk | 1 | – |" in text


async def test_invented_ids_are_dropped_and_counted_in_every_stage(start: StartBench) -> None:
    def confused(request: LlmRequest) -> Any:
        answer = honest(request)
        match request.task:
            case "documents.map":
                answer["rows"] += [{**answer["rows"][0], "problem": "I777"}]
                answer["rows"][0]["solution"] += ["I888"]
                answer["rows"][0]["debugging"] += ["I889"]
            case "documents.outline":
                answer["sections"] = [
                    {"heading": "# Only\none", "items": ["I001", "I999"]},
                    {"heading": "Empty", "items": []},
                ]
            case "documents.write":
                answer["markdown"] += " [I999] (00:59:59)"
        return answer

    bench = await start(confused)
    ready = await bench.document()
    text = await bench.markdown(ready)
    assert not [word for word in ("I777", "I888", "I889", "I999", "00:59:59") if word in text.partition("###")[0]]
    assert "## Only one\n" in text and "## Other findings\n" in text and "## Empty" not in text
    assert ready.warnings == (
        "map: 1 row dropped: it names a problem that was not extracted",
        "map: 2 unknown item ids dropped from the matrix",
        "outline: 1 unknown item ids dropped from the outline",
        "outline: 3 items that the outline forgot are in the section 'Other findings'",
        "write: 4 citations of the text named nothing that is known and were taken out",
    )


# --- without end -----------------------------------------------------------------------------------------------------


async def test_an_answer_of_five_megabytes_is_never_looked_at(start: StartBench) -> None:
    def huge(request: LlmRequest) -> Any:
        answer = honest(request)
        if request.task == "documents.extract":
            segments = ExtractInputs.model_validate(request.inputs).segments
            if len(segments) > 2:
                answer["items"] = [item(1, segments[0]) | {"text": "x" * 5_000_000}]
        elif request.task == "documents.write":
            answer["markdown"] = "The end is near. " * 300_000
        return answer

    bench = await start(huge)
    ready = await bench.document()
    text = await bench.markdown(ready)
    assert len(text) < 10_000
    assert "The nightly build failed" in text and "The end is near" not in text
    assert ready.warnings == ("write: 4 items stand as they were extracted: the text about them was cut off",)


async def test_a_model_that_repeats_its_items_is_bounded(start: StartBench) -> None:
    def looping(request: LlmRequest) -> Any:
        answer = honest(request)
        if request.task == "documents.extract":
            answer["items"] = [each for each in answer["items"] for _ in range(400)]
        return answer

    bench = await start(looping)
    ready = await bench.document()
    assert "extract: 1550 items dropped: there are more than its segments can hold" in ready.warnings
    text = await bench.markdown(ready)
    assert text.partition("## Symptom\n")[2].partition("\n## ")[0].count("nightly build") == 1


async def test_a_section_that_repeats_itself_says_it_once_in_a_while(start: StartBench) -> None:
    def looping(request: LlmRequest) -> Any:
        answer = honest(request)
        if request.task == "documents.write":
            answer["markdown"] = "\n\n".join(["And then the disk was full again."] * 90) + f"\n\n{answer['markdown']}"
        return answer

    bench = await start(looping)
    ready = await bench.document()
    text = await bench.markdown(ready)
    assert text.count("And then the disk was full again.") == 4 * 3
    assert "write: 348 repeated lines dropped" in ready.warnings
    assert "- The nightly build failed" in text


async def test_a_section_far_longer_than_its_items_is_a_loop(start: StartBench) -> None:
    def rambling(request: LlmRequest) -> Any:
        answer = honest(request)
        if request.task == "documents.write":
            answer["markdown"] = " ".join(f"Then came step {number}." for number in range(5000))
        return answer

    bench = await start(rambling)
    text = await bench.markdown(await bench.document())
    assert "Then came step" not in text and "- The nightly build failed" in text


async def test_sections_without_end_are_cut(start: StartBench) -> None:
    def endless(request: LlmRequest) -> Any:
        answer = honest(request)
        if request.task == "documents.outline":
            answer["sections"] = [{"heading": f"Part {number}", "items": ["I001"]} for number in range(500)]
        return answer

    bench = await start(endless)
    ready = await bench.document()
    assert len(bench.model.asked("write")) == 41
    assert "outline: 460 of 500 sections dropped" in ready.warnings
    assert "## Other findings" in await bench.markdown(ready)


async def test_an_empty_section_stands_as_it_was_extracted(start: StartBench) -> None:
    def lazy(request: LlmRequest) -> Any:
        return {"markdown": " \n--- "} if request.task == "documents.write" else honest(request)

    bench = await start(lazy)
    ready = await bench.document()
    assert "- The nightly build failed" in await bench.markdown(ready)
    assert ready.warnings == ("write: 4 items stand as they were extracted: the text about them was empty",)
