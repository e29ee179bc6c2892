"""Few restarts each, few all together, ever later; and nobody forgets any."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest

from stenobus_bus import apply
from stenobus_core.host import needs
from stenobus_monitor import plugin
from stenobus_monitor.actions.budget import ALL, EACH, WINDOW, Budget, Granted, Occupied, Spent
from stenobus_monitor.store import Store
from stenobus_testing import Stage

from .simulated import at


@pytest.fixture
async def store(stage: Stage) -> Store:
    await apply(stage.bus, needs(stage.settings, [plugin]))
    return await Store.open(stage.bus)


@pytest.fixture
def budget(store: Store) -> Budget:
    return Budget(store.cell("budget"))


async def spend(budget: Budget, action: str, name: str, now: datetime) -> Granted | Occupied | Spent:
    """One restart from its beginning to its end."""
    taken = await budget.take(action, f"container:{name}", (name,), now)
    await budget.release(action, unused=isinstance(taken, Spent))
    return taken


async def test_each_restart_waits_longer_and_the_fourth_in_ten_minutes_is_none(budget: Budget, store: Store) -> None:
    waits = []
    for number in range(EACH):
        taken = await spend(budget, f"a{number}", "kb", at(60 * number))
        assert isinstance(taken, Granted)
        waits.append((taken.due - at(60 * number)).total_seconds())
    assert waits == [0, 5, 30]
    refused = await spend(Budget(store.cell("budget")), "a4", "kb", at(200))  # another process
    assert isinstance(refused, Spent) and "have not helped kb" in refused.reason
    assert isinstance(await spend(budget, "a5", "asr", at(200)), Granted)


async def test_given_up_stays_given_up_until_it_was_well(budget: Budget) -> None:
    for number in range(EACH + 1):
        await spend(budget, f"a{number}", "kb", at(number))
    later = at(0) + 10 * WINDOW
    assert isinstance(await spend(budget, "b", "kb", later), Spent)
    assert (await budget.book()).open.keys() == {"kb"}
    taken = await budget.take("c", "container:kb", ("kb",), later, well={"kb"})
    assert taken == Granted(later)
    assert not (await budget.book()).open


async def test_restarts_outside_the_window_still_make_the_next_one_wait(budget: Budget) -> None:
    for number in range(EACH):
        await spend(budget, f"a{number}", "kb", at(300 * number))
    taken = await spend(budget, "b", "kb", at(601 + 5))
    assert isinstance(taken, Granted) and taken.due == at(606 + 120)


async def test_all_containers_together_have_a_budget_too(budget: Budget) -> None:
    for number in range(ALL):
        assert isinstance(await spend(budget, f"a{number}", f"c{number}", at(0)), Granted)
    refused = await spend(budget, "b", "kb", at(1))
    assert isinstance(refused, Spent) and "6 restarts within ten minutes" in refused.reason
    assert not (await budget.book()).open  # nothing is known against it
    assert isinstance(await spend(budget, "c", "kb", at(0) + WINDOW + timedelta(seconds=1)), Granted)


async def test_an_action_takes_once_and_gives_back_what_it_did_not_use(budget: Budget) -> None:
    first = await budget.take("a", "container:kb", ("kb", "kb-child"), at(0))
    assert await budget.take("a", "container:kb", ("kb", "kb-child"), at(90)) == first
    assert len((await budget.book()).restarts) == 2
    assert await budget.take("b", "container:kb", ("kb",), at(90)) == Occupied("a")
    await budget.release("a", unused=True)
    assert not (await budget.book()).restarts
    assert await budget.take("b", "container:kb", ("kb",), at(90)) == Granted(at(90))


async def test_many_at_once_spend_no_more_than_there_is(store: Store) -> None:
    several = [Budget(store.cell("budget")) for _ in range(12)]
    taken = await asyncio.gather(*(spend(each, f"a{n}", f"c{n}", at(0)) for n, each in enumerate(several)))
    assert sum(isinstance(each, Granted) for each in taken) == ALL
    assert len((await several[0].book()).restarts) == ALL
