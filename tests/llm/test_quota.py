"""Requests and tokens per minute, over several processes."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
import pytest_asyncio

from stenobus_bus import Bus, EmbeddedServer, TokenBucket
from stenobus_bus.cell import BUCKET
from stenobus_bus.topology import apply, key_value
from stenobus_contracts import LlmRequest, Message
from stenobus_llm.failures import Failure
from stenobus_llm.outcome import Outcome
from stenobus_llm.quota import Quota, limits
from stenobus_llm.router import Means, Router
from stenobus_llm.settings import Settings, Target
from stenobus_testing.waiting import eventually, still

from ..support.simulated import Shared, Timeless

REQUEST = LlmRequest(
    task="acme.ask", messages=(Message(role="user", content="x" * 336),), max_output_tokens=100
)  # 200 tokens, its answer included


class Process:
    """One process of the plugin: a connection, its buckets, a router."""

    def __init__(self, bus: Bus, name: str, settings: Settings) -> None:
        self.buckets = {key: TokenBucket(bus, f"{name}.{key}", limit) for key, limit in limits(settings).items()}
        self.router = Router(settings)
        self.said: list[tuple[str, float]] = []

    async def ask(self, request: LlmRequest = REQUEST) -> Outcome:
        async def waiting(target: str, seconds: float) -> None:
            self.said.append((target, seconds))

        return await self.router.answer(request, Means(Quota(self.buckets.__getitem__, waiting)))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    nats = EmbeddedServer(tmp_path_factory.mktemp("nats"), port=0)
    url = await nats.start()
    async with await Bus.connect(url) as bus:
        await apply(bus, [key_value(BUCKET)])
    yield url
    await nats.stop()


@pytest.fixture
async def two(url: str, server: Any, request: pytest.FixtureRequest) -> AsyncIterator[list[Process]]:
    """Two processes with the limits that the test names in its mark."""
    (mark,) = request.node.iter_markers("limits")
    settings = Settings(targets=(Target(name="model", base_url=server.url, model="m", timeout=60, **mark.kwargs),))
    name = f"llm-{uuid.uuid4().hex[:8]}"
    async with await Bus.connect(url) as first, await Bus.connect(url) as second:
        processes = [Process(bus, name, settings) for bus in (first, second)]
        yield processes
        for process in processes:
            await process.router.close()


@pytest.mark.limits(requests_per_minute=10)
async def test_of_fifty_callers_in_two_processes_exactly_ten_are_admitted(two: list[Process], server: Any) -> None:
    for _ in range(50):
        server.completes("ok")

    callers = [asyncio.create_task(two[number % 2].ask()) for number in range(50)]
    await eventually(lambda: sum(len(each.said) for each in two) == 40)
    await eventually(lambda: len(server.received) == 10)
    await still(lambda: len(server.received) == 10, 0.3)
    for caller in callers:
        caller.cancel()
    await asyncio.gather(*callers, return_exceptions=True)

    waits = sorted(seconds for each in two for _, seconds in each.said)
    assert len(waits) == 40  # one every six seconds, counted from when the first ten were taken
    assert all(6 * number - 15 < wait < 6 * number + 1 for number, wait in enumerate(waits, 1))


@pytest.mark.limits(tokens_per_minute=300)
async def test_what_was_not_used_is_given_back_to_everybody(two: list[Process], server: Any) -> None:
    """Two requests of an estimated 200 tokens fit into 300, because the first one took 17."""
    server.completes("ok")
    server.completes("ok")

    await two[0].ask()
    await two[1].ask()

    assert (len(server.received), two[1].said) == (2, [])
    assert await _left(two[1]) == pytest.approx(300 - 2 * 17, abs=15)


@pytest.mark.limits(tokens_per_minute=300)
async def test_what_was_used_beyond_the_estimate_is_taken_too(two: list[Process], server: Any) -> None:
    server.completes("ok", usage=(250, 250))

    await two[0].ask()

    assert await _left(two[0]) == pytest.approx(300 - 500, abs=15)


@pytest.mark.limits(tokens_per_minute=300)
@pytest.mark.parametrize(("lost", "left"), [(False, 300), (True, 100)])
async def test_a_refusal_takes_nothing_and_a_lost_answer_what_was_estimated(
    two: list[Process], server: Any, lost: bool, left: int
) -> None:
    server.breaks_off() if lost else server.fails(429)

    outcome = await two[0].ask()

    assert isinstance(outcome.result, Failure)
    assert await _left(two[0]) == pytest.approx(left, abs=15)


async def _left(process: Process) -> float:
    """Tokens there are, as the server knows it."""
    bucket = process.buckets["model.tokens"]
    await bucket.settle(0)
    return bucket.left


@pytest.mark.limits(tokens_per_minute=199)
async def test_what_never_fits_fails_at_once_with_both_numbers(two: list[Process], server: Any) -> None:
    outcome = await two[0].ask()

    assert isinstance(outcome.result, Failure)
    assert two[0].said == []
    assert (outcome.result.code, outcome.result.retryable, server.received) == ("over_limit", False, [])
    assert "about 200 tokens" in outcome.result.message and "199 per minute" in outcome.result.message


@pytest.mark.limits(requests_per_minute=60, tokens_per_minute=300)
async def test_who_gives_up_waiting_for_tokens_gives_its_request_back(two: list[Process], server: Any) -> None:
    server.completes("ok", usage=(150, 150))
    await two[0].ask()

    waiting = asyncio.create_task(two[0].ask())
    await eventually(lambda: two[0].said)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await two[0].buckets["model.requests"].settle(0)

    assert two[0].said == [("model", pytest.approx(40, abs=3))]
    assert two[0].buckets["model.requests"].left >= 59
    assert len(server.received) == 1


@pytest.mark.limits(tokens_per_minute=6000)
async def test_who_waited_for_a_target_that_failed_meanwhile_is_not_sent_there_and_gives_its_tokens_back(
    two: list[Process], server: Any
) -> None:
    await two[0].buckets["model.tokens"].settle(6000 + 100)  # three seconds until there are 200
    waiting = asyncio.create_task(two[0].ask())
    await eventually(lambda: two[0].said)
    for _ in range(5):
        server.breaks_off()
        await two[0].router.answer(REQUEST)  # by a way without limits

    outcome = await waiting

    assert isinstance(outcome.result, Failure)
    assert (outcome.result.code, len(server.received)) == ("transport", 5)
    assert "failed 5 times in a row" in outcome.result.message
    assert await _left(two[0]) > 190


@pytest.mark.limits(requests_per_minute=600)
async def test_once_it_waits_no_more_it_says_so_and_how_long_it_took(two: list[Process], server: Any) -> None:
    server.completes("ok")
    await two[0].buckets["model.requests"].settle(615)  # 1.6 s until there is one

    outcome = await two[0].ask()

    assert not isinstance(outcome.result, Failure)
    (_, waited), last = two[0].said
    assert 0 < waited < 1.7
    assert last == ("model", 0)


@pytest.mark.limits(concurrency=2)
async def test_a_target_is_sent_so_many_requests_at_once_and_no_more(two: list[Process], server: Any) -> None:
    released = asyncio.Event()
    server.drips(released)
    server.drips(released)
    server.completes("ok")

    callers = [asyncio.create_task(two[0].ask()) for _ in range(3)]
    await eventually(lambda: len(server.received) == 2)
    await still(lambda: len(server.received) == 2, 0.2)
    released.set()
    await asyncio.gather(*callers)

    assert len(server.received) == 3


# --- a thousand schedules --------------------------------------------------------------------------------------------


class Clock:
    """The server's clock, as every process reads it."""

    async def read(self) -> None: ...

    def at(self, local: float) -> float:
        return local


def simulated(chance: random.Random, target: Target) -> list[Quota]:
    """The ways of several processes to one target's limits."""
    shared, ways = Shared(chance), []

    async def waiting(name: str, seconds: float) -> None: ...

    for _ in range(chance.choice((1, 2, 5))):
        [(name, limit)] = limits(Settings(targets=(target,))).items()
        bucket = TokenBucket(None, name, limit)  # type: ignore[arg-type]
        bucket._cell, bucket._clock = shared, Clock()  # type: ignore[assignment]
        ways.append(Quota({name: bucket}.__getitem__, waiting))
    return ways


@pytest.mark.parametrize("gives_up", [0.0, 0.3])
def test_of_fifty_callers_exactly_ten_are_admitted_at_once_in_a_thousand_schedules(gives_up: float) -> None:
    """And then one every six seconds; those who give up while they wait let others have their turn."""
    target = Target(name="model", requests_per_minute=10)
    for seed in range(1000 if not gives_up else 200):
        chance = random.Random(seed)
        with asyncio.Runner(loop_factory=Timeless) as runner:
            admitted = sorted(runner.run(_crowd(chance, simulated(chance, target), target, gives_up)))
        at_once = [at for at in admitted if at < 5]
        if not gives_up:
            assert (len(at_once), len(admitted)) == (10, 50), f"seed {seed}"
            assert admitted[10:] == [pytest.approx(6 * number, abs=1) for number in range(1, 41)], f"seed {seed}"
        for number, at in enumerate(admitted, 1):
            assert number <= 10 + at / 6 + 1e-6, f"seed {seed}"


async def _crowd(chance: random.Random, ways: list[Quota], target: Target, gives_up: float) -> list[float]:
    admitted = []

    async def caller() -> None:
        await asyncio.sleep(chance.random() / 10)
        waiting = asyncio.create_task(chance.choice(ways).reserve(target, 0))
        if chance.random() < gives_up:
            await asyncio.sleep(chance.random() * 60)
            waiting.cancel()
        with suppress(asyncio.CancelledError):
            await waiting
            admitted.append(asyncio.get_running_loop().time())

    await asyncio.gather(*(caller() for _ in range(50)))
    return admitted
