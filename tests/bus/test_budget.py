"""Budgets shared by processes: never more than there is, and nothing lost with a process."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from decimal import Decimal
from typing import Any

import pytest

from stenobus_bus import Budget, Bus, EmbeddedServer, Held, ServerUnavailable, Shortfall
from stenobus_bus.budget import BUCKET, LEASE, Budgets

from ..support.simulated import Shared

TEN = {"tokens": Decimal(10)}
ONE = {"tokens": Decimal(1)}


async def test_of_fifty_callers_exactly_those_that_fit_are_admitted_in_a_thousand_schedules() -> None:
    """Some settle at once, some late, some give up or die; nothing is ever given twice, and all that is there is."""
    for seed in range(1000):
        chance = random.Random(seed)
        record = Shared(chance)
        budgets = [Budget(record, TEN) for _ in range(chance.choice((1, 2, 5)))]
        admitted = await asyncio.gather(*(_caller(chance.choice(budgets), n, chance) for n in range(50)))
        assert sum(admitted) == 10, f"seed {seed}"
        assert (await budgets[0].used())["tokens"] == 10, f"seed {seed}"


async def _caller(budget: Budget, number: int, chance: random.Random) -> bool:
    for _ in range(chance.randrange(6)):
        await asyncio.sleep(0)
    held = await budget.reserve(str(number), ONE)
    if isinstance(held, Shortfall):
        assert held.left == 0
        return False
    for _ in range(chance.randrange(30)):
        await asyncio.sleep(0)
    await held.settle(ONE)
    return True


async def test_a_budget_is_never_overdrawn_and_used_up_whatever_becomes_of_its_users() -> None:
    for seed in range(300):
        chance = random.Random(seed)
        record, now = Shared(chance), [0.0]
        budgets = [Budget(record, TEN, clock=lambda now=now: now[0]) for _ in range(3)]  # type: ignore[misc]
        used = [Decimal(0)]
        await asyncio.gather(*(_unreliable(chance.choice(budgets), n, chance, used) for n in range(20)))
        assert (await budgets[0].used()).get("tokens", 0) == used[0] <= 10, f"seed {seed}"
        now[0] += LEASE + 1  # the dead never come back
        rest = [await budgets[n % 3].reserve(f"late-{n}", ONE) for n in range(12)]
        assert sum(isinstance(each, Held) for each in rest) == 10 - used[0], f"seed {seed}"


async def _unreliable(budget: Budget, number: int, chance: random.Random, used: list[Decimal]) -> None:
    asking = asyncio.create_task(budget.reserve(str(number), {"tokens": Decimal(2)}))
    if chance.random() < 0.3:
        for _ in range(chance.randrange(8)):
            await asyncio.sleep(0)
        asking.cancel()
    [held] = await asyncio.gather(asking, return_exceptions=True)
    if isinstance(held, Held) and chance.random() < 0.7:  # else it dies
        amount = Decimal(chance.randrange(3))
        await held.settle({"tokens": amount})
        used[0] += amount


# --- one budget ------------------------------------------------------------------------------------------------------


@pytest.fixture
def budget() -> Budget:
    return Budget(Shared(random.Random(0)), {"tokens": Decimal(100), "usd": Decimal("0.50")})


async def test_what_was_not_used_is_free_again_and_what_was_used_beyond_is_gone(budget: Budget) -> None:
    first = await budget.reserve("a", {"tokens": Decimal(60), "usd": Decimal("0.30")})
    refused = await budget.reserve("b", {"tokens": Decimal(60), "usd": Decimal("0.10")})
    assert isinstance(first, Held)
    assert refused == Shortfall("tokens", Decimal(60), Decimal(40), Decimal(100))
    await first.settle({"tokens": Decimal(30), "usd": Decimal("0.45")})
    assert await budget.reserve("b", {"tokens": Decimal(60), "usd": Decimal("0.10")}) == Shortfall(
        "usd", Decimal("0.10"), Decimal("0.05"), Decimal("0.50")
    )
    assert isinstance(await budget.reserve("c", {"tokens": Decimal(60), "usd": Decimal("0.05")}), Held)


async def test_what_costs_nothing_fits_even_where_nothing_is_left(budget: Budget) -> None:
    held = await budget.reserve("a", {"usd": Decimal("0.10")})
    assert isinstance(held, Held)
    await held.settle({"usd": Decimal("0.70")})
    assert isinstance(await budget.reserve("b", {"usd": Decimal(0), "tokens": Decimal(1)}), Held)


async def test_a_request_takes_over_what_was_held_for_it(budget: Budget) -> None:
    died = await budget.reserve("a", {"tokens": Decimal(80)})
    again = await budget.reserve("a", {"tokens": Decimal(90)})
    assert isinstance(died, Held) and isinstance(again, Held)
    assert isinstance(await budget.reserve("b", {"tokens": Decimal(20)}), Shortfall)
    await died.settle(
        {"tokens": Decimal(5)}
    )  # it lived after all: what it used counts, what is held stays with the heir
    assert isinstance(await budget.reserve("b", {"tokens": Decimal(6)}), Shortfall)
    await again.settle({"tokens": Decimal(5)})
    assert await budget.used() == {"tokens": 10}


async def test_a_request_that_does_not_fit_any_more_holds_nothing(budget: Budget) -> None:
    await budget.reserve("a", {"tokens": Decimal(80)})
    assert isinstance(await budget.reserve("a", {"tokens": Decimal(101)}), Shortfall)
    assert isinstance(await budget.reserve("b", {"tokens": Decimal(100)}), Held)


async def test_what_the_dead_used_counts_once(budget: Budget) -> None:
    lost = {"tokens": Decimal(30)}
    await budget.reserve("a", {"tokens": Decimal(80)})
    again = await budget.reserve("a", {"tokens": Decimal(70)}, lost)
    assert isinstance(again, Held)
    await again.settle({"tokens": Decimal(1)})
    await budget.reserve("a", {"tokens": Decimal(1)}, lost)  # nobody died since
    assert await budget.used() == {"tokens": 31}


async def test_who_gives_up_asking_holds_nothing(budget: Budget) -> None:
    for steps in range(6):  # before it was written, while it is, and after
        asking = asyncio.create_task(budget.reserve("a", {"tokens": Decimal(100)}))
        for _ in range(steps):
            await asyncio.sleep(0)
        if asking.done():
            break
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        other = await budget.reserve("b", {"tokens": Decimal(100)})
        assert isinstance(other, Held), f"after {steps} steps"
        await other.settle({})
    assert steps > 2


# --- on a server -----------------------------------------------------------------------------------------------------


@pytest.fixture
async def buses(bus: Bus, server: EmbeddedServer) -> AsyncIterator[list[Bus]]:
    """The connections of four processes."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(await Bus.connect(server.url)) for _ in range(4)]


async def test_on_a_server_exactly_those_that_fit_are_admitted(buses: list[Bus]) -> None:
    seed = random.randrange(2**32)
    chance, processes = random.Random(seed), [Budgets(bus) for bus in buses]
    for round_ in range(20):
        key = f"test.{seed}-{round_}"
        callers = (_caller(chance.choice(processes).get(key, TEN), n, chance) for n in range(50))
        assert sum(await asyncio.gather(*callers)) == 10, f"seed {seed}, round {round_}"
        assert await Budgets(buses[0]).get(key, TEN).used() == {"tokens": 10}, f"seed {seed}, round {round_}"


async def test_the_callers_of_one_process_share_their_way(buses: list[Bus]) -> None:
    budget = Budgets(buses[0]).get("test.shared", {"tokens": Decimal(10_000)})

    async def writes() -> int:
        return int((await buses[0].api(f"STREAM.INFO.KV_{BUCKET}"))["state"]["last_seq"])

    before = await writes()
    await asyncio.gather(*(budget.reserve(str(number), ONE) for number in range(500)))
    assert await writes() - before <= 2


async def test_a_missing_bucket_is_said_and_nothing_is_given(buses: list[Bus]) -> None:
    await buses[0].api(f"STREAM.DELETE.KV_{BUCKET}")
    with pytest.raises(ServerUnavailable, match=BUCKET):
        await Budgets(buses[0]).get("test.gone", TEN).reserve("a", ONE)


async def test_the_bucket_forgets_what_is_over(buses: list[Bus]) -> None:
    config: dict[str, Any] = (await buses[0].api(f"STREAM.INFO.KV_{BUCKET}"))["config"]
    assert config["max_age"] == 40 * 86_400 * 10**9
