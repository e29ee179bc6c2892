"""Users of a real server with the generated configuration: each does its own work, and nothing else."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from structlog.testing import capture_logs

from stenobus_bus import (
    Access,
    AccessDenied,
    Bus,
    ConsumerSpec,
    Envelope,
    PermanentError,
    PublishFailed,
    RateLimit,
    advisories,
    apply,
    pull,
)
from stenobus_bus.advisories import Undertaker
from stenobus_bus.alarm import Alarm
from stenobus_bus.dead_letters import Choice, letters, purge
from stenobus_bus.history import read
from stenobus_bus.pause import places
from stenobus_bus.schedules import Schedules
from stenobus_contracts import DeadLetter, Event
from stenobus_core import Context, CoreSettings, Host, Plugin, PluginSettings
from stenobus_core.access import (
    ADMIN,
    Permissions,
    caretaker_permissions,
    operator_permissions,
    plugin_permissions,
    publisher_permissions,
    undertaker_permissions,
)
from stenobus_core.cli.bus import bus as bus_command
from stenobus_core.discovery import discover
from stenobus_core.follow import run_job
from stenobus_core.host import needs
from stenobus_core.job import Job
from stenobus_core.runs import Runs, Step
from stenobus_core.services import Services
from stenobus_core.users import Users
from stenobus_testing.waiting import eventually

from ..support.contracts import Answer, Ask, Ping, Pong
from ..support.servers import Server, nats_server

left = Plugin("left")
right = Plugin("right")


@left.facts
def facts(_: PluginSettings) -> dict[str, int]:
    return {"most": 3}


@left.handler(requests=[Ask], fleet_concurrency=2, rate=RateLimit(per_second=100, burst=100))
async def work(event: Ping, ctx: Context) -> Pong:
    if event.number < 0:
        raise PermanentError("never")
    answer = await ctx.request(Ask(question=event.text), timeout=60)
    ref = await ctx.store(answer.text.encode(), "text/plain")
    return Pong(number=event.number, text=(await ctx.read(ref)).decode())


@right.handler()
async def reply(event: Ask) -> Answer:
    return Answer(text=event.question[::-1])


class Secured:
    """A server that lets in nobody but the generated users."""

    def __init__(self, server: Server, users: Users, settings: CoreSettings) -> None:
        self.server, self.users, self.settings = server, users, settings

    @asynccontextmanager
    async def user(self, name: str) -> AsyncIterator[Bus]:
        access = Access(credentials=self.users.credentials(name))
        async with await Bus.connect(self.server.url(), name=name, access=access) as bus:
            yield bus


class Tick(Event, subject="test.tick"):
    """It is time."""


timed, untimed = Plugin("timed"), Plugin("timed")
timed.schedule("tick", every=timedelta(seconds=1), event=Tick())
untimed.schedule("other", every=timedelta(days=1), event=Tick())


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("secured")
    users = Users.open(folder / "users")
    settings = CoreSettings(ack_wait=1, grace=0, data_dir=folder / "data")
    discover(settings)  # every contract has a stream: one that a test makes known later is in nobody's rights here
    for plugin in (left, right, timed):
        users.add(plugin.name, "plugin", plugin_permissions(plugin, needs(settings, [plugin]), settings.bucket))
    users.add("admin", "admin", ADMIN)
    users.add("operator", "operator", operator_permissions(settings.bucket))
    plugins = [plugin_permissions(plugin, needs(settings, [plugin]), settings.bucket) for plugin in (left, right)]
    everything = reduce(or_, plugins, operator_permissions(settings.bucket) | undertaker_permissions())
    users.add("all-in-one", "all-in-one", everything)
    users.add("caretaker", "caretaker", caretaker_permissions())
    users.add("crm", "publisher", publisher_permissions(["test.ping"]))
    users.write()
    with nats_server(folder / "server", 'include "../users/users.conf"') as server:
        yield Secured(server, users, settings)


@pytest.fixture
async def admin(secured: Secured) -> AsyncIterator[Bus]:
    """Everything is provisioned."""
    async with secured.user("admin") as bus:
        await apply(bus, needs(secured.settings, [left, right, timed]))
        yield bus


async def denied(bus: Bus, subject: str, body: bytes = b"") -> None:
    with pytest.raises(AccessDenied, match="may not publish on"):
        await (await bus.acks.send(subject, body, timeout=60))


async def hears(bus: Bus, subject: str) -> bool:
    """Whether the server lets a user listen."""

    async def ignore(_: object) -> None: ...

    await bus.nc.subscribe(subject, cb=ignore)
    await bus.nc.flush()
    await bus.nc.flush()  # the first one may overtake the subscription
    said = str(bus.nc.last_error or "")
    return f'permissions violation for subscription to "{subject.lower()}"' not in said


async def test_plugins_do_their_work_under_their_own_users(secured: Secured, admin: Bus) -> None:
    async with AsyncExitStack() as stack:
        for plugin in (left, right):
            bus = await stack.enter_async_context(secured.user(plugin.name))
            host = Host(secured.settings, bus, [plugin])
            await host.start()
            stack.push_async_callback(host.stop)
        async with secured.user("crm") as crm:
            ping = Ping(number=1, text="abc")
            await crm.publish(ping, Envelope.new(ping, "crm"))
        async with secured.user("operator") as operator:
            (pong,) = await eventually(lambda: _stored(operator, "test.pong"))
            assert json.loads(pong)["text"] == "cba"
            asked = await operator.nc.request("stenobus.ready.left", timeout=60)
            assert json.loads(asked.data)["ready"]
            wrong = Ping(number=-1)
            await operator.publish(wrong, Envelope.new(wrong, "operator", run="wrong"))
            (letter,) = await eventually(lambda: _letters(operator, "left"))
            assert (letter.handler, letter.reason) == ("left", "permanent")
            (step,) = await eventually(lambda: _failed(operator))
            assert (step.handler, step.run) == ("left", "wrong")
            assert await purge(operator, Choice("left")) == 1


async def _failed(bus: Bus) -> list[Step]:
    return [step for step in await (await Runs.open(bus)).steps() if step.status == "failed"]


async def test_a_plugins_schedules_are_declared_fired_and_removed_under_its_own_user(
    secured: Secured, admin: Bus
) -> None:
    async with secured.user("timed") as bus:
        host = Host(secured.settings, bus, [timed])
        await host.start()
        await eventually(lambda: _stored(admin, "test.tick"))
        await host.stop()
        host = Host(secured.settings, bus, [untimed])
        await host.start()
        await host.stop()
        assert await (await Schedules.open(admin)).ids() == ["timed.other"]


async def _stored(bus: Bus, subject: str) -> list[bytes]:
    return [message.data async for message in read(bus, "TEST", subject)]


async def test_a_plugin_publishes_nothing_that_it_does_not_declare(secured: Secured, admin: Bus) -> None:
    async with secured.user("left") as bus:
        for subject in ("test.ping", "test.answer", "media.uploaded", "dlq.right.permanent", "shadow.x.test.answer"):
            await denied(bus, subject, b"{}")


async def test_a_plugin_buries_its_own_events_and_leaves_the_watch_over_all_to_others(
    secured: Secured, admin: Bus
) -> None:
    async with secured.user("left") as bus:
        with capture_logs() as logs:
            host = Host(secured.settings.model_copy(update={"alert_window": 1.0}), bus, [left])
            await host.start()
            await bus.store("dlq.left.permanent", b"garbage", {})
            await eventually(lambda: any(line["event"] == "alarm.off" for line in logs))
            await host.stop()
    async with secured.user("operator") as operator:
        (alert,) = await Alarm(operator, 1, 300).look()
        assert alert.handler == "left"
        assert await purge(operator, Choice("left")) == 1


@pytest.mark.parametrize("user", ["all-in-one", "caretaker"])
async def test_whoever_may_buries_what_nobody_settled(secured: Secured, admin: Bus, user: str) -> None:
    async def buried(*_: object) -> None: ...

    await apply(admin, [advisories.consumer(), ConsumerSpec("TEST", "dead", "test.pong", max_deliver=2, ack_wait=1)])
    await admin.api("STREAM.PURGE.TEST", {"filter": "test.pong"})
    await admin.store("test.pong", b'{"number": 1}', {})
    taken = await admin.nc.subscribe(admin.nc.new_inbox())
    async with secured.user(user) as bus:
        undertaker = Undertaker(bus, buried, patrol=0.1)
        await undertaker.start()
        for _ in range(2):
            await admin.nc.publish("$JS.API.CONSUMER.MSG.NEXT.TEST.dead", b"1", reply=taken.subject)
            await taken.next_msg(timeout=60)
        found = await eventually(lambda: _letters(bus, "dead"))
        await undertaker.stop()
    assert [letter.reason for letter in found] == ["undelivered"]
    assert await purge(admin, Choice("dead")) == 1
    await admin.api("CONSUMER.DELETE.TEST.dead")


async def test_of_the_commands_users_those_bury_who_may_and_every_other_one_knows_it(tmp_path: Path) -> None:
    async def buried(*_: object) -> None: ...

    users(tmp_path / "users", "--publisher", "crm:media.uploaded")
    known = Users.open(tmp_path / "users")
    settings = CoreSettings(data_dir=tmp_path / "data")
    bury = set()
    with nats_server(tmp_path / "server", 'include "../users/users.conf"') as server:
        secured = Secured(server, known, settings)
        async with secured.user("admin") as admin:
            await apply(admin, needs(settings, list(discover(settings).plugins.values())))
            for user in known:
                async with secured.user(user.name) as bus:
                    undertaker = Undertaker(bus, buried)
                    with capture_logs() as logs:
                        try:
                            await undertaker.start()
                        except AccessDenied:
                            assert not logs, user.name  # whoever started it has been told
                            continue
                    bury.add(user.name)
                    await admin.store("$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.NONE.none", b"garbage", {})
                    await eventually(lambda: _looked_through(admin))
                    await undertaker.stop()
    assert bury == {user.name for user in known if user.role in {"admin", "caretaker", "all-in-one", "client"}}


async def _looked_through(bus: Bus) -> bool:
    info = await bus.api(f"CONSUMER.INFO.{advisories.STREAM}.{advisories.UNDERTAKER}")
    return bool(info["num_pending"] == info["num_ack_pending"] == 0)


async def test_a_caretaker_is_ready_without_a_plugin_and_changes_nothing(secured: Secured, admin: Bus) -> None:
    await apply(admin, [advisories.consumer()])
    async with secured.user("caretaker") as bus:
        host = Host(secured.settings, bus, [])
        assert not host.ready
        with capture_logs() as logs:
            await host.start()
            assert host.ready
            await host.stop()
        assert not host.ready
        assert not [line for line in logs if line["event"] in {"undertaker.off", "alarm.off"}]
        await denied(bus, "test.ping", b"{}")
        await denied(bus, "$JS.API.STREAM.PURGE.TEST")
        await denied(bus, "$JS.API.CONSUMER.PAUSE.TEST.left", b"{}")
        await denied(bus, "$KV.stenobus_ledger.left.x", b"done")


async def _letters(bus: Bus, handler: str) -> list[DeadLetter]:
    return [entry.letter async for entry in letters(bus, handler)]


async def test_a_plugin_reads_nothing_that_it_does_not_handle(secured: Secured, admin: Bus) -> None:
    async with secured.user("left") as bus:
        last = json.dumps({"last_by_subj": "test.answer"}).encode()
        await denied(bus, "$JS.API.DIRECT.GET.TEST.test.answer")
        await denied(bus, "$JS.API.DIRECT.GET.TEST", last)
        await denied(bus, "$JS.API.STREAM.MSG.GET.TEST", last)
        await denied(bus, "$JS.API.STREAM.MSG.GET.DLQ", last)
        await denied(bus, "$JS.API.DIRECT.GET.KV_stenobus_runs", last)
        spy = {"stream_name": "TEST", "config": {"filter_subject": "test.answer", "deliver_subject": "spy"}}
        for name in ("CREATE.TEST", "CREATE.TEST.spy", "CREATE.TEST.spy.test.answer", "DURABLE.CREATE.TEST.spy"):
            await denied(bus, f"$JS.API.CONSUMER.{name}", json.dumps(spy).encode())
        for subject in ("test.>", "test.ping", "dlq.>", "$KV.>", "$O.>", "$JS.>", ">"):
            assert not await hears(bus, subject), subject


async def test_a_plugin_touches_no_consumer_but_its_own(secured: Secured, admin: Bus) -> None:
    async with secured.user("left") as bus:
        assert (await bus.api("CONSUMER.INFO.TEST.left"))["name"] == "left"
        await denied(bus, "$JS.API.CONSUMER.INFO.TEST.right")
        await denied(bus, "$JS.API.CONSUMER.MSG.NEXT.TEST.right", b"1")
        await denied(bus, "$JS.ACK.TEST.right.1.1.1.1.0", b"+TERM")
        await denied(bus, "$JS.API.CONSUMER.PAUSE.TEST.left", b"{}")
        await denied(bus, "$JS.API.CONSUMER.DELETE.TEST.left")


async def test_a_plugin_changes_and_empties_nothing(secured: Secured, admin: Bus) -> None:
    async with secured.user("left") as bus:
        for stream in ("TEST", "DLQ", "KV_stenobus_ledger", "OBJ_stenobus"):
            for call in ("PURGE", "DELETE", "UPDATE", "CREATE", "MSG.DELETE"):
                await denied(bus, f"$JS.API.STREAM.{call}.{stream}", b"{}")


async def test_no_bucket_can_be_emptied_by_a_header(secured: Secured, admin: Bus) -> None:
    async with secured.user("right") as bus:
        await bus.store("$KV.stenobus_ledger.right.kept", b"done", {})
        blob = await bus.objects.put(b"kept", "text/plain")
    config = (await admin.api("STREAM.INFO.OBJ_stenobus"))["config"]
    await admin.api("STREAM.UPDATE.OBJ_stenobus", config | {"allow_rollup_hdrs": False})  # as the documentation tells
    assert {change.action for change in await apply(admin, needs(secured.settings, [left]))} == {"none"}
    async with secured.user("left") as bus:
        for subject in ("$KV.stenobus_ledger.left.x", "$O.stenobus.M.x", "$O.stenobus.C.x"):
            with pytest.raises(PublishFailed, match="rollup"):
                await bus.store(subject, b"{}", {"Nats-Rollup": "all"})
        assert [chunk async for chunk in bus.objects.open(blob.uri)] == [b"kept"]
    kept = await admin.api("STREAM.MSG.GET.KV_stenobus_ledger", {"last_by_subj": "$KV.stenobus_ledger.right.kept"})
    assert kept["message"]


async def test_a_plugin_writes_only_its_own_keys(secured: Secured, admin: Bus) -> None:
    async with secured.user("left") as bus:
        await bus.store("$KV.stenobus_ledger.left.x", b"done", {})
        for key in (
            "ledger.right.x",
            "runs.some.right.x",
            "cache.right.x",
            "facts.test.ask",
            "answers.left.x",
            "limits.fleet.right",
            "limits.rate.right.x",
            "schedules.declared.right.x",
        ):
            await denied(bus, f"$KV.stenobus_{key}", b"{}")
        assert await hears(bus, "$KV.stenobus_answers.left.*")
        assert not await hears(bus, "$KV.stenobus_answers.right.*")
        assert await hears(bus, "stenobus.pieces.left.*")
        assert not await hears(bus, "stenobus.pieces.right.*")
        await denied(bus, "stenobus.pieces.right.x", b"{}")
        await denied(bus, "$JS.API.DIRECT.GET.KV_stenobus_answers.$KV.stenobus_answers.right.x")


async def test_nobody_hears_what_is_said_to_another(secured: Secured, admin: Bus) -> None:
    async with secured.user("right") as other, secured.user("left") as bus:
        for inbox in (other.nc.new_inbox(), "_INBOX.>", "*.>", ">"):
            assert not await hears(bus, inbox), inbox
        assert await hears(bus, bus.nc.new_inbox())


async def test_a_publisher_does_nothing_else(secured: Secured, admin: Bus) -> None:
    async with secured.user("crm") as bus:
        await denied(bus, "test.pong", b"{}")
        await denied(bus, "$JS.API.CONSUMER.CREATE.TEST", b"{}")
        await denied(bus, "$JS.API.DIRECT.GET.TEST.test.ping")
        assert not await hears(bus, "test.ping")


async def test_an_operator_looks_and_publishes_and_provisions_nothing(secured: Secured, admin: Bus) -> None:
    async with secured.user("operator") as bus:
        await bus.store("test.ping", b'{"number": -1}', {"stenobus-only": "nobody"})
        assert [place.handler for place in await places(bus, "left")] == ["left"]
        await denied(bus, "$JS.API.STREAM.DELETE.TEST")
        await denied(bus, "$JS.API.STREAM.PURGE.TEST")
        await denied(bus, "$JS.API.CONSUMER.CREATE.TEST.x", b"{}")
        await denied(bus, "$KV.stenobus_ledger.left.x", b"done")


async def test_a_plugin_whose_streams_are_missing_says_who_can_make_them(secured: Secured, admin: Bus) -> None:
    await admin.api("CONSUMER.DELETE.TEST.left")
    async with secured.user("left") as bus:
        with pytest.raises(AccessDenied, match="may not create consumer TEST/left; run `stenobus bus apply`"):
            await Host(secured.settings, bus, [left]).start()


async def test_without_credentials_nobody_comes_in(secured: Secured) -> None:
    with pytest.raises(AccessDenied, match="does not know this user"):
        await Bus.connect(secured.server.url())


def users(folder: Path, *arguments: str) -> str:
    done = CliRunner().invoke(bus_command, ["users", "--out", str(folder), *arguments])
    assert done.exit_code == 0, done.output
    return done.output


def seeds(folder: Path) -> dict[str, str]:
    return {path.stem: path.read_text().strip() for path in (folder / "credentials").iterdir()}


def test_the_command_keeps_keys_and_tells_no_secret(tmp_path: Path) -> None:
    told = users(tmp_path, "--plugins", "llm", "--publisher", "crm:media.uploaded,asr.done")
    first = seeds(tmp_path)
    assert set(first) == {"admin", "operator", "caretaker", "all-in-one", "llm", "crm"}
    told += users(tmp_path, "--plugins", "kb", "--json")
    second = seeds(tmp_path)
    assert second == first | {"kb": second["kb"]}
    told += users(tmp_path, "--plugins", "kb", "--rotate", "llm")
    third = seeds(tmp_path)
    assert third == second | {"llm": third["llm"]}
    assert third["llm"] != second["llm"]
    told += users(tmp_path, "--plugins", "kb", "--remove", "llm")
    assert "llm" not in seeds(tmp_path)
    told += "".join(path.read_text() for path in tmp_path.iterdir() if path.is_file())
    for secret in {*first.values(), *second.values(), *third.values()}:
        assert secret.startswith("SU")
        assert secret not in told
    for path in (tmp_path / "credentials").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "credentials").stat().st_mode & 0o777 == 0o700


async def test_a_rotated_key_is_worth_nothing_once_the_server_has_read_it(secured: Secured, admin: Bus) -> None:
    secured.users.add("late", "publisher", publisher_permissions(["test.ping"]))
    secured.users.write()
    secured.server.reload()
    old = secured.users.credentials("late").read_text()

    async def let_in() -> bool:
        try:
            async with secured.user("late"):
                return True
        except AccessDenied:
            return False

    await eventually(let_in)
    secured.users.rotate(["late"])
    secured.users.write()
    secured.server.reload()
    await eventually(let_in)
    secured.users.credentials("late").write_text(old)
    assert not await let_in()


async def test_a_handler_whose_rights_are_taken_away_says_so_once_and_goes_on_when_they_are_back(
    secured: Secured, admin: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    fickle, handled, nudges, nudge = Plugin("fickle"), [], [], pull.nudge

    @fickle.handler()
    async def work(event: Ping) -> None:
        handled.append(event.number)

    async def counted(*place: Any) -> None:
        nudges.append(place)
        await nudge(*place)

    def grant(permissions: Permissions) -> None:
        secured.users.add("fickle", "plugin", permissions)
        secured.users.write()
        secured.server.reload()

    monkeypatch.setattr(pull, "_REFUSED", 0.05)
    monkeypatch.setattr(pull, "nudge", counted)
    await apply(admin, needs(secured.settings, [fickle]))
    rights = plugin_permissions(fickle, needs(secured.settings, [fickle]), secured.settings.bucket)
    grant(rights)
    async with AsyncExitStack() as stack:
        bus = await eventually(lambda: _let_in(secured, "fickle"))
        stack.push_async_callback(bus.close)
        logs = stack.enter_context(capture_logs())
        host = Host(secured.settings, bus, [fickle])
        await host.start()
        stack.push_async_callback(host.stop)
        grant(Permissions(tuple(each for each in rights.publish if "MSG.NEXT" not in each), rights.subscribe))
        before = len(nudges)
        await eventually(lambda: len(nudges) > before + 5)
        assert not host.ready
        assert [line["consumer"] for line in logs if line["event"] == "pull.refused"] == ["fickle"]
        grant(rights)
        await admin.store("test.ping", b'{"number": 7}', {"stenobus-only": "fickle"})
        await eventually(lambda: 7 in handled and host.ready)


async def _let_in(secured: Secured, user: str) -> Bus | None:
    """A connection of a user who is new to the server."""
    try:
        return await Bus.connect(secured.server.url(), access=Access(credentials=secured.users.credentials(user)))
    except AccessDenied:
        return None


async def test_a_transcript_becomes_a_document_with_every_plugin_under_its_own_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STENOBUS_DATA_DIR", str(tmp_path / "data"))
    users(tmp_path / "users")
    known = Users.open(tmp_path / "users")
    settings = CoreSettings(data_dir=tmp_path / "data")
    plugins = list(discover(settings).plugins.values())
    with nats_server(tmp_path / "server", 'include "../users/users.conf"') as server:
        secured = Secured(server, known, settings)
        async with AsyncExitStack() as stack:
            admin = await stack.enter_async_context(secured.user("admin"))
            await Host(settings, admin, plugins).declare()
            for plugin in plugins:
                bus = await stack.enter_async_context(secured.user(plugin.name))
                host = Host(settings, bus, [plugin])
                await host.start()
                stack.push_async_callback(host.stop)
                assert host.ready
            operator = await stack.enter_async_context(secured.user("operator"))
            services = await Services.open(settings, operator)
            stack.push_async_callback(services.blobs.close)
            transcript = Path(__file__).parents[2] / "examples" / "recording" / "disk-full.json"
            job = await Job.from_file(transcript).uploaded(services)
            outcome = await run_job(job, services, [handler for plugin in plugins for handler in plugin.handlers])
            assert "root cause" in (await services.blobs.read(outcome.ready.markdown)).decode().lower()
            assert {step.handler for step in outcome.steps if step.status == "done"} >= {"documents-output", "kb-ready"}
