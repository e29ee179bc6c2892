"""What travels around an event."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stenobus_bus import Delivery, Envelope, Received, RetryableError
from stenobus_bus.envelope import token, unwrap
from stenobus_testing.waiting import eventually

from ..support.contracts import Ping, Pong
from .conftest import Bench

STRUCTURED = {
    "specversion": "1.0",
    "id": "event-1",
    "source": "acme",
    "type": "acme.ping",
    "time": "2026-01-02T03:04:05Z",
    "correlationid": "run-1",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "data": {"number": 1, "text": "ü"},
}


async def received(bench: Bench, count: int = 1) -> list[Received[Any]]:
    """What a handler gets, its first attempt failed so that it comes twice."""
    found: list[Received[Any]] = []

    async def handle(received: Received[Ping]) -> tuple[Pong]:
        found.append(received)
        if received.attempt == 1:
            raise RetryableError("again", delay=0)
        return (Pong(number=received.event.number),)

    worker = await bench.work(handle)
    await eventually(lambda: worker.handled == count)
    return found


async def test_a_bare_message_is_a_complete_event(bench: Bench) -> None:
    await bench.raw(b'{"number": 1}')
    first, second = await received(bench)
    assert first.event == Ping(number=1)
    envelope = first.envelope
    assert envelope == second.envelope  # the derived id is stable across redelivery
    assert envelope.id == envelope.run != ""
    assert (envelope.source, envelope.type, envelope.subject) == ("unknown", "stenobus.test.ping.v1", "test.ping")
    (stored,) = await bench.stored(Ping)
    assert (stored.event_id, stored.run) == (envelope.id, envelope.run)  # history knows it under the same id


async def test_two_equal_bare_messages_are_two_events(bench: Bench) -> None:
    await bench.raw(b'{"number": 1}')
    await bench.raw(b'{"number": 1}')
    found = await received(bench, 2)
    assert len({one.envelope.id for one in found}) == 2


async def test_binary_cloudevents_are_understood(bench: Bench) -> None:
    await bench.raw(
        b'{"number": 1}', ce_id="event-1", ce_source="acme", ce_type="acme.ping", ce_correlationid="run-1",
        ce_causationid="event-0",
    )  # fmt: skip
    envelope = (await received(bench))[0].envelope
    assert (envelope.id, envelope.source, envelope.type) == ("event-1", "acme", "acme.ping")
    assert (envelope.run, envelope.causation) == ("run-1", "event-0")


async def test_header_names_may_have_any_case(bench: Bench) -> None:
    await bench.raw(b'{"number": 1}', **{"Ce-Id": "event-1", "CE-Source": "acme"})
    envelope = (await received(bench))[0].envelope
    assert (envelope.id, envelope.source) == ("event-1", "acme")


async def test_a_message_id_is_an_event_id(bench: Bench) -> None:
    await bench.raw(b'{"number": 1}', **{"Nats-Msg-Id": "mine"})
    assert (await received(bench))[0].envelope.id == "mine"


@pytest.mark.parametrize("content_type", ["application/cloudevents+json; charset=utf-8", None])
async def test_structured_cloudevents_are_understood(bench: Bench, content_type: str | None) -> None:
    headers = {"content-type": content_type} if content_type else {}
    await bench.raw(json.dumps(STRUCTURED).encode(), **headers)
    first = (await received(bench))[0]
    assert first.event == Ping(number=1, text="ü")
    assert (first.envelope.id, first.envelope.source, first.envelope.run) == ("event-1", "acme", "run-1")
    assert first.envelope.time == "2026-01-02T03:04:05Z"
    (stored,) = await bench.stored(Ping)
    assert (stored.event_id, stored.run) == ("event-1", "run-1")


async def test_structured_attributes_that_are_null_are_derived(bench: Bench) -> None:
    for _ in range(2):
        await bench.raw(json.dumps({**STRUCTURED, "id": None, "correlationid": None}).encode())
    found = await received(bench, 2)
    assert len({one.envelope.id for one in found}) == 2
    assert "None" not in {one.envelope.id for one in found}


def test_an_event_that_only_speaks_of_specversion_is_left_alone() -> None:
    body = b'{"number": 1, "text": "\\"specversion\\""}'
    assert unwrap(body, {}) == (body, {})


async def test_outputs_carry_cause_run_and_trace(bench: Bench) -> None:
    await bench.raw(json.dumps(STRUCTURED).encode())
    first = (await received(bench))[0]
    (pong,) = await bench.stored(Pong)
    found = pong.attributes
    assert (found["causationid"], found["correlationid"]) == ("event-1", "run-1")
    assert found["source"] == f"stenobus/{bench.name}"
    assert found["type"] == "stenobus.test.pong.v1"
    assert found["content-type"] == "application/json"
    follow = first.envelope.follow(Pong(number=1), bench.name, 0)
    assert (found["id"], pong.headers["Nats-Msg-Id"]) == (follow.id, follow.transport_id)
    _, trace, span, _ = found["traceparent"].split("-")
    assert trace == "0af7651916cd43dd8448eb211c80319c"
    assert span != "b7ad6b7169203331"


def test_ids_follow_from_event_handler_and_place() -> None:
    envelope = Envelope.new(Ping(number=1), "acme", id="1")
    pong = Pong(number=1)
    assert envelope.follow(pong, "a", 0).id == envelope.follow(pong, "a", 0).id
    others = {
        envelope.follow(pong, "a", 1).id,
        envelope.follow(pong, "b", 0).id,
        Envelope.new(Ping(number=1), "other", id="1").follow(pong, "a", 0).id,
    }
    assert len(others | {envelope.follow(pong, "a", 0).id}) == 4


@pytest.mark.parametrize("run", ["a b", "a.b", "*", ">", "é", "x" * 200, "a\r\nNats-Rollup: all"])
async def test_a_run_is_always_one_token(bench: Bench, run: str) -> None:
    envelope = Envelope.new(Ping(number=1), "test", run=run)
    await bench.bus.publish(Ping(number=1), envelope)
    (stored,) = await bench.stored(Ping)
    assert stored.run == envelope.run == token(run)
    assert "Nats-Rollup" not in stored.headers


@pytest.mark.parametrize(
    "reply",
    [
        "$JS.ACK.TEST.handler.3.7.9.1700000000123456789.5",
        "$JS.ACK._.account.TEST.handler.3.7.9.1700000000123456789.5",
        "$JS.ACK.domain.account.TEST.handler.3.7.9.1700000000123456789.5.random",
    ],
)
def test_a_delivery_is_read_from_every_form_of_the_acknowledgement_subject(reply: str) -> None:
    assert Delivery.of(reply) == Delivery("TEST", "handler", 3, 7, 1700000000123456789, 5)
