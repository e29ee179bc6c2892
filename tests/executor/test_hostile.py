"""Bytes that no honest client sends: all of them are refused, and nothing of them reaches the engine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stenobus_executor.calls import call
from stenobus_executor.request import BODY_BYTES, HEAD_BYTES, Refused, Request, read
from stenobus_executor.rules import Rules
from stenobus_testing import eventually

from .conftest import Executor, Start, answer


class Spy:
    """An engine that writes down what it is asked, and knows one plugin."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.hold = asyncio.Event()
        self.gone = asyncio.Event()
        self.restart = asyncio.Event()
        self.restart.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0].decode()
        self.asked.append(first)
        inspected = {
            "Id": "ab" * 32,
            "Name": "/asr",
            "Config": {"Labels": {"stenobus.plugin": "asr"}},
            "State": {"Status": "running"},
        }
        if first.startswith("POST"):
            await self.restart.wait()
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n")
        if first.startswith("GET /events"):
            self.hold.set()
            await reader.read()  # until the executor hangs up
            self.gone.set()
        elif "/json" in first:
            writer.write(json.dumps([inspected] if "/containers/json" in first else inspected).encode())
        writer.close()


@pytest.fixture
async def spy(tmp_path: Path) -> AsyncIterator[Spy]:
    spy = Spy()
    server = await asyncio.start_unix_server(spy.serve, tmp_path / "engine.sock")
    yield spy
    server.close()


@pytest.fixture
async def guarded(start: Start, spy: Spy, tmp_path: Path) -> Executor:
    found: Executor = await start(Rules(visible=("*",), touchable=("*",)), engine=tmp_path / "engine.sock", arrival=60)
    return found


def request(line: str, *headers: str, body: bytes = b"") -> bytes:
    return "\r\n".join([line, "Host: executor", "X-Stenobus-Action: act-1", *headers, "", ""]).encode() + body


RESTART = "POST /containers/asr/restart?t=0 HTTP/1.1"


async def test_what_is_allowed_reaches_the_engine_as_it_was_written_here(guarded: Executor, spy: Spy) -> None:
    assert answer(await guarded.raw(request(RESTART))).status == 204
    assert spy.asked == [
        "GET /containers/asr/json? HTTP/1.0",
        f"POST /containers/{'ab' * 32}/restart?t=0 HTTP/1.0",
    ]


@pytest.mark.parametrize(
    "target",
    [
        "/containers/asr/stop",
        "/containers/asr/kill",
        "/containers/asr/exec",
        "/containers/asr/start",
        "/containers/asr/pause",
        "/containers/asr/rename?name=x",
        "/containers/asr/archive?path=/",
        "/containers/asr/attach",
        "/containers/asr/export",
        "/containers/asr/top",
        "/containers/asr/changes",
        "/containers/asr",
        "/containers/create",
        "/containers/prune",
        "/exec/abc/start",
        "/images/json",
        "/images/create?fromImage=x",
        "/build",
        "/volumes",
        "/networks",
        "/secrets",
        "/swarm",
        "/plugins",
        "/auth",
        "/session",
        "/commit",
        "/",
        "//containers/asr/restart?t=0",
        "/containers//restart?t=0",
        "/containers/asr//restart?t=0",
        "/containers/../containers/asr/restart?t=0",
        "/containers/asr/../../images/json",
        "/containers/./asr/restart?t=0",
        "/containers/asr/restart/?t=0",
        "/containers/asr/restart/../kill",
        "/containers/asr%2fkill/restart?t=0",
        "/containers/asr%2Fjson",
        "/%63ontainers/asr/restart?t=0",
        "/containers/asr/restart%3ft=0",
        "/containers/asr/restart;t=0",
        "/containers/asr/restart#?t=0",
        "/containers/-asr/restart?t=0",
        "/containers/.asr/restart?t=0",
        "/containers/a:b/restart?t=0",
        "/v1.41/../containers/asr/restart?t=0",
        "/v1.41/v1.41/containers/asr/restart?t=0",
        "/v1/containers/asr/restart?t=0",
        "/v2.0/containers/asr/restart?t=0",
        "/v1.41containers/asr/restart?t=0",
        "/CONTAINERS/asr/restart?t=0",
        "/containers/asr/RESTART?t=0",
        f"/containers/{'a' * 256}/restart?t=0",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_there_is_no_other_call(guarded: Executor, spy: Spy, method: str, target: str) -> None:
    said = answer(await guarded.raw(request(f"{method} {target} HTTP/1.1")))
    assert (said.status, said.message) == (403, "There is no such call here.")
    assert spy.asked == []
    (line,) = guarded.audit
    assert line["allowed"] is False and line["call"] == f"{method} {target.partition('?')[0][:100]}"


@pytest.mark.parametrize(
    ("line", "allow"),
    [
        ("GET /containers/asr/restart?t=0 HTTP/1.1", "POST"),
        ("GET /containers/asr/update HTTP/1.1", "POST"),
        ("DELETE /containers/asr/restart HTTP/1.1", "POST"),
        ("POST /containers/asr/json HTTP/1.1", "GET"),
        ("POST /events HTTP/1.1", "GET"),
        ("HEAD /_ping HTTP/1.1", "GET"),
        ("PUT /info HTTP/1.1", "GET"),
        ("OPTIONS /version HTTP/1.1", "GET"),
        ("CONNECT /version HTTP/1.1", "GET"),
    ],
)
async def test_there_is_no_other_method(guarded: Executor, spy: Spy, line: str, allow: str) -> None:
    said = answer(await guarded.raw(request(line)))
    assert (said.status, said.headers["allow"], spy.asked) == (405, allow, [])


@pytest.mark.parametrize(
    "raw",
    [
        request("POST http://engine/containers/asr/restart?t=0 HTTP/1.1"),
        request("POST //engine/containers/asr/restart?t=0 HTTP/1.1").replace(b"//engine", b"engine"),
        request("POST * HTTP/1.1"),
        request("CONNECT engine:80 HTTP/1.1"),
        request("POST /containers/asr/restart?t=0 HTTP/1.0"),
        request("POST /containers/asr/restart?t=0 HTTP/2.0"),
        request("PRI * HTTP/2.0"),
        request("POST  /containers/asr/restart?t=0 HTTP/1.1"),
        request("POST\t/containers/asr/restart?t=0 HTTP/1.1"),
        request("POST /containers/asr /restart?t=0 HTTP/1.1"),
        request(" POST /containers/asr/restart?t=0 HTTP/1.1"),
        request("post /containers/asr/restart?t=0 HTTP/1.1"),
        request("POST /containers/asr\0/restart?t=0 HTTP/1.1"),
        request("POST /containers/äsr/restart?t=0 HTTP/1.1"),
        request(RESTART).replace(b"\r\nHost", b"\nHost"),
        request(RESTART).replace(b"\r\nHost", b"\rHost"),
        b"\r\n" + request(RESTART),
        request(RESTART).replace(b"Host: executor\r\n", b""),
        request(RESTART, "Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
        request(RESTART, "Transfer-Encoding: identity"),
        request(RESTART, "Transfer-Encoding : chunked", body=b"0\r\n\r\n"),
        request(RESTART, "Transfer-Encoding: xchunked", "Content-Length: 0"),
        request(RESTART, "Content-Length: 0", "Content-Length: 30"),
        request(RESTART, "Content-Length: 0", "content-length: 0"),
        request(RESTART, "Content-Length: +0"),
        request(RESTART, "Content-Length: -1"),
        request(RESTART, "Content-Length: 0x0"),
        request(RESTART, "Content-Length: 00"),
        request(RESTART, "Content-Length: 0, 0"),
        request(RESTART, "Content-Length:"),
        request(RESTART, "Content-Length: 2", body=b"{}"),
        request(RESTART, f"Content-Length: {BODY_BYTES + 1}", body=b"x" * (BODY_BYTES + 1)),
        request("GET /containers/json HTTP/1.1", "Content-Length: 2", body=b"{}"),
        request(RESTART, "X-Stenobus-Action: act-2"),
        request(RESTART, "x-stenobus-ACTION: act-2"),
        request(RESTART, "X-Folded: a", " b"),
        request(RESTART, "No colon"),
        request(RESTART, "Na me: x"),
        request(RESTART, ": x"),
        request(RESTART, "X-Null: a\0b"),
        request(RESTART, "X-Wide: ä"),
        request("POST /containers/asr/restart?t=121 HTTP/1.1"),
        request("POST /containers/asr/restart?t=-1 HTTP/1.1"),
        request("POST /containers/asr/restart?t=1e1 HTTP/1.1"),
        request("POST /containers/asr/restart?t=0&t=5 HTTP/1.1"),
        request("POST /containers/asr/restart?t=0&signal=SIGKILL HTTP/1.1"),
        request("POST /containers/asr/restart?t=0; HTTP/1.1"),
        request("POST /containers/asr/restart?t=0&& HTTP/1.1"),
        request("POST /containers/asr/restart?t=0%00 HTTP/1.1"),
        request("POST /containers/asr/restart?t=%ff HTTP/1.1"),
        request("POST /containers/asr/restart?t=\u0660 HTTP/1.1"),
        request("GET /containers/asr/logs?stdout=1&tail=all HTTP/1.1"),
        request("GET /containers/asr/logs?stdout=1 HTTP/1.1"),
        request("GET /containers/asr/logs?stdout=1&tail=10&follow=1 HTTP/1.1"),
        request("GET /containers/asr/stats HTTP/1.1"),
        request("GET /containers/asr/stats?stream=1 HTTP/1.1"),
        request("GET /containers/asr/json?size=1 HTTP/1.1"),
        request("GET /containers/json?filters={%22label%22:[%22secret=a%22]} HTTP/1.1"),
        request("GET /containers/json?filters=[] HTTP/1.1"),
        request("GET /containers/json?filters={%22name%22:%22a%22} HTTP/1.1"),
        request("GET /containers/json?filters={ HTTP/1.1"),
        request("GET /events?filters={%22name%22:[1]} HTTP/1.1"),
        request("GET /events?since=yesterday HTTP/1.1"),
        request("GET /info?a HTTP/1.1"),
    ],
)
async def test_what_is_malformed_is_refused(guarded: Executor, spy: Spy, raw: bytes) -> None:
    said = answer(await guarded.raw(raw))
    assert said.status == 400 and said.message
    assert spy.asked == []
    assert [line["allowed"] for line in guarded.audit] == [False]


async def test_what_is_too_long_is_refused(guarded: Executor, spy: Spy) -> None:
    for raw in (
        request(f"GET /{'a' * HEAD_BYTES} HTTP/1.1"),
        request(RESTART, f"X-Long: {'a' * HEAD_BYTES}"),
        request(RESTART, *(f"X-{number}: a" for number in range(40))),
        b"a" * 4 * HEAD_BYTES,
    ):
        assert answer(await guarded.raw(raw)).status == 431
    assert spy.asked == []


async def test_a_second_request_on_a_connection_is_never_read(guarded: Executor, spy: Spy) -> None:
    smuggled = request("POST /containers/asr/restart?t=9 HTTP/1.1")
    raw = await guarded.raw(request("GET /_ping HTTP/1.1") + smuggled)
    assert raw.count(b"HTTP/1.1 ") == 1
    raw = await guarded.raw(request(RESTART, "Connection: keep-alive") + smuggled)
    assert raw.count(b"HTTP/1.1 ") == 1 and b"Connection: close" in raw
    assert not any("t=9" in line for line in spy.asked)


async def test_two_at_once_are_one_too_many(guarded: Executor, spy: Spy) -> None:
    spy.restart.clear()
    first = asyncio.create_task(guarded.restart("asr"))
    await eventually(lambda: any(line.startswith("POST") for line in spy.asked), within=60)
    answer = await guarded.restart("asr", "act-2")
    assert (answer.status, answer.message) == (409, "Something is being done with asr already.")
    spy.restart.set()
    assert (await first).status == 204
    assert (await guarded.restart("asr", "act-2")).status == 204


async def test_who_is_slow_is_sent_away(start: Start, spy: Spy, tmp_path: Path) -> None:
    guarded = await start(Rules(visible=("*",)), engine=tmp_path / "engine.sock", arrival=0.2)
    for pieces in ((), (b"GET /_ping HTT",), (b"GET /_ping HTTP/1.1\r\nHost: a\r\n", b"X: "), (request(RESTART)[:-2],)):
        assert answer(await guarded.raw(*pieces)).status == 408
    late = request("POST /containers/asr/update HTTP/1.1", "Content-Length: 10", body=b"{")
    assert answer(await guarded.raw(late)).status == 408
    assert spy.asked == []


async def test_who_goes_is_no_trouble(guarded: Executor) -> None:
    assert await guarded.raw(eof=True) == b""
    assert answer(await guarded.raw(b"GET /", eof=True)).status == 400
    half = request("POST /containers/asr/update HTTP/1.1", "Content-Length: 10", body=b"{")
    assert answer(await guarded.raw(half, eof=True)).status == 400
    assert (await guarded.ask("GET", "/_ping")).status == 200


async def test_connections_and_followers_are_counted(guarded: Executor, spy: Spy) -> None:
    open_ones = []
    for _ in range(8):
        spy.hold.clear()
        reader, writer = await asyncio.open_unix_connection(guarded.socket)
        writer.write(request("GET /events HTTP/1.1"))
        await spy.hold.wait()
        open_ones.append((reader, writer))
    assert (await guarded.ask("GET", "/events")).status == 503
    assert (await guarded.ask("GET", "/_ping")).status == 200

    idle = [await asyncio.open_unix_connection(guarded.socket) for _ in range(56)]

    async def full() -> bool:
        return (await guarded.ask("GET", "/_ping")).status == 503

    await eventually(full)
    for _, writer in [*idle, *open_ones]:
        writer.close()

    async def free() -> bool:
        return (await guarded.ask("GET", "/_ping")).status == 200

    await eventually(free, within=60)


async def test_a_follower_that_hangs_up_is_forgotten(guarded: Executor, spy: Spy) -> None:
    reader, writer = await asyncio.open_unix_connection(guarded.socket)
    writer.write(request("GET /events HTTP/1.1"))
    async with asyncio.timeout(60):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        writer.close()
        await spy.gone.wait()


def _read(data: bytes) -> Request | None:
    async def fed() -> Request | None:
        reader = asyncio.StreamReader(limit=HEAD_BYTES)
        reader.feed_data(data)
        reader.feed_eof()
        return await read(reader)

    return asyncio.run(fed())


_LINES = st.lists(
    st.one_of(
        st.sampled_from([b"Host: a", b"Content-Length: 2", b"Transfer-Encoding: chunked", b"X-Stenobus-Action: a"]),
        st.binary(max_size=40),
    ),
    max_size=8,
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.binary(max_size=60) | st.sampled_from([RESTART.encode()]), _LINES, st.binary(max_size=20))
def test_any_bytes_are_a_request_or_refused(first: bytes, lines: list[bytes], body: bytes) -> None:
    data = b"\r\n".join([first, *lines, b"", b""]) + body
    try:
        found = _read(data)
    except Refused as refused:
        assert refused.status in {400, 431}
        return
    assert found is None or (found.target.startswith("/") and "host" in found.headers)


@settings(deadline=None)
@given(
    st.sampled_from(["GET", "POST"]),
    st.one_of(
        st.text(st.characters(codec="ascii"), max_size=60).map(lambda text: "/" + text),
        st.lists(
            st.sampled_from(
                ["/", "containers", "asr", "restart", "kill", "..", ".", "%2f", "%2e", "v1.41", "json", "?", "t=0", "&"]
            ),
            max_size=12,
        ).map("".join),
    ),
)
def test_any_path_is_one_of_the_calls_or_refused(method: str, target: str) -> None:
    try:
        found = call(Request(method, target, {"host": "a"}, b""))
    except Refused as refused:
        assert refused.status in {400, 403, 405}
        return
    path: Any = target.partition("?")[0].split("/")
    assert found.what == path[-1] if found.what != "containers" else path[-2:] == ["containers", "json"]
    assert "%" not in path and ".." not in path and "" not in path[1:]
    assert (method == "POST") == (found.what in {"restart", "update"})
