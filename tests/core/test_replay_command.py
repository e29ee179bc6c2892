"""``stenobus replay`` and ``stenobus diff`` on a real bus."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from stenobus_bus import Bus, EmbeddedServer
from stenobus_core.discovery import discover
from stenobus_core.host import Host
from stenobus_core.settings import CoreSettings
from stenobus_testing.waiting import eventually

from ..support.command import Command, installed
from ..support.installed import Site

#: Two versions of a handler, one behind them, and one that is asked.
SHOP = '''
    """Prices orders."""

    from decimal import Decimal
    from pydantic import BaseModel
    from stenobus_contracts import Event, registry
    from stenobus_core import Context, Plugin


    class Order(Event, subject="shop.order"):
        """An order."""

        number: int
        text: str = ""


    class Priced(Event, subject="shop.priced"):
        """Its price."""

        number: int
        price: int


    class Shipped(Event, subject="shop.shipped"):
        """It is on its way."""

        number: int


    class Question(Event, subject="shop.question"):
        """A question."""

        number: int


    class Reply(Event, subject="shop.reply", answers=Question):
        """Its answer."""

        number: int


    class Rate(BaseModel):
        rate: int


    plugin = Plugin("shop", summary="Prices orders")


    @plugin.handler(name="price", requests=[Question])
    async def price(event: Order, ctx: Context) -> Priced:
        """Price."""

        async def rate() -> Rate:
            reply = await ctx.request(Question(number=event.number), timeout=60)
            return Rate(rate=reply.number)

        rate = await ctx.cached(Rate, rate, event.number)
        return Priced(number=event.number, price=rate.rate)


    @plugin.handler(name="price-v2")
    async def price_anew(event: Order, ctx: Context) -> Priced:
        """Price, dearer."""
        return Priced(number=event.number, price=11 if event.number == 1 else 20)


    @plugin.handler(name="ship")
    async def ship(event: Priced, ctx: Context) -> Shipped:
        """Ship."""
        return Shipped(number=event.number)


    @plugin.handler(name="oracle")
    async def oracle(event: Question, ctx: Context) -> Reply:
        """Answer."""
        known = event.number != 3
        ctx.note(tokens=100, cost_usd="0.25" if known else None)
        return Reply(number=10 * event.number)


    @plugin.handler(name="forgetful", ledger=False)
    async def forgetful(event: Shipped, ctx: Context) -> None:
        """Nothing."""
'''


class Shop(Command):
    """The command and its plugin, on the session's server."""

    def __init__(self, url: str) -> None:
        self.url = url

    def order(self, *numbers: int) -> None:
        for number in numbers:
            self("publish", "shop.order", json.dumps({"number": number}), "--run", f"run-{number}")

    def work(self, *without: str) -> dict[str, int]:
        """Let the handlers finish what there is; returns how often each of them ran."""
        return asyncio.run(self._work(without))

    async def _work(self, without: tuple[str, ...]) -> dict[str, int]:
        settings = CoreSettings.load("core")
        async with await Bus.connect(self.url) as bus:
            (plugin,) = discover(settings).plugins.values()
            everyone = list(plugin.handlers)
            plugin.handlers[:] = [handler for handler in everyone if handler.name not in without]
            host = Host(settings, bus, [plugin])
            try:
                await host.start()
                await eventually(lambda: _idle(bus, [handler.name for handler in plugin.handlers]))
                return {name: worker.handled for name, worker in host.workers.items()}
            finally:
                await host.stop()
                plugin.handlers[:] = everyone


async def _idle(bus: Bus, names: list[str]) -> bool:
    infos = [await bus.api(f"CONSUMER.INFO.SHOP.{name}") for name in names]
    return all(info["num_pending"] == info["num_ack_pending"] == 0 for info in infos)


@pytest.fixture
def shop(server: EmbeddedServer, site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Shop]:
    with installed("shop", SHOP, server, site, monkeypatch, tmp_path):
        yield Shop(server.url)


@pytest.fixture
def open_shop(shop: Shop) -> Shop:
    """Three orders are through."""
    shop.order(1, 2, 3)
    shop.work("price-v2")
    return shop


def test_a_selection_names_its_events(open_shop: Shop) -> None:
    def runs(*options: str) -> list[str]:
        found = open_shop.json("replay", "price", *options, "--dry-run")["events"]
        return [event["run"] for event in found]

    assert runs("--subject", "shop.order") == ["run-1", "run-2", "run-3"]
    assert runs("--where", "number >= 2", "--where", "ce-source ~ publish") == ["run-2", "run-3"]
    assert runs("--from-seq", "1", "--to-seq", "1") == ["run-1"]
    assert runs("--since", "1h", "--limit", "2") == ["run-1", "run-2"]
    assert runs("--until", "1h") == []
    assert runs("--run", "run-2") == ["run-2"]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--where", "number"], "'number' is no condition; write PATH OPERATOR VALUE"),
        (["--subject", "shop.priced"], "price handles shop.order, not shop.priced"),
        (["--since", "1h", "--shadow", "a.b"], "must be letters, digits, _ and -"),
        (["--limit", "3"], "Say which events"),
        (["--in-place", "--where", "number = 1"], "--in-place moves a consumer"),
        (["--in-place", "--run", "run-1"], "--in-place moves a consumer"),
        (["--in-place", "--since", "1h", "--into", "price-v2"], "--in-place moves a consumer"),
        (["--in-place", "--since", "1h", "--json"], "with --json, say --yes"),
        (["--since", "1h", "--from-seq", "0"], "0 is not in the range"),
    ],
)
def test_a_replay_that_cannot_be_is_refused(shop: Shop, options: list[str], why: str) -> None:
    assert why in shop("replay", "price", *options, expect=2).stderr.replace("\n", " ")


def test_a_dry_run_says_what_would_run_and_what_it_cost(open_shop: Shop) -> None:
    plan = open_shop.json("replay", "price", "--since", "1h", "--dry-run")
    assert plan["behind"] == ["ship", "oracle", "forgetful"]
    found = plan["estimate"]
    steps = {name: work["steps"] for name, work in found["work"].items()}
    assert steps == {"price": 3, "ship": 3, "oracle": 3, "forgetful": 3}
    assert found["work"]["price"] == {"steps": 3, "cached": 0, "kept": 3}
    assert (found["cost_usd"], found["tokens"], found["priced"], found["unpriced"]) == ("0.50", 300, 2, 1)
    text = open_shop("replay", "price", "--since", "1h", "--dry-run").stdout
    assert "these would run too: ship, oracle, forgetful." in text
    assert "Earlier cost: $0.5000 and 300 tokens, as noted by 2 steps." in text
    assert "The cost of 1 further steps is unknown." in text


def test_a_dry_run_of_a_trial_counts_questions_and_nothing_behind(open_shop: Shop) -> None:
    plan = open_shop.json("replay", "price", "--run", "run-1", "--into", "price-v2", "--dry-run")
    assert plan["behind"] == ["oracle"]
    assert {name for name, work in plan["estimate"]["work"].items() if work["steps"]} == {"price", "oracle"}
    assert plan["estimate"]["cost_usd"] == "0.25"


def test_what_nobody_noted_is_unknown_and_never_nothing(open_shop: Shop) -> None:
    open_shop.order(4)
    plan = open_shop.json("replay", "price", "--run", "run-4", "--dry-run")["estimate"]
    assert (plan["unrecorded"], plan["cost_usd"], plan["tokens"]) == (1, None, None)
    text = open_shop("replay", "price", "--run", "run-4", "--dry-run").stdout
    assert "Of 1 of the events the run record knows nothing: what they cost is unknown." in text
    assert "Earlier cost: unknown; no step noted a price." in text
    only_unknown = open_shop.json("replay", "price", "--run", "run-3", "--dry-run")["estimate"]
    assert (only_unknown["cost_usd"], only_unknown["unpriced"]) == (None, 1)


def test_steps_from_the_cache_are_counted_once_and_not_by_their_replays(open_shop: Shop) -> None:
    open_shop("replay", "price", "--since", "1h")
    ran = open_shop.work("price-v2")
    assert ran["price"] == ran["ship"] == 3
    assert ran["oracle"] == 0  # the cache answered
    again = open_shop.json("replay", "price", "--since", "1h", "--dry-run")["estimate"]
    assert (again["work"]["price"]["steps"], again["work"]["price"]["cached"]) == (3, 0)


def test_another_version_is_tried_beside_and_compared(open_shop: Shop) -> None:
    done = open_shop.json("replay", "price", "--since", "1h", "--to-seq", "9", "--into", "price-v2", "--limit", "2")
    assert done["shadow"] == f"price-v2-{done['replay']}"
    ran = open_shop.work()
    assert (ran["price"], ran["price-v2"], ran["ship"]) == (0, 2, 0)  # no history for it, and nothing behind it
    report = open_shop.json("diff", "run-1", done["shadow"], expect=1)
    assert report["summary"] == {"equal": 0, "different": 1, "missing": 0, "added": 0}
    (pair,) = report["pairs"]
    assert pair["differences"] == [{"path": "price", "original": 10, "shadow": 11}]
    assert (pair["contract"], pair["original"]["stream"], pair["shadow"]["stream"]) == ("shop.priced", "SHOP", "SHADOW")
    assert "price: 10 → 11" in open_shop("diff", "run-1", done["shadow"], expect=1).stdout
    same = open_shop("diff", "run-2", done["shadow"]).stdout
    assert "1 equal, 0 different, 0 missing, 0 added" in same
    assert open_shop("diff", "run-1", done["shadow"], "--ignore", "price").stdout.startswith("equal")


def test_what_cannot_be_compared_is_neither_equal_nor_different(open_shop: Shop) -> None:
    error = open_shop("diff", "run-1", "nothing", expect=2).stderr
    assert "The shadow nothing and run run-1 have no event in common" in error


def test_only_a_handler_of_the_same_events_can_take_them(open_shop: Shop) -> None:
    def refused(other: str) -> str:
        return open_shop("replay", "price", "--since", "1h", "--into", other, expect=1).stderr

    assert "ship handles shop.priced, not shop.order" in refused("ship")
    assert "No handler is named nobody, here or on the server" in refused("nobody")


def test_a_handler_into_its_own_shadow_disturbs_nobody(open_shop: Shop) -> None:
    done = open_shop.json("replay", "price", "--run", "run-1", "--shadow", "trial")
    assert (done["shadow"], done["into"]) == ("trial", None)
    ran = open_shop.work("price-v2")
    assert (ran["price"], ran["ship"]) == (1, 0)
    assert open_shop.json("diff", "run-1", "trial")["summary"]["equal"] == 1


def test_in_place_asks_moves_the_consumer_and_runs_nothing_behind(open_shop: Shop) -> None:
    open_shop("replay", "price", "--in-place", "--since", "1h", input="n\n", expect=1)
    assert open_shop.work("price-v2")["price"] == 0
    plan = open_shop("replay", "price", "--in-place", "--since", "1h", "--dry-run").stdout
    assert "price would go back to SHOP/1 and work again on 3 events of shop.order" in plan
    before = [(event["id"], event["sequence"]) for event in open_shop.json("trace", "run-2")["events"]]
    done = open_shop.json("replay", "price", "--in-place", "--from-seq", "2", "--yes", "--limit", "1")
    assert (done["forgotten"], [event["run"] for event in done["events"]]) == (1, ["run-2"])
    ran = open_shop.work("price-v2")
    assert (ran["price"], ran["ship"]) == (1, 0)
    assert [(event["id"], event["sequence"]) for event in open_shop.json("trace", "run-2")["events"]] == before
    assert "No event of shop.order matches" in open_shop("replay", "price", "--in-place", "--until", "1h").stdout


def test_a_handler_without_a_ledger_is_warned_of(open_shop: Shop) -> None:
    warned = open_shop("replay", "forgetful", "--since", "1h")
    assert "Warning: forgetful keeps no ledger: it repeats what is delivered to it twice." in warned.stderr
    refused = open_shop("replay", "forgetful", "--in-place", "--since", "1h", "--limit", "1", expect=1).stderr
    assert "forgetful keeps no ledger, so moved back it works on everything" in refused
    moved = open_shop("replay", "forgetful", "--in-place", "--since", "1h", "--yes")
    assert "Warning: forgetful keeps no ledger: it works on everything from the first event on." in moved.stderr
    assert open_shop.work("price-v2")["forgetful"] == 6  # the copies of the first replay are there as well
