"""``stenobus monitor``: silences are asked for, listed and ended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from stenobus_bus import Bus, apply
from stenobus_contracts import Action
from stenobus_core import CoreSettings
from stenobus_core.host import needs
from stenobus_monitor import plugin
from stenobus_monitor.actions.course import Course, stepped
from stenobus_monitor.monitor_command import approving, monitor
from stenobus_monitor.store import BUCKET, Store
from stenobus_testing import NatsServer
from stenobus_testing.servers import empty


@pytest.fixture(autouse=True)
def server(nats_server: NatsServer, core_settings: CoreSettings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    async def prepare() -> None:
        async with await Bus.connect(nats_server.url) as bus:
            await empty(bus)
            await apply(bus, needs(core_settings, [plugin]))

    asyncio.run(prepare())
    monkeypatch.setenv("STENOBUS_NATS_URL", nats_server.url)
    yield


def command(*arguments: str) -> Result:
    return CliRunner().invoke(monitor, arguments)


def test_a_silence_is_asked_for_listed_and_ended() -> None:
    asked = command("silence", "2h", "--kind", "container.*", "--by", "ops", "--reason", "maintenance")
    assert asked.exit_code == 0, asked.output
    (found,) = json.loads(command("silences", "--json").output)
    assert (found["kind"], found["component"], found["by"]) == ("container.*", "*", "ops")
    assert found["id"] in asked.output and "maintenance" in command("silences").output
    assert command("unsilence", found["id"]).exit_code == 0
    assert command("silences").output == "Nothing is silenced.\n"
    again = command("unsilence", found["id"])
    assert again.exit_code == 1 and "There is no silence" in again.output


@pytest.mark.parametrize("duration", ["2 hours", "2000-01-01", "0s"])
def test_a_silence_must_end_in_the_future(duration: str) -> None:
    assert command("silence", duration).exit_code == 2


async def _beats(bus_url: str, at: datetime) -> None:
    async with await Bus.connect(bus_url) as bus:
        await (await Store.open(bus)).put("beat", {"at": at.isoformat(), "every": 5.0})


def test_a_quiet_list_says_whether_anybody_watches(nats_server: NatsServer) -> None:
    asyncio.run(_beats(nats_server.url, datetime.now(UTC)))
    assert command("incidents").stderr == ""
    asyncio.run(_beats(nats_server.url, datetime.now(UTC) - timedelta(minutes=2)))
    assert "the monitor was last heard at" in command("incidents").stderr


def test_where_the_monitor_never_ran_people_hear_how_to_turn_it_on(nats_server: NatsServer) -> None:
    async def gone() -> None:
        async with await Bus.connect(nats_server.url) as bus:
            await bus.js.delete_key_value(BUCKET)

    asyncio.run(gone())
    said = command("incidents")
    assert said.exit_code == 1 and "STENOBUS_MONITOR_ON=true stenobus up monitor" in said.output


def test_help_names_the_commands_in_the_order_of_need_and_whole() -> None:
    lines = command("--help").output.split("Commands:\n")[1].splitlines()
    assert [line.split()[0] for line in lines][:4] == ["incidents", "show", "actions", "approve"]
    assert not [line for line in lines if line.endswith("...")]


def test_where_nothing_is_wrong_that_is_said() -> None:
    said = command("incidents")
    assert said.stdout == "Nothing is wrong.\n" and "Nobody is watching" in said.stderr
    assert json.loads(command("incidents", "--json").output) == []
    shown = command("show", "nobody")
    assert shown.exit_code == 1 and "There is no incident nobody" in shown.output
    assert command("show", "no*").exit_code == 1


@pytest.fixture
def proposed(nats_server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Course:
    """An action that waits for people, where no monitor runs."""
    course = Course(
        action=Action(action_id="a1", incident_id="i1", kind="pause", target="acme"),
        incident_kind="handler.dead_letters",
        component="handler:acme",
        level="approve",
        reason="acme fails",
        dry_run="would pause acme",
        expires_at=datetime.now(UTC) + timedelta(hours=1),
    )

    async def put() -> None:
        async with await Bus.connect(nats_server.url) as bus:
            await (await Store.open(bus)).change_course("a1", lambda _: stepped(course, "proposed"))

    asyncio.run(put())
    (tmp_path / "key").write_bytes(b"k" * 32)
    monkeypatch.setenv("STENOBUS_MONITOR_APPROVAL_KEY", str(tmp_path / "key"))
    return course


def test_an_approval_that_nobody_takes_is_told_as_such(proposed: Course, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approving, "_TAKEN", 0.5)
    given = command("approve", "a1")
    assert (
        given.exit_code == 1 and "approved: pause of acme" in given.output and "does the monitor run?" in given.output
    )
    assert command("approve", "a1", "--no-wait").exit_code == 0
    unknown = command("approve", "a2")
    assert unknown.exit_code == 1 and "There is no action a2" in unknown.output


def test_an_action_says_what_can_be_done_about_it(proposed: Course, nats_server: NatsServer) -> None:
    def shown(**changes: object) -> str:
        async def put() -> None:
            async with await Bus.connect(nats_server.url) as bus:
                changed = proposed.model_copy(update=changes)
                await (await Store.open(bus)).change_course("a1", lambda _: changed)

        asyncio.run(put())
        return command("actions", "a1").output.splitlines()[-1]

    assert shown().endswith("`stenobus monitor approve a1` has it done")
    assert shown(level="observe") == "The action's level is observe: nobody can approve it."
    assert shown(expires_at=datetime.now(UTC)) == "The proposal has expired."
    done = {"stage": "done", "outcome": "succeeded", "detail": "paused"}
    assert shown(**done) == "`stenobus monitor approve a1 --undo` takes it back"
    assert "--undo" not in shown(**done, undoable=False)
