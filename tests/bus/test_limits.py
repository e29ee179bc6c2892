"""Limits of an event: checked before it is parsed, and an event that exceeds one stops none behind it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from stenobus_bus import Bus, EmbeddedServer, Limits, PayloadTooLarge, Received
from stenobus_bus.limits import TooMuch
from stenobus_contracts import BlobRef
from stenobus_testing.waiting import eventually

from ..support.contracts import Ping
from .conftest import Bench

LIMITS = Limits(body=200_000, depth=10, values=1000, headers=30, header_bytes=4096, attribute=500)


def nested(levels: int, inside: str = "1") -> bytes:
    return ('{"a":' * levels + inside + "}" * levels).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{"number": 1}',
        nested(10),
        b"[" * 5 + b"]" * 5 + b'"' + b"[" * 99 + b'"',
        rb'{"text": "a quote \" and [[[[[[[[[[[[[[[[[[[[[["}',
        json.dumps([{"n": n} for n in range(300)]).encode(),
        json.dumps("," * 100_000).encode(),
        b"[[[" + b"{} " * 20,
    ],
)
def test_what_keeps_within_the_limits_passes(body: bytes) -> None:
    LIMITS.check_body(body)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (nested(11), "nested more than 10 levels"),
        (nested(11, '"}]}]}]}]}]}]}]}]"'), "nested more than 10 levels"),
        (b"[" * 11, "nested more than 10 levels"),
        (b'{"a": [[' * 6 + b"]]}" * 6, "nested more than 10 levels"),
        (b"[" + b"1," * 1000 + b"1]", "values"),
        (b"[" + b"[]" * 1000 + b"]", "values"),
        (b" " * 200_001, "200001 bytes"),
    ],
)
def test_what_exceeds_a_limit_is_refused(body: bytes, why: str) -> None:
    with pytest.raises(TooMuch, match=why):
        LIMITS.check_body(body)


@pytest.mark.parametrize(
    "body",
    [b'"' + rb"\"" * 4_000_000, b'["' + b"\\" * 8_000_001, b"[" * 8_000_000, b"[]" * 4_000_000, b'"' * 8_000_001],
)
def test_looking_for_the_limits_is_no_way_to_stop_a_handler(body: bytes) -> None:
    """A look that went back over what it has seen would take days."""
    with suppress(TooMuch):
        Limits().check_body(body)


@pytest.fixture
async def narrow(bus: Bus, server: EmbeddedServer) -> AsyncIterator[Bus]:
    async with await Bus.connect(server.url, limits=LIMITS) as narrow:
        yield narrow


async def limited(bench: Bench, narrow: Bus) -> list[int]:
    """Start a handler on a bus with limits; returns the numbers it sees."""
    seen: list[int] = []

    async def handle(received: Received[Ping]) -> None:
        seen.append(received.event.number)

    await bench.work(handle, bus=narrow)
    return seen


CLOUD = {"specversion": "1.0", "id": "1", "source": "x", "type": "y", "data": {"number": 7}}


@pytest.mark.parametrize(
    ("body", "headers", "why"),
    [
        (b'{"number": 7, "more": ' + nested(11) + b"}", {}, "nested"),
        (json.dumps({"number": 7, "more": [1] * 2000}).encode(), {}, "values"),
        (b'{"number": 7}', {f"x{n}": "" for n in range(31)}, "headers"),
        (b'{"number": 7}', {"x": "y" * 5000}, "headers have"),
        (b'{"number": 7}', {"ce_id": "y" * 501}, "attribute id has more than 500"),
        (json.dumps(CLOUD | {"id": "a\r\nNats-Msg-Id: b"}).encode(), {}, "attribute id holds a control character"),
        (json.dumps(CLOUD | {"data": json.loads(nested(11))}).encode(), {}, "nested"),
    ],
)
async def test_an_event_beyond_the_limits_is_one_dead_letter_and_those_behind_it_go_on(
    bench: Bench, narrow: Bus, body: bytes, headers: dict[str, str], why: str
) -> None:
    seen = await limited(bench, narrow)
    await bench.raw(body, **headers)
    await bench.pings(1)
    await eventually(lambda: seen == [1])
    (entry,) = await eventually(bench.letters)
    assert (entry.letter.reason, entry.letter.attempts) == ("invalid", 1)
    assert why in entry.letter.message
    assert entry.letter.data == body.decode()
    await eventually(bench.settled)


async def test_a_reference_to_a_bomb_is_not_followed(bench: Bench, narrow: Bus) -> None:
    seen = await limited(bench, narrow)
    bomb = BlobRef(uri="nats://stenobus/x", sha256="0" * 64, size=300_000, content_type="application/json")
    deep: Any = await bench.bus.objects.put(nested(40), "application/json")
    for ref in (bomb, deep):
        await bench.raw(ref.model_dump_json().encode(), stenobus_claim=ref.uri)
    await bench.pings(1)
    await eventually(lambda: seen == [1])

    async def two() -> Any:
        found = await bench.letters()
        return found if len(found) == 2 else None

    large, nested_one = await eventually(two)
    assert "exceeds the limit of 200000" in large.letter.message
    assert "nested" in nested_one.letter.message


async def test_what_nobody_would_take_is_not_published(narrow: Bus) -> None:
    with pytest.raises(PayloadTooLarge, match="store its content and send a BlobRef"):
        await narrow.claims.check_in(b"x" * 300_001)
