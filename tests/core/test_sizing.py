"""How many processes a load needs."""

from __future__ import annotations

import math

import pytest

from stenobus_core import Plugin
from stenobus_core.runs import Step
from stenobus_core.sizing import BUSY, needs

from ..support.contracts import Ping

plugin = Plugin("acme")


@plugin.handler(name="acme-slow", concurrency=2)
async def slow(event: Ping) -> None:
    """Takes its time."""


@plugin.handler(name="acme-quick", concurrency=4)
async def quick(event: Ping) -> None:
    """Takes none."""


HANDLERS = {handler.name: handler for handler in plugin.handlers}


def step(run: str, handler: str, seconds: float | None, number: int = 0, **more: object) -> Step:
    details = {"event_id": f"{run}-{number}", "subject": "test.ping", "status": "done", "seconds": seconds}
    return Step.model_validate({"run": run, "handler": handler, **details, **more})


def test_the_slowest_per_slot_gives_in_first() -> None:
    steps = [step(run, "acme-slow", 30.0) for run in ("a", "b")]
    steps += [step(run, "acme-quick", 1.0, number) for run in ("a", "b") for number in range(3)]
    first, second = needs(steps, HANDLERS, per_hour=600)
    assert (first.handler, first.events, first.seconds, first.slots) == ("acme-slow", 1.0, 30.0, 2)
    assert first.busy == pytest.approx(5.0)  # 600 an hour for 30 s each
    assert first.processes == math.ceil(5.0 / BUSY / 2)
    assert first.most == pytest.approx(3600 * BUSY * 2 / 30)
    assert (second.handler, second.events, second.processes) == ("acme-quick", 3.0, 1)


def test_what_came_from_the_cache_or_failed_says_nothing_about_time() -> None:
    steps = [
        step("a", "acme-slow", 10.0),
        step("b", "acme-slow", 0.01, cached=True),
        step("c", "acme-slow", None, status="failed"),
        step("d", "acme-slow", None, status="running"),
        step("e", "another", 10.0),
    ]
    (need,) = needs(steps, HANDLERS, per_hour=3600)
    assert (need.seconds, need.events) == (10.0, 1.0)


def test_without_runs_there_is_nothing_to_say() -> None:
    assert needs([], HANDLERS, per_hour=1) == []
