"""Publishing: stored, or said so."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from nats.aio.msg import Msg
from structlog.testing import capture_logs

from stenobus_bus import (
    Bus,
    EmbeddedServer,
    Envelope,
    PayloadTooLarge,
    PublishFailed,
    PublishTimeout,
    ServerUnavailable,
    StreamFull,
    apply,
)
from stenobus_bus.server import executable
from stenobus_bus.topology import domain
from stenobus_contracts import Event
from stenobus_testing.waiting import eventually, still

from ..support.contracts import Ping
from ..support.proxy import Proxy
from .conftest import Bench


class Homeless(Event, subject="nowhere.ping"):
    """No stream takes it."""


async def test_a_published_event_is_stored_where_the_server_says(bench: Bench) -> None:
    first = await bench.publish(Ping(number=1))
    second = await bench.publish(Ping(number=2))
    assert (first.stream, first.duplicate) == ("TEST", False)
    assert second.sequence == first.sequence + 1
    assert [message.sequence for message in await bench.stored(Ping)] == [first.sequence, second.sequence]


async def test_the_same_id_is_stored_once(bench: Bench) -> None:
    first = await bench.publish(Ping(number=1), id="same")
    again = await bench.publish(Ping(number=1), id="same")
    assert again.duplicate
    assert again.sequence == first.sequence
    assert len(await bench.stored(Ping)) == 1


async def test_equal_ids_of_two_sources_are_two_events(bench: Bench) -> None:
    event = Ping(number=1)
    for source in ("one", "two"):
        await bench.bus.publish(event, Envelope.new(event, source, id="same"))
    assert len(await bench.stored(Ping)) == 2


async def test_many_events_are_published_in_their_order(bench: Bench) -> None:
    events = [Ping(number=number, text="x" * (2_000_000 if number == 5 else 1)) for number in range(40)]
    stored = await bench.bus.publish_all(((event, Envelope.new(event, "test")) for event in events), window=8)
    assert [place.sequence for place in stored] == list(range(1, 41))
    assert [json.loads(message.data).get("number") for message in await bench.stored(Ping)] == [
        None if number == 5 else number for number in range(40)
    ]


async def test_what_waits_for_its_acknowledgement_is_sent_again_when_the_connection_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not when its time is over, which would be too late here."""
    monkeypatch.setattr("stenobus_bus.post.ACK_TIMEOUT", 300.0)
    heard = asyncio.Event()

    async def hear(_: object) -> None:
        heard.set()

    server = EmbeddedServer(tmp_path, port=0)
    url = await server.start()
    async with await Bus.connect(url) as bus, await Bus.connect(url) as other:
        await other.nc.subscribe("test.ping", cb=hear)  # somebody listens, but no stream answers
        await other.nc.flush()
        event = Ping(number=1)
        publishing = asyncio.create_task(bus.publish(event, Envelope.new(event, "test")))
        await heard.wait()
        await apply(bus, [domain("test")])
        await server.stop()
        again = EmbeddedServer(tmp_path, port=int(url.rpartition(":")[2]))
        await again.start()
        await publishing
    await again.stop()


async def test_without_a_stream_it_says_so_in_bounded_time(bench: Bench) -> None:
    event = Homeless()
    with pytest.raises(PublishFailed, match=r"nowhere\.ping: not stored within .*: no stream takes this subject"):
        await bench.bus.publish(event, Envelope.new(event, "test"), deadline=0.3)


@pytest.mark.parametrize("reply", [b"hi", b"7", b"{}", b'{"error": "no"}', b"\xff"])
async def test_an_answer_of_somebody_who_is_no_stream_is_no_confirmation(bench: Bench, reply: bytes) -> None:
    async def answer(msg: Msg) -> None:
        await msg.respond(reply)

    await bench.bus.nc.subscribe("nowhere.ping", cb=answer)
    with pytest.raises(PublishTimeout, match="answers on its subject, and is no stream"):
        await bench.bus.publish(Homeless(), Envelope.new(Homeless(), "test"), deadline=0.2)


async def test_a_full_stream_makes_the_publisher_wait(bench: Bench) -> None:
    await _limit(bench, max_msgs=2)
    await bench.pings(1, 2)
    waiting = asyncio.create_task(bench.publish(Ping(number=3)))
    await still(lambda: not waiting.done(), 0.2)
    await bench.bus.api("STREAM.PURGE.TEST")
    assert (await waiting).sequence == 3


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        ({"max_msgs": 2}, "maximum messages exceeded, max_msgs 2"),
        ({"max_bytes": 1000}, "maximum bytes exceeded, max_bytes 1000"),
        (
            {"max_msgs_per_subject": 2, "discard_new_per_subject": True},
            "maximum messages per subject exceeded, max_msgs_per_subject 2",
        ),
    ],
)
async def test_a_stream_that_stays_full_is_named_with_its_limit_and_loses_nothing(
    bench: Bench, limits: dict[str, Any], why: str
) -> None:
    await _limit(bench, **limits)
    await bench.pings(1, 2)
    event = Ping(number=3)
    with capture_logs() as logs, pytest.raises(StreamFull) as caught:
        await bench.bus.publish(event, Envelope.new(event, "test"), deadline=0.4)
    assert str(caught.value) == (
        f"test.ping: the stream TEST was full for 0.4 s ({why}); raise its limit by `nats stream edit TEST`, or purge "
        "what nobody needs."
    )
    assert [message.data for message in await bench.stored(Ping)] == [Ping(number=n).body() for n in (1, 2)]
    (said,) = logs  # once, however often it was tried
    assert (said["event"], said["stream"], said["waiting"]) == ("publish.stream_full", "TEST", "up to 0.4 s")


@pytest.mark.parametrize(
    ("jetstream", "accounts", "why"),
    [
        ("max_file_store: 1MB", "", "insufficient resources"),
        (
            "",
            "accounts { A { jetstream: {max_file: 1MB}, users: [{user: a, password: a}] } }\nno_auth_user: a",
            "resource limits exceeded for account",
        ),
    ],
)
async def test_a_full_disk_and_a_full_account_are_waited_for_as_well(
    tmp_path: Path, jetstream: str, accounts: str, why: str
) -> None:
    config, ports = tmp_path / "server.conf", tmp_path / "ports"
    ports.mkdir()
    config.write_text(
        f'listen: "127.0.0.1:-1"\nports_file_dir: "{ports}"\n'
        f'jetstream {{ store_dir: "{tmp_path}/store", {jetstream} }}\n{accounts}\n'
    )
    process = await asyncio.create_subprocess_exec(executable(), "-c", str(config), stderr=asyncio.subprocess.DEVNULL)
    try:
        (file,) = await eventually(lambda: [path for path in ports.glob("*.ports") if path.stat().st_size])
        async with await Bus.connect(json.loads(file.read_text())["nats"][0]) as bus:
            await apply(bus, [domain("test")])
            with pytest.raises(StreamFull, match=why):
                for number in range(20):
                    await bus.store("test.ping", b"x" * 100_000, {"Nats-Msg-Id": str(number)}, deadline=0.3)
            waiting = asyncio.create_task(bus.store("test.ping", b"x" * 100_000, {}))
            await still(lambda: not waiting.done(), 0.2)
            await bus.api("STREAM.PURGE.TEST")
            assert (await waiting).stream == "TEST"
    finally:
        process.terminate()
        await process.wait()


async def _limit(bench: Bench, **limits: Any) -> None:
    config = (await bench.bus.api("STREAM.INFO.TEST"))["config"]
    await bench.bus.api("STREAM.UPDATE.TEST", {**config, **limits})


async def test_what_no_message_can_hold_is_refused_at_once(bench: Bench) -> None:
    with pytest.raises(PayloadTooLarge, match=r"test\.ping: \d+ bytes exceed the server's limit of 1048576"):
        await bench.bus.store("test.ping", b"x" * 1024 * 1024, {"a": "b"})


async def test_a_publish_survives_a_server_restart(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path, port=0)
    url = await server.start()
    async with await Bus.connect(url) as bus:
        await apply(bus, [domain("test")])
        await server.stop()
        await eventually(lambda: not bus.nc.is_connected)
        event = Ping(number=1)
        publishing = asyncio.create_task(bus.publish(event, Envelope.new(event, "test")))
        again = EmbeddedServer(tmp_path, port=int(url.rpartition(":")[2]))
        await again.start()
        assert await publishing == ("TEST", 1, False)
        assert (await bus.api("STREAM.INFO.TEST"))["state"]["messages"] == 1
    await again.stop()


async def test_a_server_that_does_not_answer_is_one_sentence_without_the_password(tmp_path: Path) -> None:
    with pytest.raises(ServerUnavailable) as caught:
        await Bus.connect("nats://me:secret@127.0.0.1:1", timeout=0.3)
    assert str(caught.value).startswith("No NATS server answers at nats://127.0.0.1:1 (")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["", "localhost:port", "http://", "nats://127.0.0.1:1,nats://127.0.0.1:2", "::"])
async def test_an_address_that_is_none_is_one_sentence(url: str) -> None:
    with pytest.raises(ServerUnavailable, match="No NATS server answers at"):
        await Bus.connect(url, timeout=0.3)


async def test_a_server_without_jetstream_is_one_sentence(tmp_path: Path) -> None:
    ports = tmp_path / "ports"
    ports.mkdir()
    process = await asyncio.create_subprocess_exec(
        executable(), "-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", str(ports), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        (file,) = await eventually(lambda: [path for path in ports.glob("*.ports") if path.stat().st_size])
        url = json.loads(file.read_text())["nats"][0]
        async with await Bus.connect(url) as bus:
            with pytest.raises(ServerUnavailable, match="has no JetStream"):
                await apply(bus, [domain("test")])
    finally:
        process.terminate()
        await process.wait()


async def test_much_that_is_on_its_way_into_a_half_open_connection_arrives_by_the_next_one(
    bench: Bench, server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client library would wait until the dead side has taken what is still to be sent."""
    monkeypatch.setattr("stenobus_bus.post.ACK_TIMEOUT", 0.5)
    monkeypatch.setattr("stenobus_bus.connection._PROBE", 0.3)
    proxy = await Proxy(int(server.url.rpartition(":")[2])).start()
    async with await Bus.connect(proxy.url) as cut_off:
        proxy.jam()
        events = [Ping(number=number, text="x" * 100_000) for number in range(200)]
        stored = await cut_off.publish_all([(event, Envelope.new(event, "test")) for event in events])
        assert len({each.sequence for each in stored}) == 200
    await proxy.stop()
