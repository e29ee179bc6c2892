"""What docs/replay.md promises of the ``nats`` command alone, with our handlers at work.

The command itself is a Go program; :class:`Nats` sends what it sends, as its sources (natscli ``cli/*_command.go``,
jsm.go) have it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from nats.aio.msg import Msg

from stenobus_bus import Bus, PermanentError, shadow
from stenobus_bus.connection import ApiError
from stenobus_core import Context, Plugin
from stenobus_testing.stage import Stage, unique
from stenobus_testing.waiting import eventually, still

from ..support.contracts import Ping, Pong


class Nats:
    """``nats …``"""

    def __init__(self, bus: Bus) -> None:
        self.bus, self.nc = bus, bus.nc

    async def stream_get(self, stream: str, sequence: int) -> dict[str, Any]:
        """``nats stream get STREAM SEQ --json``"""
        found: dict[str, Any] = (await self.bus.api(f"STREAM.MSG.GET.{stream}", {"seq": sequence}))["message"]
        return found

    async def stream_get_last(self, stream: str, subject: str) -> dict[str, Any]:
        """``nats stream get STREAM --last-for SUBJECT --json``"""
        found: dict[str, Any] = (await self.bus.api(f"STREAM.MSG.GET.{stream}", {"last_by_subj": subject}))["message"]
        return found

    async def stream_view(self, stream: str, subject: str, **start: Any) -> list[Msg]:
        """``nats stream view STREAM --subject … [--id N | --since 2h]``: a page by a durable of its own."""
        name = f"stream_pager_{uuid.uuid4().hex}"
        config = {
            "durable_name": name,
            "name": name,
            "description": "JSM Stream Pager",
            "inactive_threshold": 3_600 * 10**9,
            "mem_storage": True,
            "num_replicas": 1,
            "ack_policy": "none",
            "replay_policy": "instant",
            "filter_subject": subject,
            "deliver_policy": "all",
            **start,
        }
        await self._create(stream, config)
        try:
            return await self._next(stream, name, {"batch": 25, "no_wait": True})
        finally:
            await self.bus.api(f"CONSUMER.DELETE.{stream}.{name}")

    async def sub(self, stream: str, subject: str, **start: Any) -> list[Msg]:
        """``nats sub --stream STREAM SUBJECT --since 2h | --all | --start-sequence N [--headers-only]``"""
        name = uuid.uuid4().hex
        config = {"name": name, "ack_policy": "none", "filter_subject": subject, "deliver_policy": "all", **start}
        await self._create(stream, config)
        return await self._next(stream, name, {"batch": 500, "no_wait": True})

    async def sub_direct(self, stream: str, subject: str) -> list[bytes]:
        """``nats sub --stream STREAM SUBJECT --direct --all``"""
        found: list[bytes] = []
        async for msg in self._answers(
            f"$JS.API.DIRECT.GET.{stream}", {"seq": 1, "batch": 100, "next_by_subj": subject}
        ):
            found.append(msg.data)
        return found

    async def pause(self, stream: str, consumer: str, until: datetime) -> dict[str, Any]:
        """``nats consumer pause STREAM CONSUMER TIME``"""
        body = {"pause_until": until.isoformat()}
        answer: dict[str, Any] = await self.bus.api(f"CONSUMER.PAUSE.{stream}.{consumer}", body)
        return answer

    async def resume(self, stream: str, consumer: str) -> dict[str, Any]:
        """``nats consumer resume STREAM CONSUMER``"""
        answer: dict[str, Any] = await self.bus.api(f"CONSUMER.PAUSE.{stream}.{consumer}")
        return answer

    async def reset(self, stream: str, consumer: str, sequence: int = 0) -> dict[str, Any]:
        """``nats consumer reset STREAM CONSUMER [--sequence N]``"""
        body = {"seq": sequence} if sequence else {}
        answer: dict[str, Any] = await self.bus.api(f"CONSUMER.RESET.{stream}.{consumer}", body)
        return answer

    async def copy(self, stream: str, source: str, destination: str, **changes: Any) -> None:
        """``nats consumer copy STREAM SOURCE DESTINATION [--deliver …]``"""
        config = (await self.bus.api(f"CONSUMER.INFO.{stream}.{source}"))["config"]
        await self._create(stream, {**config, "durable_name": destination, "name": destination, **changes})

    async def add(self, stream: str, consumer: str, subject: str) -> None:
        """``nats consumer add STREAM CONSUMER --pull --filter SUBJECT --defaults``"""
        config = {
            "durable_name": consumer,
            "name": consumer,
            "filter_subject": subject,
            "ack_policy": "explicit",
            "deliver_policy": "all",
            "replay_policy": "instant",
        }
        await self._create(stream, config)

    async def next(self, stream: str, consumer: str, count: int) -> list[Msg]:
        """``nats consumer next STREAM CONSUMER --count N --no-ack``"""
        return [
            msg
            for _ in range(count)
            for msg in await self._next(stream, consumer, {"batch": 1, "expires": 5 * 10**9}, most=1)
        ]

    async def purge(self, stream: str, subject: str) -> int:
        """``nats stream purge STREAM --subject SUBJECT``"""
        return int((await self.bus.api(f"STREAM.PURGE.{stream}", {"filter": subject}))["purged"])

    async def pub(self, subject: str, body: bytes, headers: dict[str, str]) -> dict[str, Any]:
        """``nats pub --jetstream SUBJECT BODY -H …``"""
        answer: dict[str, Any] = json.loads((await self.nc.request(subject, body, headers=headers)).data)
        return answer

    async def backup(self, stream: str) -> tuple[dict[str, Any], list[bytes]]:
        """``nats stream backup STREAM DIR``: what lands in backup.json and stream.tar.s2."""
        inbox, chunks, done = self.nc.new_inbox(), [], asyncio.Event()

        async def take(msg: Msg) -> None:
            if not msg.data:
                done.set()
                return
            chunks.append(msg.data)
            if msg.reply:
                await self.nc.publish(msg.reply)

        await self.nc.subscribe(inbox, cb=take)
        made = await self.bus.api(f"STREAM.SNAPSHOT.{stream}", {"deliver_subject": inbox, "chunk_size": 128 * 1024})
        async with asyncio.timeout(60):
            await done.wait()
        return {"config": made["config"], "state": made["state"]}, chunks

    async def restore(self, meta: dict[str, Any], chunks: list[bytes]) -> dict[str, Any]:
        """``nats stream restore DIR``"""
        to = (await self.bus.api(f"STREAM.RESTORE.{meta['config']['name']}", meta))["deliver_subject"]
        whole = b"".join(chunks)
        for first in range(0, len(whole), 64 * 1024):
            await self.nc.request(to, whole[first : first + 64 * 1024], timeout=60)
        answer: dict[str, Any] = json.loads((await self.nc.request(to, b"", timeout=60)).data)
        return answer

    async def _create(self, stream: str, config: dict[str, Any]) -> None:
        where = f"CONSUMER.CREATE.{stream}.{config['name']}.{config['filter_subject']}"
        await self.bus.api(where, {"stream_name": stream, "config": config, "action": ""})

    async def _next(self, stream: str, consumer: str, body: dict[str, Any], most: int = 10_000) -> list[Msg]:
        found: list[Msg] = []
        async for msg in self._answers(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}", body):
            found.append(msg)
            if len(found) == most:
                break
        return found

    async def _answers(self, subject: str, body: dict[str, Any]) -> AsyncIterator[Msg]:
        """Messages until the server says that there are no more."""
        subscription = await self.nc.subscribe(self.nc.new_inbox())
        await self.nc.publish(subject, json.dumps(body).encode(), reply=subscription.subject)
        while True:
            msg = await subscription.next_msg(timeout=60)
            if "Status" in (msg.headers or {}):
                break
            yield msg
        await subscription.unsubscribe()


class Line:
    """A handler, another one on the same subject, and one behind the first."""

    def __init__(self) -> None:
        self.name, self.other, self.behind = unique("first"), unique("other"), unique("behind")
        self.seen: list[tuple[str, int]] = []
        self.marks: list[tuple[str | None, str | None]] = []

    def plugins(self) -> list[Plugin]:
        first, other, behind = Plugin(self.name), Plugin(self.other), Plugin(self.behind)

        @first.handler()
        async def work(event: Ping, ctx: Context[Any, Any]) -> Pong:
            if event.number < 0:
                raise PermanentError("broken")
            self.seen.append(("first", event.number))
            self.marks.append((ctx.replay, ctx.shadow))
            return Pong(number=event.number)

        @other.handler()
        async def watch(event: Ping) -> None:
            self.seen.append(("other", event.number))

        @behind.handler()
        async def listen(event: Pong) -> None:
            self.seen.append(("behind", event.number))

        return [first, other, behind]

    def of(self, who: str) -> list[int]:
        return sorted(number for name, number in self.seen if name == who)


@pytest.fixture
def nats(bus: Bus) -> Nats:
    return Nats(bus)


@pytest.fixture
async def line(stage: Stage) -> Line:
    """Three pings are through."""
    line = Line()
    await stage.run(*line.plugins())
    for number in (1, 2, 3):
        await stage.publish(Ping(number=number), run="talk", id=f"ping-{number}")
    await eventually(lambda: len(line.seen) == 9)
    await stage.run_until_idle()
    return line


async def pings(stage: Stage) -> list[int]:
    return [message.sequence for message in await stage.stored(Ping)]


async def test_history_is_read_without_a_trace(stage: Stage, line: Line, nats: Nats) -> None:
    _, second, _ = await pings(stage)
    before = {name: await stage.bus.api(f"CONSUMER.INFO.TEST.{name}") for name in (line.name, line.other)}

    def numbers(found: list[Msg]) -> list[int]:
        return [json.loads(msg.data)["number"] for msg in found]

    assert numbers(await nats.stream_view("TEST", "test.ping")) == [1, 2, 3]
    from_second = {"deliver_policy": "by_start_sequence", "opt_start_seq": second}
    assert numbers(await nats.stream_view("TEST", "test.ping", **from_second)) == [2, 3]
    since = (datetime.now(UTC) - timedelta(hours=2)).isoformat()
    recent = {"deliver_policy": "by_start_time", "opt_start_time": since}
    assert numbers(await nats.stream_view("TEST", "test.ping", **recent)) == [1, 2, 3]
    assert numbers(await nats.sub("TEST", "test.ping", **recent)) == [1, 2, 3]
    assert len(await nats.sub("TEST", "test.>")) == 6
    headers = await nats.sub("TEST", "test.ping", headers_only=True)
    assert [(msg.data, (msg.headers or {})["ce-id"]) for msg in headers] == [(b"", f"ping-{n}") for n in (1, 2, 3)]
    assert [json.loads(data)["number"] for data in await nats.sub_direct("TEST", "test.ping")] == [1, 2, 3]
    one = await nats.stream_get("TEST", second)
    assert json.loads(base64.b64decode(one["data"])) == {"number": 2, "text": ""}
    assert b"ce-id: ping-2" in base64.b64decode(one["hdrs"])
    assert json.loads(base64.b64decode((await nats.stream_get_last("TEST", "test.ping"))["data"]))["number"] == 3
    for name, info in before.items():
        after = await stage.bus.api(f"CONSUMER.INFO.TEST.{name}")
        assert (after["delivered"], after["ack_floor"]) == (info["delivered"], info["ack_floor"])
    assert len(line.seen) == 9


async def test_a_paused_handler_waits_and_goes_on_by_itself(stage: Stage, line: Line, nats: Nats) -> None:
    assert (await nats.pause("TEST", line.name, datetime.now(UTC) + timedelta(hours=1)))["paused"]
    await stage.publish(Ping(number=4))
    await eventually(lambda: line.of("other") == [1, 2, 3, 4])
    await still(lambda: 4 not in line.of("first"), 0.3)
    assert not (await nats.resume("TEST", line.name)).get("paused")
    await eventually(lambda: 4 in line.of("behind"))
    await nats.pause("TEST", line.name, datetime.now(UTC) + timedelta(seconds=1))
    await stage.publish(Ping(number=5))
    await eventually(lambda: 5 in line.of("behind"))


async def test_a_reset_alone_repeats_nothing(stage: Stage, line: Line, nats: Nats) -> None:
    assert (await nats.reset("TEST", line.name, 1))["reset_seq"] == 1
    await stage.publish(Ping(number=4))
    await eventually(lambda: 4 in line.of("behind"))
    await stage.run_until_idle()
    assert line.of("first") == [1, 2, 3, 4]


async def test_a_reset_without_memory_repeats_the_handler_and_nobody_behind(
    stage: Stage, line: Line, nats: Nats
) -> None:
    outputs = [(message.event_id, message.sequence) for message in await stage.stored(Pong)]
    _, second, _ = await pings(stage)
    await nats.pause("TEST", line.name, datetime.now(UTC) + timedelta(minutes=15))
    assert await nats.purge("KV_stenobus_ledger", f"$KV.stenobus_ledger.{line.name}.>") == 3
    await nats.reset("TEST", line.name, second)
    await still(lambda: line.of("first") == [1, 2, 3], 0.2)  # still paused
    await nats.resume("TEST", line.name)
    await eventually(lambda: line.of("first") == [1, 2, 2, 3, 3])
    await stage.run_until_idle()
    assert (line.of("behind"), line.of("other")) == ([1, 2, 3], [1, 2, 3])
    assert [(message.event_id, message.sequence) for message in await stage.stored(Pong)] == outputs


async def test_a_reset_to_nowhere_goes_back_to_what_was_not_acknowledged(stage: Stage, line: Line, nats: Nats) -> None:
    *_, third = await pings(stage)
    answer = await nats.reset("TEST", line.name)
    assert answer["reset_seq"] > third  # the acknowledgement floor: nothing is delivered again
    await stage.run_until_idle()
    assert line.of("first") == [1, 2, 3]


async def test_a_deleted_consumer_comes_back_and_repeats_nothing(stage: Stage, line: Line, nats: Nats) -> None:
    await stage.bus.api(f"CONSUMER.DELETE.TEST.{line.name}")
    await stage.publish(Ping(number=4))
    await eventually(lambda: 4 in line.of("behind"))
    await stage.run_until_idle()
    assert line.of("first") == [1, 2, 3, 4]


async def test_a_copied_consumer_is_another_handlers_place_in_history(stage: Stage, line: Line, nats: Nats) -> None:
    _, second, _ = await pings(stage)
    name, seen = unique("second"), []
    await nats.copy("TEST", line.name, name, deliver_policy="by_start_sequence", opt_start_seq=second)
    version = Plugin(name)

    @version.handler()
    async def work(event: Ping, ctx: Context[Any, Any]) -> Pong:
        assert ctx.shadow == "trial"
        seen.append(event.number)
        return Pong(number=-event.number)

    await stage.run(version, shadow="trial")
    await eventually(lambda: seen == [2, 3])
    await stage.publish(Ping(number=4))  # and on, with what comes
    await eventually(lambda: seen == [2, 3, 4])
    await stage.run_until_idle()
    assert line.of("behind") == [1, 2, 3, 4]
    assert [subject async for subject in _subjects(stage.bus)] == ["test.pong"] * 3
    config = (await stage.bus.api(f"CONSUMER.INFO.TEST.{name}"))["config"]
    assert (config["deliver_policy"], config["opt_start_seq"]) == ("by_start_sequence", second)


async def _subjects(bus: Bus) -> AsyncIterator[str]:
    async for message in shadow.outputs(bus, "trial"):
        yield message.subject


async def test_an_event_published_again_for_one_handler_runs_it_and_those_behind(
    stage: Stage, line: Line, nats: Nats
) -> None:
    _, second, _ = await pings(stage)
    body = base64.b64decode((await nats.stream_get("TEST", second))["data"])
    headers = {"ce-id": "ping-2", "ce-source": "test", "ce-correlationid": "talk", "stenobus-only": line.name}
    await nats.pub("test.ping", body, {**headers, "Nats-Msg-Id": "again-1", "stenobus-replay": "again-1"})
    await eventually(lambda: line.of("behind") == [1, 2, 2, 3])
    await stage.run_until_idle()
    assert (line.of("first"), line.of("other")) == ([1, 2, 2, 3], [1, 2, 3])
    assert line.marks[-1] == ("again-1", None)
    # Without a replay mark the ledger knows the event, and with the Msg-Id of the first time the server does.
    await nats.pub("test.ping", body, {**headers, "Nats-Msg-Id": "again-2"})
    await stage.run_until_idle()
    assert line.of("first") == [1, 2, 2, 3]
    again = {**headers, "Nats-Msg-Id": "again-1", "stenobus-replay": "again-3"}
    assert (await nats.pub("test.ping", body, again))["duplicate"]


async def test_an_event_published_into_a_shadow_runs_nobody_behind(stage: Stage, line: Line, nats: Nats) -> None:
    marks = {"stenobus-only": line.name, "stenobus-replay": "again-1", "stenobus-shadow": "trial"}
    headers = {"ce-id": "ping-2", "ce-source": "test", "ce-correlationid": "talk", "Nats-Msg-Id": "again-1", **marks}
    await nats.pub("test.ping", b'{"number": 2}', headers)
    await eventually(lambda: line.of("first") == [1, 2, 2, 3])
    await stage.run_until_idle()
    assert line.marks[-1] == ("again-1", "trial")
    assert line.of("behind") == [1, 2, 3]
    (msg,) = await nats.sub("SHADOW", "shadow.trial.>")
    assert (msg.subject, json.loads(msg.data)["number"]) == ("shadow.trial.test.pong", 2)


async def test_dead_letters_are_looked_at_without_taking_them(stage: Stage, line: Line, nats: Nats) -> None:
    for number in (-1, -2):
        await stage.publish(Ping(number=number))
    await eventually(lambda: _letters(stage, 2))
    await nats.add("DLQ", "fixer", "dlq.>")
    found = await nats.next("DLQ", "fixer", 2)
    assert sorted(json.loads(json.loads(msg.data)["data"])["number"] for msg in found) == [-2, -1]
    assert len(await stage.letters()) == 2
    assert (await stage.bus.api("CONSUMER.INFO.DLQ.fixer"))["num_ack_pending"] == 2


async def _letters(stage: Stage, count: int) -> bool:
    return len(await stage.letters()) == count


async def test_a_restored_stream_has_its_consumers_and_repeats_nothing(stage: Stage, line: Line, nats: Nats) -> None:
    saved = await nats.backup("TEST")
    await stage.publish(Ping(number=4))
    await eventually(lambda: 4 in line.of("behind"))
    for host in stage.hosts:
        await host.stop()
    await stage.bus.api("STREAM.DELETE.TEST")
    restored = await nats.restore(*saved)
    assert restored["state"]["messages"] == 6
    with pytest.raises(ApiError, match="already in use"):
        await nats.restore(*saved)  # it goes back into its own name, which must be free
    place = await stage.bus.api(f"CONSUMER.INFO.TEST.{line.name}")
    assert place["num_pending"] == 0
    again = Line()
    again.name, again.other, again.behind = line.name, line.other, line.behind
    await stage.run(*again.plugins())
    await stage.publish(Ping(number=5))
    await eventually(lambda: again.of("behind") == [5])
    assert again.of("first") == [5]
