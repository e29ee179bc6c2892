"""Headers: what nats-py writes and reads, written and read faster."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from nats.aio.client import Client as NatsClient
from nats.errors import BadHeaderError

from stenobus_bus import Bus
from stenobus_bus.client import Client, encode

NAMES = st.text("abcXYZ-09", min_size=1, max_size=8)
VALUES = st.text(st.characters(codec="utf-8"), max_size=20)


@given(
    st.binary(max_size=200)
    | st.lists(st.sampled_from([b"a: b", b":", b"a b: c", b" n :\tv ", b"\xff: x"])).map(b"\r\n".join)
)
def test_any_block_is_read_as_nats_py_reads_it(raw: bytes) -> None:
    expected = NatsClient._parse_header_lines(raw)
    expected.pop("", None)  # which no header is called
    assert Client._parse_header_lines(raw) == expected


@given(st.binary(max_size=40) | st.binary(max_size=40).map(lambda rest: b"NATS/1.0" + rest + b"\r\n\r\n"))
@example(b"NATS/1.0")
@example(b"NATS/1.0 \xff\xff\xff\r\n\r\n")
@example(b"NATS/1.0 404 \xff\r\n\r\n")
@example(b"NATS/1.0 404 \xff\r\na: b\r\n\r\n")
def test_no_block_ends_the_reading(raw: bytes) -> None:
    found = asyncio.run(Client()._process_headers(raw))
    assert found is None or all(isinstance(text, str) for header in found.items() for text in header)


@given(st.binary(min_size=1), st.binary())
def test_no_subject_ends_the_reading(subject: bytes, reply: bytes) -> None:
    msg = Client()._build_message(1, subject, reply, b"", None)
    assert msg.subject and bool(msg.reply) == bool(reply)


@given(st.dictionaries(NAMES, VALUES, min_size=1))
def test_what_is_written_is_what_nats_py_reads(headers: dict[str, str]) -> None:
    block = encode(headers)
    assert block.startswith(b"NATS/1.0\r\n")
    assert block.endswith(b"\r\n\r\n")
    expected = {name: value.strip().replace("\r", " ").replace("\n", " ").strip() for name, value in headers.items()}
    read = NatsClient._parse_header_lines(block.removeprefix(b"NATS/1.0\r\n"))
    # bytes know fewer kinds of white space than texts do
    assert {name: value.strip() for name, value in read.items()} == expected


@pytest.mark.parametrize("name", ["", "a b", "a:b", "ä", "a\r\nb", "a\n"[:1] + "\x00"])
def test_a_name_that_is_no_token_is_refused(name: str) -> None:
    with pytest.raises(BadHeaderError):
        encode({name: "x"})


async def test_a_value_cannot_smuggle_in_another_header(bus: Bus) -> None:
    subscription = await bus.nc.subscribe("somewhere")
    await bus.nc.publish("somewhere", b"x", headers={"a": "b\r\nstenobus-only: me", "c": "d\n\ne", "f": "g"})
    message = await subscription.next_msg(timeout=60)
    assert message.headers == {"a": "b  stenobus-only: me", "c": "d  e", "f": "g"}
    assert message.data == b"x"


async def test_a_flush_that_is_given_up_does_not_end_the_connection(bus: Bus) -> None:
    """nats-py's own client stops reading, and notices many seconds later."""
    heard = await bus.nc.subscribe("somewhere")
    flushing = asyncio.create_task(bus.nc.flush())
    await asyncio.sleep(0)
    flushing.cancel()
    await asyncio.gather(flushing, return_exceptions=True)
    await bus.nc.publish("somewhere", b"x")
    assert (await heard.next_msg(timeout=60)).data == b"x"
    assert bus.nc.stats["reconnects"] == 0
