"""Pieces of an answer while it is made."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from stenobus_bus import Envelope, Received, pieces
from stenobus_bus.answers import request
from stenobus_testing.waiting import Gate, eventually, still

from ..support.contracts import Answer, Ask
from .conftest import Bench
from .test_answers import asked

WORDS = [f"word {number} ".encode() for number in range(200)]


async def speak(bench: Bench, received: Received[Ask], words: list[bytes] = WORDS) -> tuple[Answer]:
    for word in words:
        await pieces.send(bench.bus, received.envelope, word)
    return (Answer(text=b"".join(words).decode()),)


async def test_whoever_asks_hears_every_piece_in_order_before_the_answer(bench: Bench) -> None:
    heard: list[bytes] = []

    async def hear(piece: bytes) -> None:
        await asyncio.sleep(0)  # slower than they come
        heard.append(piece)

    await bench.work(lambda received: speak(bench, received), Ask)
    answer = await request(bench.bus, Ask(question="how?"), asked(), 5, hear)

    assert heard == WORDS
    assert answer == Answer(text=b"".join(WORDS).decode())


async def test_the_subject_follows_from_the_request_so_that_any_client_can_listen_first(bench: Bench) -> None:
    await bench.work(lambda received: speak(bench, received, [b"a", b"b"]), Ask)
    event = Ask(question="how?")
    envelope = Envelope.new(event, "shop", id="order-7")
    listener = await bench.bus.nc.subscribe("stenobus.pieces.shop.order-7")

    assert pieces.subject(envelope) == listener.subject
    await bench.bus.publish(event, envelope)

    assert [(await listener.next_msg(5)).data for _ in range(2)] == [b"a", b"b"]


async def test_a_listener_that_left_does_not_stop_the_answer(bench: Bench) -> None:
    heard, gate = asyncio.Event(), Gate()

    async def hear(_: bytes) -> None:
        heard.set()

    async def handle(received: Received[Ask]) -> tuple[Answer]:
        await pieces.send(bench.bus, received.envelope, b"first")
        await gate()
        return await speak(bench, received)

    worker = await bench.work(handle, Ask)
    asking = asyncio.create_task(request(bench.bus, Ask(question="how?"), asked(), 5, hear))
    await heard.wait()
    asking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asking
    gate.open()
    await eventually(lambda: worker.handled == 1)

    assert await request(bench.bus, Ask(question="how?"), asked(), 1) == Answer(text=b"".join(WORDS).decode())


async def test_an_answer_that_exists_already_has_no_pieces(bench: Bench) -> None:
    heard: list[bytes] = []

    async def hear(piece: bytes) -> None:
        heard.append(piece)

    await bench.work(lambda received: speak(bench, received), Ask)
    first = await request(bench.bus, Ask(question="how?"), asked(), 5)

    assert await request(bench.bus, Ask(question="how?"), asked(), 5, hear) == first
    await still(lambda: heard == [], 0.2)


async def test_a_piece_that_cannot_be_used_costs_itself_alone(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    heard: list[bytes] = []

    async def hear(piece: bytes) -> None:
        if piece == b"b":
            raise ValueError("not a b")
        heard.append(piece)

    await bench.work(lambda received: speak(bench, received, [b"a", b"b", b"[" * 1000, b"c"]), Ask)
    await request(bench.bus, Ask(question="how?"), asked(), 5, hear)

    assert heard == [b"a", b"c"]
