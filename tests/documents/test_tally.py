"""What a run spent and what the cache saved it, in the run record and in the result."""

from __future__ import annotations

from typing import Any

import pytest

from stenobus_contracts import DocReady, LlmError, LlmRequest
from stenobus_core.follow import Outcome
from stenobus_core.job import Job
from stenobus_core.runs import Runs, Step

from .conftest import Bench, StartBench, honest

NAMES = ("unit", "done", "of", "spent_tokens", "spent_usd", "saved_tokens", "saved_usd")


async def steps(bench: Bench, ready: DocReady, count: int) -> dict[str, Step]:
    """The finished steps of the latest run of a title."""
    runs = await Runs.open(bench.bus)
    newest = [step.run for step in await runs.steps() if step.handler == "documents-clean"][-1]
    found: dict[str, Step] = {}
    async for step in runs.follow(newest):
        found[step.handler] = step
        if sum(each.status == "done" for each in found.values()) == count:
            break
    return found


def facts(step: Step) -> list[Any]:
    return [step.facts.get(name) for name in NAMES]


async def test_a_run_says_what_it_spent_and_the_next_one_what_it_saved(
    start: StartBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STENOBUS_DOCUMENTS_EXTRACT_MAX_TOKENS_PER_CHUNK", "200")
    talk = "\n".join(f"[00:{n:02d}:00] On day {n} the {n}. build failed after {n * 7} minutes." for n in range(20))
    bench = await start(cache=True)
    ready = await bench.document(talk, title="Tally")
    chunks = ready.chunks_processed
    assert chunks > 1
    first = await steps(bench, ready, 7)
    spent = f"{chunks * 0.001:.3f}"
    assert facts(first["documents-extract"]) == ["chunk", chunks, chunks, 110 * chunks, spent, 0, "0"]
    assert first["documents-extract"].message == f"chunk {chunks} of {chunks}; {110 * chunks:,} tokens, ${spent}0"
    assert facts(first["documents-write"])[:4] == ["section", 1, 1, 110]

    again = await bench.document(talk, title="Tally")
    second = await steps(bench, again, 6)
    assert facts(second["documents-extract"]) == ["chunk", chunks, chunks, 0, "0", 110 * chunks, spent]
    assert f"saved {110 * chunks:,} tokens" in (second["documents-extract"].message or "")
    outcome = Outcome(Job("x", honest), "run", again, list(second.values()))  # type: ignore[arg-type]
    assert outcome.response({})["body"]["saved"] == {
        "tokens": again.tokens_used.total,
        "cost_usd": float(again.cost_usd or 0),
    }
    outcome = Outcome(Job("x", honest), "run", ready, list(first.values()))  # type: ignore[arg-type]
    assert outcome.response({})["body"]["saved"] == {"tokens": 0, "cost_usd": 0.0}


async def test_a_price_that_is_not_known_makes_what_was_saved_unknown(start: StartBench) -> None:
    bench = await start(lambda request: {"done": {"data": honest(request), "cost_usd": None}}, cache=True)
    await bench.document(title="Priceless")
    again = await bench.document(title="Priceless")
    found = await steps(bench, again, 6)
    outcome = Outcome(Job("x", honest), "run", again, list(found.values()))  # type: ignore[arg-type]
    assert outcome.saved == (770, None)


async def test_what_an_earlier_attempt_paid_for_was_spent_and_not_saved(
    start: StartBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STENOBUS_DOCUMENTS_EXTRACT_MAX_TOKENS_PER_CHUNK", "200")
    monkeypatch.setenv("STENOBUS_DOCUMENTS_EXTRACT_PARALLEL_REQUESTS", "1")
    failed: list[str] = []

    def once_busy(request: LlmRequest) -> Any:
        if request.task == "documents.extract" and "S0017" in request.messages[-1].content and not failed:
            failed.append(request.task)
            return LlmError(code="overloaded", message="Busy.", retryable=True)
        return honest(request)

    talk = "\n".join(f"[00:{n:02d}:00] On day {n} the {n}. build failed for {n * 9} minutes." for n in range(20))
    bench = await start(once_busy, cache=True)
    ready = await bench.document(talk, title="Busy")
    found = await steps(bench, ready, 7)
    chunks = ready.chunks_processed
    assert failed and found["documents-extract"].attempt == 2
    assert len(bench.model.asked("extract")) == chunks + 1, "only what failed was asked again"
    assert facts(found["documents-extract"])[3:6] == [110 * chunks, f"{chunks * 0.001:.3f}", 0]
