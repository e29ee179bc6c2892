"""Somebody else notices when the monitor is silent, or the server: real processes are killed and stopped."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import JsonValue, SecretStr
from structlog.testing import capture_logs

from stenobus_bus import Access, Bus, EmbeddedServer, apply
from stenobus_core import CoreSettings, Host
from stenobus_core.access import ADMIN, plugin_permissions
from stenobus_core.cli import cli
from stenobus_core.host import needs
from stenobus_core.users import Users
from stenobus_monitor import plugin as monitor
from stenobus_monitor.collectors import Emit
from stenobus_monitor.incidents import Policy
from stenobus_monitor.observations import ClockSeen
from stenobus_monitor.pulse import KEY, Pulse, sign
from stenobus_monitor.store import Store
from stenobus_monitor.vigil import Notice, Vigil
from stenobus_monitor.watch import Watch
from stenobus_monitor.watchdog import latest
from stenobus_monitor.watchdog import plugin as watchdog
from stenobus_testing import eventually
from stenobus_testing.process import HostProcess

from ..support.servers import nats_server as secured_server
from .test_channels import Service, service  # noqa: F401 -- a fixture

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
_HOST = """
import asyncio, importlib, sys
from stenobus_core import CoreSettings, Host
from stenobus_core.session import connect

async def main():
    module, _, name = sys.argv[1].partition(":")
    settings = CoreSettings.load("core")
    async with connect(settings) as session:
        host = Host(settings, session.bus, [getattr(importlib.import_module(module), name)])
        await host.start()
        await asyncio.Event().wait()

asyncio.run(main())
"""


# --- real processes --------------------------------------------------------------------------------------------------


@asynccontextmanager
async def process(which: str, out: Path) -> AsyncIterator[HostProcess]:
    with out.open("ab") as written:
        started = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _HOST, which, stdout=written, stderr=written, env=os.environ
        )
        running = HostProcess(started, written)
        try:
            yield running
        finally:
            await running.kill()


class Told:
    """What the watchdog said on standard output."""

    def __init__(self, out: Path) -> None:
        self._out = out

    def lines(self, about: str) -> list[str]:
        said = self._out.read_text().splitlines() if self._out.exists() else []
        return [line for line in said if line.startswith(("CRITICAL", "RESOLVED")) and about in line]

    async def last(self, about: str, head: str) -> None:
        await eventually(lambda: (self.lines(about) or [""])[-1].startswith(head))


async def test_a_killed_a_stopped_and_a_lost_one_are_told_once_each(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    service: Service,  # noqa: F811
) -> None:
    server, told = EmbeddedServer(tmp_path / "nats", port=0), Told(tmp_path / "watchdog.log")
    monkeypatch.setenv("STENOBUS_NATS_URL", await server.start())
    monkeypatch.setenv("STENOBUS_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("STENOBUS_MONITOR_BEAT", "0.5")
    monkeypatch.setenv("STENOBUS_MONITOR_POLL", "0.2")
    monkeypatch.setenv("STENOBUS_MONITOR_DIAGNOSE", "rules")
    monkeypatch.delenv("STENOBUS_MONITOR_ENGINE", raising=False)
    own = ("stenobus_monitor:plugin", tmp_path / "monitor.log")
    async with await Bus.connect(server.url) as bus:
        await apply(bus, needs(CoreSettings(data_dir=tmp_path), [monitor]))
        store = await Store.open(bus)
        # Its channels are those of the monitor's settings; the monitor itself tells nobody here.
        channel = {"kind": "webhook", "name": "team", "url": service.url}
        with monkeypatch.context() as listening:
            listening.setenv("STENOBUS_MONITOR_CHANNELS", json.dumps([channel]))
            started = process("stenobus_monitor.watchdog:plugin", tmp_path / "watchdog.log")
            await started.__aenter__()
        try:
            async with process(*own) as first:
                await eventually(lambda: store.get(KEY))
                await first.kill()
                await told.last("The monitor", "CRITICAL")
            async with process(*own) as second:
                await told.last("The monitor", "RESOLVED")
                second.pause()
                await told.last("The monitor", "CRITICAL")
                second.go_on()
                await told.last("The monitor", "RESOLVED")
                await server.stop()
                await told.last("The bus", "CRITICAL")
                server = EmbeddedServer(tmp_path / "nats", port=int(server.url.rpartition(":")[2]))
                await server.start()
                await told.last("The bus", "RESOLVED")
                await told.last("The monitor", "RESOLVED")
            for about in ("The monitor", "The bus"):
                heads = [line.partition(" ")[0] for line in told.lines(about)]
                assert heads == [("CRITICAL", "RESOLVED")[number % 2] for number in range(len(heads))]
                ids = [line.split(" ")[1] for line in told.lines(about)]
                assert ids[::2][: len(ids) // 2] == ids[1::2]  # the end of each names its beginning
            said = len(told.lines("The monitor")) + len(told.lines("The bus"))
            await eventually(lambda: len(service.received) >= said)
            alerts = [json.loads(body) for _, _, body in service.received]
            assert {alert["title"] for alert in alerts} == {
                "The monitor is silent",
                "The monitor is back",
                "The bus does not answer the watchdog",
                "The bus answers the watchdog again",
            }
            assert {alert["channel"] for alert in alerts} == {"team"}
        finally:
            await started.__aexit__(None, None, None)
    await server.stop()


def test_its_user_may_read_the_heartbeat_and_change_nothing_of_the_monitors(tmp_path: Path) -> None:
    allowed = plugin_permissions(watchdog, needs(CoreSettings(data_dir=tmp_path), [watchdog]), "stenobus")
    mine = [subject for subject in allowed.publish if "stenobus_monitor" in subject]
    assert mine == ["$JS.API.DIRECT.GET.KV_stenobus_monitor.$KV.stenobus_monitor.beat"]


def test_it_is_listed_though_it_handles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STENOBUS_WATCHDOG_ON", "true")
    listed = CliRunner().invoke(cli, ["plugins", "list"])
    assert listed.exit_code == 0 and any(line.startswith("watchdog ") for line in listed.output.splitlines())


async def test_under_that_user_it_hears_the_heartbeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = CoreSettings(data_dir=tmp_path / "data", grace=0)
    users = Users.open(tmp_path / "users")
    users.add("watchdog", "plugin", plugin_permissions(watchdog, needs(settings, [watchdog]), settings.bucket))
    users.add("admin", "admin", ADMIN)
    users.write()
    with secured_server(tmp_path / "server", 'include "../users/users.conf"') as server:
        url = server.url()
        async with (
            await Bus.connect(url, access=Access(credentials=users.credentials("admin"))) as admin,
            await Bus.connect(url, access=Access(credentials=users.credentials("watchdog"))) as own,
        ):
            await apply(admin, needs(settings, [monitor, watchdog]))
            assert await latest(own.nc) == (None, None)
            store = await Store.open(admin)
            await store.put(KEY, {"at": "2026-05-04T12:00:00Z", "every": 7.0})
            assert await latest(own.nc) == (1, 7.0)
            await store.put(KEY, {"at": "whenever", "every": -1})
            assert await latest(own.nc) == (None, None)
            monkeypatch.setenv("STENOBUS_NATS_URL", url)
            monkeypatch.setenv("STENOBUS_NATS_CREDS", str(users.credentials("watchdog")))
            host = Host(settings, own, [watchdog])
            await host.start()
            assert host.ready and not host.failed
            await host.stop(grace=0)


# --- silence, by one clock -------------------------------------------------------------------------------------------


def test_three_missed_beats_are_silence_and_a_new_one_is_its_end() -> None:
    vigil = Vigil(look=1.0, now=0.0)
    assert vigil.answered(7, 2.0, 0.5) == []  # an old beat says the rhythm
    for second in range(1, 6):
        assert vigil.answered(7, 2.0, float(second)) == []
    (notice,) = vigil.answered(7, 2.0, 6.0)
    assert (notice.kind, notice.status) == ("monitor.silent", "open")
    assert vigil.answered(7, 2.0, 7.0) == []  # once
    assert vigil.answered(8, 2.0, 8.0) == [Notice("monitor.silent", "resolved", 8.0)]
    assert vigil.answered(8, 2.0, 9.0) == []


def test_a_monitor_that_never_beat_is_silent_and_its_first_beat_ends_that() -> None:
    vigil = Vigil(look=100.0, now=0.0)
    (notice,) = vigil.answered(None, None, 15.0)
    assert notice == Notice("monitor.silent", "open", 15.0)
    assert [each.status for each in vigil.answered(1, 5.0, 16.0)] == ["resolved"]


def test_a_server_that_does_not_answer_says_nothing_about_the_monitor() -> None:
    vigil = Vigil(look=2.0, now=0.0)
    assert vigil.answered(7, 1.0, 0.5) == []
    assert vigil.unanswered(2.0) == []
    assert [each.kind for each in vigil.unanswered(4.0)] == ["bus.unreachable"]
    assert vigil.unanswered(60.0) == []
    back = vigil.answered(7, 1.0, 61.0)
    assert [(each.kind, each.status) for each in back] == [("bus.unreachable", "resolved")]
    assert vigil.answered(7, 1.0, 62.0) == []  # it gets its three beats from here
    assert [each.kind for each in vigil.answered(7, 1.0, 64.0)] == ["monitor.silent"]


def test_a_watchdog_that_slept_itself_accuses_nobody() -> None:
    vigil = Vigil(look=1.0, now=0.0)
    vigil.answered(7, 2.0, 0.5)
    assert vigil.answered(7, 2.0, 10_000.0) == []
    assert vigil.unanswered(20_000.0) == []


# --- the heart -------------------------------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Beats:
    def __init__(self) -> None:
        self.kept: list[JsonValue] = []

    async def put(self, key: str, value: JsonValue) -> None:
        assert key == "beat"
        self.kept.append(value)


async def test_it_beats_when_it_is_time_and_only_while_everything_looks() -> None:
    clock, beats = Clock(), Beats()
    pulse = Pulse(beats, 5.0, {"bus": 5.0, "disks": 30.0}, clock=clock)
    await pulse.beat(NOW)
    await pulse.beat(NOW)
    assert beats.kept == [{"at": "2026-05-04T12:00:00Z", "every": 5.0}]
    clock.now += 44
    await pulse.beat(NOW)
    assert len(beats.kept) == 2
    clock.now += 5  # 49 s: three looks at the bus and the slack are over
    pulse.looked("disks")
    with capture_logs() as logs:
        await pulse.beat(NOW)
        await pulse.beat(NOW)
    assert len(beats.kept) == 2 and [entry["late"] for entry in logs] == [("bus",)]
    pulse.looked("bus")
    await pulse.beat(NOW)
    assert len(beats.kept) == 3


class Waits:
    """A collector that sees one thing whenever it may."""

    name = "bus"

    def __init__(self) -> None:
        self.may = asyncio.Event()

    async def run(self, emit: Emit) -> None:
        while True:
            await self.may.wait()
            self.may.clear()
            await emit(ClockSeen(at=datetime.now(UTC), source="nats", ahead=timedelta(), known_to=timedelta()))


async def test_a_look_that_never_ends_ends_the_heartbeat_though_the_rounds_go_on(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path, port=0)
    async with await Bus.connect(await server.start()) as bus:
        await apply(bus, needs(CoreSettings(data_dir=tmp_path), [monitor]))
        clock, beats, collector, store = Clock(), Beats(), Waits(), await Store.open(bus)
        rounds = 0

        class Counted(Pulse):
            async def beat(self, at: datetime) -> None:
                nonlocal rounds
                await super().beat(at)
                rounds += 1

        pulse = Counted(beats, 1.0, {"bus": 1.0}, clock=clock)
        watch = Watch(bus, store, [collector], [], Policy(), pulse=pulse, out=sys.stdout)
        await watch.start()
        try:
            await eventually(lambda: beats.kept)
            clock.now += 60
            passed, kept = rounds, len(beats.kept)
            await eventually(lambda: rounds > passed + 1)
            assert len(beats.kept) == kept
            collector.may.set()
            await eventually(lambda: len(beats.kept) > kept)
        finally:
            await watch.stop()
    await server.stop()


# --- the dead man's switch -------------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere() -> Iterator[Service]:
    other = Service()
    yield other
    other.close()


async def test_the_switch_elsewhere_hears_once_a_minute(service: Service) -> None:  # noqa: F811
    clock = Clock()
    pulse = Pulse(Beats(), 5.0, {}, SecretStr(f"{service.url}/ping/5ecret"), clock)
    for number in range(13):
        await pulse.beat(NOW)
        await eventually(lambda: len(service.received) >= 1 + number // 12)  # noqa: B023 -- it is awaited here
        assert len(service.received) == 1 + number // 12
        clock.now += 5
    assert {path for path, _, _ in service.received} == {"/ping/5ecret"}
    await pulse.stop()


async def test_no_redirect_takes_its_address_elsewhere_and_no_log_has_it(
    service: Service,  # noqa: F811
    elsewhere: Service,
) -> None:
    service.answers += [(307, {"Location": f"{elsewhere.url}/stolen"}, b""), (500, {}, b"")]
    with capture_logs() as logs:
        assert not await sign(SecretStr(f"{service.url}/ping/5ecret"))
        assert not await sign(SecretStr(f"{service.url}/ping/5ecret"))
        assert not await sign(SecretStr("http://127.0.0.1:1/ping/5ecret"))
        assert not await sign(SecretStr("5ecret://nowhere"))
        assert await sign(SecretStr(f"{service.url}/ping/5ecret"))
    assert elsewhere.received == []
    assert [entry["trouble"] for entry in logs][:2] == ["307", "500"] and len(logs) == 4
    assert "5ecret" not in str(logs)
