"""What the run record says was spent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from click.testing import CliRunner

from stenobus_bus import Bus, EmbeddedServer, apply
from stenobus_core.runs import Runs, Step
from stenobus_core.services import topology
from stenobus_llm.cli import llm
from stenobus_llm.usage import BY, Usage, grouped, rows, total
from stenobus_testing.servers import empty

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def part(target: str, input: int, output: int, cost: str | None, **more: Any) -> dict[str, Any]:
    priced = {"unpriced": 1} if cost is None else {"cost_usd": cost}
    return {"target": target, "calls": 1, "input": input, "output": output, **priced, **more}


def step(number: int, *parts: dict[str, Any], run: str = "talk", started: datetime = NOON, **facts: Any) -> Step:
    known = {"task": "documents.extract", "caller": "stenobus/documents-extract", "provider": "a", "spent": list(parts)}
    return Step(
        run=run, handler="llm", event_id=f"e{number}", subject="llm.request", status="done", started=started,
        facts=known | facts,
    )  # fmt: skip


STEPS = [
    step(1, part("a", 1000, 100, "0.002"), part("b", 500, 50, "0.5", cached=200), provider="b"),
    step(2, part("a", 10, 1, None, estimated=True), task="acme.ask", caller="acme/x", started=NOON + timedelta(days=1)),
    step(3, run="other", cached=True, provider="b"),
    step(4, asking=part("b", 7, 8, "0.25"), run="other", error="overloaded", provider="router"),
]


async def read(steps: Iterable[Step]) -> AsyncIterator[Step]:
    for each in steps:
        yield each


async def test_requests_calls_tokens_and_cost_are_summed_by_everything_there_is() -> None:
    found = await rows(read(STEPS))

    by = {name: grouped(found, name) for name in BY}
    assert by["run"]["talk"] == Usage(2, 0, 0, 3, 1510, 151, 200, True, Decimal("0.502"), 1)
    assert by["run"]["other"] == Usage(2, 1, 1, 1, 7, 8, 0, False, Decimal("0.25"), 0)
    assert {name: each.calls for name, each in by["target"].items()} == {"a": 2, "b": 2, "router": 0}
    assert {name: each.requests for name, each in by["target"].items()} == {"a": 1, "b": 2, "router": 1}
    assert list(by["day"]) == ["2026-11-20", "2026-11-21"]
    assert {name: each.input for name, each in by["task"].items()} == {"documents.extract": 1507, "acme.ask": 10}
    assert list(by["caller"]) == ["stenobus/documents-extract", "acme/x"]
    for groups in by.values():
        assert sum(each.known for each in groups.values()) == total(found).known == Decimal("0.752")
        assert sum(each.requests for each in groups.values()) == 4


async def test_what_is_not_known_is_never_zero() -> None:
    found = await rows(read(STEPS))

    by = grouped(found, "run")
    assert (by["talk"].cost, by["other"].cost) == ("$0.5020 + unknown", "$0.2500")
    assert grouped(found, "task")["acme.ask"].cost == "unknown"
    assert by["talk"].told()["cost_usd"] is None and by["talk"].told()["known_cost_usd"] == "0.502"
    assert Usage(known=Decimal("0.00001")).cost == "< $0.0001"


async def test_a_step_that_was_written_while_it_was_read_counts_once_and_earlier_ones_not_at_all() -> None:
    again = step(1, part("a", 2000, 100, "0.004"))

    assert total(await rows(read([*STEPS, again]))).input == 2017
    assert total(await rows(read(STEPS), NOON + timedelta(hours=1))).input == 10


async def test_a_hundred_thousand_steps_are_summed() -> None:
    stored = [step(n, part("a", 1000, 100, "0.002"), run=f"r{n % 100}").model_dump_json() for n in range(1000)]

    async def many() -> AsyncIterator[Step]:
        for number in range(100_000):
            found = Step.model_validate_json(stored[number % 1000])
            yield found.model_copy(update={"event_id": f"e{number}"})

    everything = total(await rows(many()))
    assert everything.requests == 100_000


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def recorded(nats_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """The steps on a server."""
    monkeypatch.setenv("STENOBUS_NATS_URL", nats_server.url)
    monkeypatch.chdir(tmp_path)

    async def write() -> None:
        async with await Bus.connect(nats_server.url) as bus:
            await empty(bus)
            await apply(bus, topology("stenobus"))
            runs = await Runs.open(bus)
            stranger = STEPS[0].model_copy(update={"handler": "asr"})
            await asyncio.gather(*(runs.put(each) for each in (*STEPS, stranger)))

    asyncio.run(write())


@pytest.mark.usefixtures("recorded")
def test_people_see_a_table_and_scripts_a_document() -> None:
    table = CliRunner().invoke(llm, ["usage", "--by", "target"], env={"COLUMNS": "100"})
    document = json.loads(CliRunner().invoke(llm, ["usage", "--by", "caller", "--json"]).stdout)

    assert table.exit_code == 0, table.output
    lines = [line.split() for line in table.stdout.splitlines()]
    assert lines[0][0] == "Target" and ["b", "2", "0", "1", "2", "507", "200", "58", "$0.7500"] in lines
    assert lines[-1] == ["total", "4", "1", "1", "4", "~1517", "~200", "~159", "$0.7520", "+", "unknown"]
    assert document["total"]["requests"] == 4
    assert {row["caller"]: row["cost_usd"] for row in document["rows"]} == {
        "stenobus/documents-extract": "0.752", "acme/x": None,
    }  # fmt: skip


@pytest.mark.usefixtures("recorded")
def test_one_run_and_one_time_can_be_asked_for() -> None:
    def asked(*options: str) -> int:
        document = json.loads(CliRunner().invoke(llm, ["usage", "--json", *options]).stdout)
        return int(document["total"]["requests"])

    assert asked("--run", "other") == 2
    assert asked("--since", "2026-11-21T00:00:00Z") == 1
    assert asked("--run", "nobody") == 0
