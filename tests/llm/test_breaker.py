"""A target that fails again and again is left alone, then asked once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stenobus_contracts import EXTRACT, LlmRequest, Message
from stenobus_llm.breaker import Breaker
from stenobus_llm.failures import Code, Failure, pause
from stenobus_llm.router import Router
from stenobus_llm.settings import Settings, Target
from stenobus_testing.waiting import eventually

BUSY = Failure("overloaded", "It is busy.")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker("model", failures=3, pause=10, clock=clock)


def fails(breaker: Breaker, times: int = 1, failure: Failure = BUSY) -> None:
    for _ in range(times):
        breaker.end(failure, probe=breaker.begin())


def test_it_opens_after_so_many_failures_in_a_row(breaker: Breaker) -> None:
    fails(breaker, 2)
    assert breaker.refusal is None
    breaker.end(None, probe=breaker.begin())
    fails(breaker, 2)
    assert breaker.state == "closed"
    fails(breaker)

    assert breaker.state == "open"
    assert breaker.refusal is not None
    assert (breaker.refusal.code, breaker.refusal.retryable, breaker.refusal.delay) == ("overloaded", True, 10)
    assert "busy" in breaker.refusal.message
    assert breaker.health["state"] == "open"


@pytest.mark.parametrize("code", ["throttled", "content_filter", "bad_request", "truncated", "invalid_answer"])
def test_what_says_nothing_about_the_target_does_not_open_it(breaker: Breaker, code: Code) -> None:
    fails(breaker, 20, Failure(code, "No."))

    assert breaker.state == "closed"


def test_after_the_pause_one_request_goes_and_sees(breaker: Breaker, clock: Clock) -> None:
    fails(breaker, 3)
    clock.now = 10

    assert breaker.state == "half_open" and breaker.refusal is None
    assert breaker.begin()
    assert breaker.refusal is not None  # the others wait for it

    breaker.end(None, probe=True)
    assert (breaker.state, breaker.refusal, breaker.health) == ("closed", None, {"state": "closed"})


def test_a_failed_probe_doubles_the_pause_up_to_eight_times_the_first(breaker: Breaker, clock: Clock) -> None:
    fails(breaker, 3)
    pauses = []
    for _ in range(5):
        assert breaker.until is not None
        clock.now = breaker.until
        fails(breaker)
        pauses.append(breaker.until - clock.now)

    assert pauses == [20, 40, 80, 80, 80]


def test_a_probe_that_was_given_up_leaves_its_place_to_another(breaker: Breaker, clock: Clock) -> None:
    fails(breaker, 3)
    clock.now = 10
    breaker.abandon(probe=breaker.begin())

    assert breaker.refusal is None and breaker.begin()


def test_an_answer_to_an_earlier_request_does_not_close_it(breaker: Breaker) -> None:
    earlier = breaker.begin()
    fails(breaker, 3)

    breaker.end(None, probe=earlier)

    assert breaker.state == "open"


def test_a_pause_is_random_up_to_a_bound_that_doubles_and_never_shorter_than_what_the_server_asked() -> None:
    for attempt, bound in [(1, 2), (2, 4), (5, 32), (50, 120)]:
        pauses = [pause(attempt) for _ in range(300)]
        assert 0 <= min(pauses) < bound / 4
        assert bound * 3 / 4 < max(pauses) <= bound
    assert all(7 <= pause(9, 7) <= 8.75 for _ in range(100))


# --- in the router ---------------------------------------------------------------------------------------------------


REQUEST = LlmRequest(task="acme.ask", messages=(Message(role="user", content="Why?"),))


def settings(*targets: Target, **changes: Any) -> Settings:
    return Settings(targets=targets, breaker_failures=2, breaker_pause=60, **changes)


def target(server: Any, name: str) -> Target:
    return Target(name=name, base_url=server.url, model=name, timeout=60)


async def test_the_next_model_takes_what_a_sick_one_would_have_got(server: Any) -> None:
    router = Router(settings(target(server, "a"), target(server, "b")))
    server.fails(503)
    server.fails(503)
    server.completes("Because.")

    failed = [(await router.answer(REQUEST)).done(REQUEST, "1") for _ in range(2)]
    done = (await router.answer(REQUEST)).done(REQUEST, "1")
    await router.close()

    assert [each.provider for each in failed] == ["a", "a"]
    assert (done.provider, done.text) == ("b", "Because.")


async def test_a_sick_model_alone_is_not_asked_and_the_asker_hears_when_it_will_be(server: Any) -> None:
    router = Router(settings(target(server, "a")))
    server.fails(503)
    server.fails(503)

    for _ in range(3):
        outcome = await router.answer(REQUEST)
    await router.close()

    assert len(server.received) == 2
    assert isinstance(outcome.result, Failure)
    assert (outcome.result.code, outcome.result.retryable) == ("overloaded", True)
    assert outcome.result.delay == pytest.approx(60, abs=5)


@pytest.mark.parametrize(("fallback", "provider"), [({}, "router"), ({"overloaded": ("extractive",)}, "extractive")])
async def test_extractive_stands_in_for_a_sick_model_only_where_the_settings_say_so(
    server: Any, fallback: dict[str, tuple[str, ...]], provider: str
) -> None:
    segments = [{"id": "S0001", "text": "The root cause was a full disk.", "start": 1.0, "end": 3.0}]
    document = REQUEST.model_copy(update={"task": EXTRACT.name, "inputs": {"title": "Talk", "segments": segments}})
    router = Router(settings(target(server, "a"), fallback=fallback))
    for _ in range(2):
        server.fails(503)
        await router.answer(REQUEST)

    done = (await router.answer(document)).done(document, "1")
    await router.close()

    assert (done.provider, len(server.received)) == (provider, 2)


async def test_a_request_that_is_cancelled_as_a_probe_is_followed_by_another_probe(server: Any, clock: Clock) -> None:
    router = Router(settings(target(server, "a")), clock)
    for _ in range(2):
        server.fails(503)
        await router.answer(REQUEST)
    clock.now = 60
    released = asyncio.Event()
    server.drips(released)

    probe = asyncio.create_task(router.answer(REQUEST))
    await eventually(lambda: len(server.received) == 3)
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)
    released.set()
    server.completes("Because.")
    outcome = await router.answer(REQUEST)
    await router.close()

    assert not isinstance(outcome.result, Failure)


async def test_health_is_told_when_it_changes_and_not_otherwise(server: Any) -> None:
    router = Router(settings(target(server, "a")))
    said: list[Any] = []

    async def say(facts: Any) -> None:
        said.append(facts)

    for _ in range(4):
        server.fails(503)
        await router.answer(REQUEST)
        await router.tell(say)
    await router.close()

    [facts] = said
    assert facts["targets"][0]["health"]["state"] == "open"
    assert facts["targets"][1]["health"] == {"state": "closed"}
