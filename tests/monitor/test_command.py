"""``stenobus monitor``: silences are asked for, listed and ended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result

from stenobus_bus import Bus, apply
from stenobus_core import CoreSettings
from stenobus_core.host import needs
from stenobus_monitor import plugin
from stenobus_monitor.monitor_command import monitor
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


def test_where_nothing_is_wrong_that_is_said() -> None:
    assert command("incidents").output == "Nothing is wrong.\n"
    assert json.loads(command("incidents", "--json").output) == []
    shown = command("show", "nobody")
    assert shown.exit_code == 1 and "There is no incident nobody" in shown.output
    assert command("show", "no*").exit_code == 1
