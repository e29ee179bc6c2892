"""What every run store has to do. A backend's test class inherits this and provides the fixture."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stenobus_core.run_stores import Copies, RunStore
from stenobus_core.runs import Step, Try

#: When the runs of these tests began: lately, so that every store still keeps them.
NOON = datetime.now(UTC).replace(microsecond=250_000) - timedelta(hours=1)


def seconds(number: float) -> datetime:
    """A time so many seconds after :data:`NOON`."""
    return NOON + timedelta(seconds=number)


class RunStoreContract:
    """Behaviour shared by all run stores."""

    @pytest.fixture
    def store(self) -> RunStore:
        """A ready store. It may hold runs of other tests."""
        raise NotImplementedError

    @pytest.fixture
    def run(self) -> str:
        """A run that no store knows yet."""
        return f"talk-{uuid.uuid4().hex[:12]}"

    @staticmethod
    def step(run: str, **more: Any) -> Step:
        """A step at work."""
        fields: dict[str, Any] = {
            "run": run,
            "handler": "asr",
            "event_id": "event-1",
            "subject": "media.uploaded",
            "status": "running",
            "started": NOON,
            "changed": NOON,
        }
        return Step.model_validate(fields | more)

    async def test_a_step_comes_back_as_it_was_put(self, store: RunStore, run: str) -> None:
        step = self.step(
            run,
            status="failed",
            stored=seconds(-1),
            attempt=3,
            changed=seconds(70),
            finished=seconds(70),
            seconds=1.234567,
            progress=0.3333,
            message="No 'quotes', no «español», no 日本語, no \x00 and no 🎙 gets lost.",
            cached=True,
            replay="replay-7",
            causation="event-0",
            reason="exhausted",
            facts={"engine": "x", "cost_usd": "0.0120", "tokens": 12345678901234567890, "deep": [{"a": None}, 1.5]},
            tries=(Try(attempt=1, started=seconds(-60), seconds=0.5, error="out of luck"),),
        )
        assert await store.put(step)
        assert await store.steps(run) == [step]

    async def test_a_run_is_all_its_steps_by_their_start_and_nobody_elses(self, store: RunStore, run: str) -> None:
        last = self.step(run, handler="asr", started=seconds(5))
        first = self.step(run, handler="kb-ready", event_id="event-3")
        again = self.step(run, handler="asr", replay="once-more", started=seconds(9))
        for other in (f"{run}-2", run[:-1]):
            assert await store.put(self.step(other))
        for step in (last, first, again):
            assert await store.put(step)
        assert await store.steps(run) == [first, last, again]

    async def test_a_later_state_takes_the_place_of_the_one_before(self, store: RunStore, run: str) -> None:
        states = [
            self.step(run),
            self.step(run, progress=0.5, message="window 1 of 2", changed=seconds(1)),
            self.step(run, progress=0.5, message="waiting for quota", changed=seconds(2)),
            self.step(run, status="retrying", changed=seconds(3)),
            self.step(run, attempt=2, started=seconds(4), changed=seconds(4)),
            self.step(run, attempt=2, started=seconds(4), changed=seconds(5), status="done"),
        ]
        for state in states:
            assert await store.put(state)
            assert await store.steps(run) == [state]

    async def test_a_replay_in_place_counts_its_attempts_anew(self, store: RunStore, run: str) -> None:
        failed = self.step(run, attempt=5, status="failed", changed=seconds(1))
        again = self.step(run, attempt=1, started=seconds(600), changed=seconds(600))
        assert await store.put(failed)
        assert await store.put(again)
        assert await store.steps(run) == [again]

    async def test_the_same_state_twice_is_one(self, store: RunStore, run: str) -> None:
        step = self.step(run)
        await store.put(step)
        await store.put(step)
        assert await store.steps(run) == [step]

    async def test_many_steps_may_be_put_at_once(self, store: RunStore, run: str) -> None:
        facts = {"words": "a" * 20_000}  # together more than one page or message of any backend
        steps = [self.step(run, event_id=f"event-{n}", started=seconds(n), facts=facts) for n in range(80)]
        assert all(await asyncio.gather(*(store.put(step) for step in steps)))
        assert await store.steps(run) == steps

    async def test_the_latest_runs_come_first_and_no_more_than_wanted(self, store: RunStore, run: str) -> None:
        soon = datetime.now(UTC) + timedelta(seconds=1)
        names = [f"{run}-{number}" for number in range(4)]
        for number, name in enumerate(names):
            begin = soon + timedelta(milliseconds=number)
            assert await store.put(self.step(name, started=begin, changed=begin))
            assert await store.put(self.step(name, handler="kb-ready", started=begin + timedelta(minutes=number)))
        assert await store.latest(3) == names[:0:-1]

    async def test_what_is_not_known_has_no_steps(self, store: RunStore, run: str) -> None:
        assert await store.steps(run) == []
        assert run not in await store.latest(100)


class CopiesContract(RunStoreContract):
    """Behaviour of the stores beside the bus, whose writes come from anywhere and in any order."""

    @pytest.fixture
    def store(self) -> Copies:
        """A ready store. It may hold runs of other tests."""
        raise NotImplementedError

    async def test_a_store_that_is_well_passes_its_check(self, store: Copies) -> None:
        await store.check()

    @pytest.mark.parametrize(
        ("newer", "older"),
        [
            ({"status": "done", "changed": seconds(9)}, {"progress": 0.9, "changed": seconds(8)}),
            ({"status": "done", "changed": seconds(8)}, {"progress": 0.9, "changed": seconds(9)}),
            ({"progress": 0.5, "changed": seconds(2)}, {"progress": 0.5, "changed": seconds(1)}),
            ({"attempt": 2, "started": seconds(2)}, {"status": "retrying", "changed": seconds(1)}),
            ({"attempt": 2, "started": seconds(-5)}, {"status": "retrying", "changed": seconds(1)}),
            ({"attempt": 1, "started": seconds(600)}, {"attempt": 5, "status": "failed", "changed": seconds(1)}),
        ],
        ids=["end", "end by another clock", "progress", "attempt", "attempt by another clock", "replay in place"],
    )
    async def test_what_is_older_never_takes_the_place_of_what_is_newer(
        self, store: Copies, run: str, newer: dict[str, Any], older: dict[str, Any]
    ) -> None:
        assert await store.put(self.step(run, **newer))
        assert not await store.put(self.step(run, **older))
        assert await store.steps(run) == [self.step(run, **newer)]

    async def test_the_newest_of_many_that_race_is_left(self, store: Copies, run: str) -> None:
        states = [self.step(run, progress=n / 40, changed=seconds(n)) for n in range(40)]
        mixed = states[::-2] + states[::2]
        stored = await asyncio.gather(*(store.put(state) for state in mixed))
        assert any(stored) and stored[mixed.index(states[-1])]
        assert await store.steps(run) == [states[-1]]

    async def test_a_step_of_any_size_is_kept_with_its_end(self, store: Copies, run: str) -> None:
        step = self.step(
            run,
            status="failed",
            message="é" * 900_000,
            reason="permanent",
            facts={"log": "x" * 900_000, "tokens": 7},
            tries=tuple(Try(attempt=n, started=NOON, error="y" * 100_000) for n in range(1, 21)),
        )
        assert await store.put(step)
        (kept,) = await store.steps(run)
        assert (kept.status, kept.reason, kept.key) == ("failed", "permanent", step.key)
        assert kept.message and step.message and step.message.startswith(kept.message)
        assert kept.facts["tokens"] == 7 and kept.facts["left_out"] == ["log"]
        assert [each.attempt for each in kept.tries] == list(range(1, 21))
