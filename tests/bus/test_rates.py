"""Token buckets shared by processes: never more than there are, and everybody gets theirs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from stenobus_bus import Bus, EmbeddedServer, RateLimit, ServerUnavailable, TokenBucket, TooManyTokens
from stenobus_bus.rates import _GATHER, _ServerClock
from stenobus_testing.waiting import DEADLINE, eventually, still


@pytest.fixture
async def buses(bus: Bus, server: EmbeddedServer) -> AsyncIterator[list[Bus]]:
    """The connections of five processes."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(await Bus.connect(server.url)) for _ in range(5)]


async def test_fifty_callers_never_get_more_than_there_is_and_nobody_starves(buses: list[Bus]) -> None:
    limit = RateLimit(per_second=100, burst=10)
    buckets = [TokenBucket(bus, "crowd", limit) for bus in buses]
    grants: list[tuple[float, float]] = []
    begun = time.monotonic()

    async def caller(number: int) -> None:
        for tokens in (1, 2, 1, 1):
            await buckets[number % 5].acquire(tokens)
            grants.append((time.monotonic(), tokens))

    await asyncio.gather(*(caller(number) for number in range(50)))
    granted = 0.0
    for at, tokens in grants:
        granted += tokens
        assert granted <= limit.capacity + limit.rate * (at - begun) + 1e-6
    assert granted == 250


async def test_a_process_leaves_others_time_between_two_changes_and_its_callers_share_one(buses: list[Bus]) -> None:
    """The one that wrote last has half the way of the others to write again, and would mostly be first."""
    bucket = TokenBucket(buses[0], "turns", RateLimit(per_second=1e6, burst=1e6))
    begun = time.monotonic()
    for _ in range(30):
        await bucket.acquire()
    assert time.monotonic() - begun >= 29 * _GATHER
    before = await _writes(buses[0])
    await asyncio.gather(*(bucket.acquire() for _ in range(500)))
    assert await _writes(buses[0]) - before <= 2


async def _writes(bus: Bus) -> int:
    return int((await bus.api("STREAM.INFO.KV_stenobus_limits"))["state"]["last_seq"])


async def test_a_bucket_that_rested_holds_its_burst_and_no_more(buses: list[Bus]) -> None:
    bucket = TokenBucket(buses[0], "rest", RateLimit(per_second=50, burst=3))
    begun = time.monotonic()
    for _ in range(5):
        await bucket.acquire()
    assert time.monotonic() - begun >= 2 / 50 - 0.001
    await still(lambda: bucket.left <= 3, 0.2)  # 10 tokens' worth of time
    elsewhere = TokenBucket(buses[1], "rest", RateLimit(per_second=50, burst=3))
    begun = time.monotonic()
    for _ in range(5):
        await elsewhere.acquire()
    assert time.monotonic() - begun >= 2 / 50 - 0.001


async def test_a_large_request_is_served_in_its_turn(buses: list[Bus]) -> None:
    """Small ones that come later wait behind it, in whatever process."""
    limit = RateLimit(per_second=5, burst=2)
    large, small = (TokenBucket(bus, "turn", limit) for bus in buses[:2])
    await (await large.reserve(2)).settle(7)  # a second's tokens that are not there
    waits, served = asyncio.Event(), list[str]()

    async def waiting(_: float) -> None:
        waits.set()

    async def take(bucket: TokenBucket, tokens: float, name: str) -> None:
        await bucket.acquire(tokens, waiting)
        served.append(name)

    first = asyncio.create_task(take(large, 2, "large"))
    await waits.wait()
    await asyncio.gather(*(take(small, 1, "small") for _ in range(3)))
    await first
    assert served == ["large", "small", "small", "small"]


async def test_more_than_the_bucket_holds_is_refused_at_once(buses: list[Bus]) -> None:
    bucket = TokenBucket(buses[0], "llm.tokens", RateLimit(per_minute=60, burst=500))
    with pytest.raises(
        TooManyTokens,
        match=r"The limit llm\.tokens holds at most 500 tokens and 501 were asked for; raise its burst, or ask",
    ):
        await bucket.acquire(501)
    assert await bucket.acquire(500) < 1


async def test_a_reservation_is_settled_by_what_was_really_used(buses: list[Bus]) -> None:
    bucket = TokenBucket(buses[0], "settle", RateLimit(per_minute=0.6, burst=100))
    reservation = await bucket.reserve(80)
    assert bucket.left == pytest.approx(20, abs=0.1)
    await reservation.settle(30)
    assert bucket.left == pytest.approx(70, abs=0.1)
    await reservation.settle(30)  # once more is harmless
    assert bucket.left == pytest.approx(70, abs=0.1)
    more = await bucket.reserve(10)
    await more.settle(90)  # more than the estimate, and more than there is: the next one waits for it
    assert bucket.left == pytest.approx(-20, abs=0.1)


async def test_tokens_of_a_caller_that_gave_up_are_given_back(buses: list[Bus]) -> None:
    bucket = TokenBucket(buses[0], "gave-up", RateLimit(per_minute=6, burst=10))
    await bucket.acquire(10)
    impatient = asyncio.create_task(bucket.acquire(10))
    await eventually(lambda: bucket.left < -9)
    impatient.cancel()
    await eventually(lambda: bucket.left > -1)
    at_once = asyncio.create_task(bucket.acquire(10))
    await asyncio.sleep(0)
    at_once.cancel()  # before anything was sent
    await asyncio.gather(at_once, return_exceptions=True)
    await bucket.settle(0)
    assert bucket.left > -1


async def test_a_wrong_clock_on_a_host_changes_nothing(buses: list[Bus], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks at it."""
    monkeypatch.setattr(time, "time", lambda: 0.0)
    limit = RateLimit(per_second=100, burst=1)
    begun = time.monotonic()
    for bus in buses:
        await TokenBucket(bus, "skew", limit).acquire()
    assert time.monotonic() - begun >= 4 / 100 - 0.001


async def test_a_server_whose_clock_went_back_makes_nobody_wait_for_it(buses: list[Bus]) -> None:
    bucket = TokenBucket(buses[0], "back", RateLimit(per_second=100, burst=10))
    await buses[0].store("$KV.stenobus_limits.rate.back", b'{"tokens": 0, "at": 9999999999}', {})
    async with asyncio.timeout(DEADLINE):
        for _ in range(11):
            await bucket.acquire()


async def test_the_servers_clock_is_never_read_ahead(buses: list[Bus]) -> None:
    clock = _ServerClock(buses[0])
    await clock.read()
    loop = asyncio.get_running_loop()
    assert time.time() - 60 < clock.at(loop.time()) <= time.time()  # server and test share a host here


@pytest.mark.parametrize("damage", [b"no record", b"[]", b'{"tokens": "many"}', b'{"tokens": 1, "at": null}'])
async def test_a_damaged_record_is_named(buses: list[Bus], damage: bytes) -> None:
    await buses[0].store("$KV.stenobus_limits.rate.damaged", damage, {})
    with pytest.raises(ServerUnavailable, match=r"rate\.damaged is damaged; remove it"):
        await TokenBucket(buses[0], "damaged", RateLimit(per_second=1)).acquire()


async def test_without_its_bucket_a_limit_says_so(buses: list[Bus]) -> None:
    await buses[0].api("STREAM.DELETE.KV_stenobus_limits")
    with pytest.raises(ServerUnavailable):
        await TokenBucket(buses[0], "none", RateLimit(per_second=1)).acquire()


@pytest.mark.parametrize(
    "wrong", [{}, {"per_second": 1, "per_minute": 1}, {"per_second": 0}, {"per_minute": 5, "burst": 0}]
)
def test_a_limit_that_is_none_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="A rate limit"):
        RateLimit(**wrong)
