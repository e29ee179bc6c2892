"""What `stenobus top` gathers and shows."""

from __future__ import annotations

import asyncio
import os
import pty
import sys
import termios
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from stenobus_bus import Bus, Envelope, PermanentError, RetryPolicy, apply
from stenobus_core import Context, Plugin
from stenobus_core.board import Board, Frame, Row, Running
from stenobus_core.cli.figures import data, duration, short
from stenobus_core.cli.top import render
from stenobus_core.lag import StreamSize
from stenobus_core.runs import Runs
from stenobus_core.services import topology
from stenobus_testing.stage import Stage, unique
from stenobus_testing.waiting import Gate, eventually

from ..support.contracts import Ping


@pytest.fixture
async def board(stage: Stage) -> AsyncIterator[Board]:
    await apply(stage.bus, topology("stenobus"))
    yield Board(stage.bus, await Runs.open(stage.bus))


async def row(board: Board, handler: str) -> Row:
    (found,) = [one for one in (await board.look()).rows if one.handler == handler]
    return found


async def test_processes_of_one_handler_are_taken_together(stage: Stage, board: Board) -> None:
    plugin, gate = Plugin(unique("together")), Gate()

    @plugin.handler(concurrency=2)
    async def work(event: Ping) -> None:
        await gate()

    await stage.run(plugin)
    async with await Bus.connect(stage.bus.nc.connected_url.geturl()) as other:
        host = await stage.run(plugin, bus=other)
        for number in range(7):
            await stage.publish(Ping(number=number))
        await eventually(lambda: gate.waiting == 4)
        seen = await row(board, plugin.name)
        assert (seen.plugin, seen.subject, seen.stream) == (plugin.name, "test.ping", "TEST")
        assert (seen.state, seen.processes, seen.in_hand, seen.slots) == ("ready", 2, 4, 4)
        assert (seen.lag, seen.unsettled) == (3, 4)
        assert seen.rate is None and seen.p50 is None
        assert seen.oldest is not None and 0 < seen.oldest < 60
        gate.open()
        await eventually(lambda: stage.settled(plugin.name))
        await host.stop()
    seen = await row(board, plugin.name)
    assert (seen.processes, seen.lag, seen.unsettled, seen.oldest) == (1, 0, 0, 0)
    assert seen.rate is not None and seen.rate > 0
    assert seen.p95 is not None and seen.p50 is not None and seen.p95 >= seen.p50 > 0
    again = await row(board, plugin.name)
    assert (again.rate, again.p95 is not None) == (0, True)  # nothing since: the times are those of all
    await stage.publish(Ping(number=8))  # the gate is open: it is fast
    await eventually(lambda: stage.settled(plugin.name))
    lately = await row(board, plugin.name)
    assert lately.p95 is not None and lately.p95 < seen.p95 / 2


async def test_a_handler_that_nobody_works_for_and_a_paused_one_say_so(stage: Stage, board: Board) -> None:
    alone, held = Plugin(unique("alone")), Plugin(unique("held"))

    @alone.handler(retry=RetryPolicy(attempts=1))
    async def work(event: Ping) -> None:
        raise PermanentError("never")

    @held.handler()
    async def wait(event: Ping) -> None: ...

    host = await stage.run(alone)
    await stage.publish(Ping(number=1))
    await eventually(lambda: stage.settled(alone.name))
    assert (await row(board, alone.name)).state == "ready"
    await host.stop()
    await stage.run(held)
    until = (datetime.now(UTC) + timedelta(hours=1)).isoformat().replace("+00:00", "Z")
    await stage.bus.api(f"CONSUMER.PAUSE.TEST.{held.name}", {"pause_until": until})
    await stage.publish(Ping(number=2))
    seen = await row(board, alone.name)
    assert (seen.state, seen.processes, seen.slots, seen.lag, seen.dead_letters) == ("nobody", 0, 0, 1, 1)
    assert seen.plugin == alone.name  # the consumer remembers who declared it
    assert (await row(board, held.name)).state == "paused"


async def test_runs_in_progress_come_and_go(stage: Stage, board: Board) -> None:
    plugin, gate = Plugin(unique("runs")), Gate()

    @plugin.handler(concurrency=2)
    async def work(event: Ping, ctx: Context[Any, Any]) -> None:
        await ctx.progress(0.5, f"half of {event.number}")
        await gate()

    await stage.run(plugin)
    for number in (1, 2):
        event = Ping(number=number)
        await stage.bus.publish(event, Envelope.new(event, "test", run=f"run-{number}"))

    async def runs() -> list[Running]:
        return (await board.look()).runs

    async def both() -> bool:
        return len(await runs()) == 2

    await eventually(both)
    one, two = sorted(await runs(), key=lambda run: run.run)
    assert (one.run, two.run, one.handler, one.status, one.progress) == (
        "run-1", "run-2", plugin.name, "running", 0.5,
    )  # fmt: skip
    assert one.message == "half of 1"
    gate.open()

    async def none() -> bool:
        return await runs() == []

    await eventually(none)


async def test_other_peoples_consumers_and_services_are_left_out(stage: Stage, board: Board) -> None:
    await stage.bus.api(
        "CONSUMER.CREATE.TEST.stranger",
        {"stream_name": "TEST", "config": {"durable_name": "stranger", "name": "stranger", "ack_policy": "explicit"}},
    )
    frame = await board.look()
    assert "stranger" not in {one.handler for one in frame.rows}
    assert {"TEST", "DLQ"} <= {size.name for size in frame.streams}


# --- the picture -----------------------------------------------------------------------------------------------------


def picture(frame: Frame, width: int, height: int = 40, **more: Any) -> str:
    console = Console(width=width, record=True, file=open(os.devnull, "w"), highlight=False)  # noqa: SIM115, PTH123
    console.print(render(frame, width, height, **more))
    return console.export_text()


def frame(handlers: int = 4, runs: int = 2) -> Frame:
    now = datetime(2026, 1, 31, 12, tzinfo=UTC)
    states = ["ready", "nobody", "paused", "not ready"]
    rows = [
        Row(
            handler=f"documents-handler-with-a-long-name-{number}", plugin="documents-handlers", stream="DOC",
            subject="documents.something.done", state=states[number % 4], processes=number % 4 != 1,  # type: ignore[arg-type]
            in_hand=4, slots=16, lag=1_234_567 * number, unsettled=4, oldest=90_000.0 * number, rate=1234.5, errors=0.1,
            p50=0.0012, p95=1799.0, handled=5, failures=1, dead_letters=12 * number,
        )
        for number in range(handlers)
    ]  # fmt: skip
    streams = [
        StreamSize("DOC", 2_000_000, 9 << 30, 3, 2_000_000, 0, 10 << 30, 2_592_000),
        StreamSize("KV_stenobus_runs", 5, 100, 0, 5, 0, 0, 0),
        StreamSize("EMPTY", 0, 0, 0, 0, 0, 0, 0),
    ]
    running = [
        Running(f"talk-{number}", "documents-extract", "retrying", 0.3, "chunk 3 of 9", 2, now - timedelta(minutes=9))
        for number in range(runs)
    ]
    return Frame(now, rows, streams, {"a": 3}, running, 4)


@pytest.mark.parametrize("width", [80, 118, 160])
def test_the_picture_fits_its_terminal_with_every_figure(width: int) -> None:
    text = picture(frame(), width, sort="lag", where="nats://127.0.0.1:4222")
    assert max(map(len, text.splitlines())) <= width
    for wanted in (
        "nobody",
        "paused",
        "not",
        "4/16",
        "1.2M",
        "2.5M",
        "25h",
        "2d",
        "1234",
        "1.2ms",
        "30m",
        "9.0 GiB",
        "90%",
    ):
        assert wanted in text, wanted
    assert "1 with nobody at work" in text and "3 dead letters" in text
    assert ("documents.some" in text) is (width > 80)
    assert "KV_" not in text and "EMPTY" not in text
    assert "talk-1" in text and "9m" in text
    order = [line for line in text.splitlines() if line.startswith("documents-")]
    assert "3.7M" in order[0] and "2.5M" in order[1]  # most first


@pytest.mark.parametrize(("width", "height"), [(80, 24), (160, 24), (80, 50)])
def test_the_picture_fits_its_terminals_height_and_counts_the_rest(width: int, height: int) -> None:
    text = picture(frame(handlers=60, runs=40), width, height, keys=True)
    assert len(text.splitlines()) <= height
    assert "handlers more" in text and "runs more" in text


def test_an_empty_server_says_what_to_do() -> None:
    nothing = Frame(datetime.now(UTC), [], [], {}, [], 0)
    text = picture(nothing, 80, trouble="The server does not answer.")
    assert "`stenobus up`" in text and "No run is in progress." in text and "The server does not answer." in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0004, "0.4ms"), (0.0095, "10ms"), (0.25, "250ms"), (1.24, "1.2s"), (59.6, "60s"), (150, "2m"), (86_400, "24h")],
)
def test_times_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_counts_and_sizes_are_short() -> None:
    assert [short(number) for number in (0, 9_999, 10_000, 1_500_000, 2 * 10**9)] == [
        "0",
        "9999",
        "10k",
        "1.5M",
        "2.0G",
    ]
    assert [data(size) for size in (0, 1023, 1024, 20 << 20, 3 << 30)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "20 MiB",
        "3.0 GiB",
    ]


# --- the command -----------------------------------------------------------------------------------------------------


async def test_s_sorts_and_q_ends_the_live_picture_and_the_terminal_is_as_it_was(stage: Stage) -> None:
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    environment = os.environ | {
        "STENOBUS_NATS_URL": stage.bus.nc.connected_url.geturl(), "TERM": "xterm", "COLUMNS": "100", "LINES": "30",
    }  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from stenobus_core.cli import main; main()", "top", "--interval", "30",
        env=environment, stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    shown = bytearray()
    loop = asyncio.get_running_loop()
    loop.add_reader(ours, lambda: shown.extend(os.read(ours, 65536)))
    try:
        await eventually(lambda: b"now by handler" in shown)
        os.write(ours, b"s")  # seen at once, long before the next look
        await eventually(lambda: b"now by lag" in shown)
        os.write(ours, b"q")
        async with asyncio.timeout(60):
            assert await process.wait() == 0
        await eventually(lambda: b"\x1b[?1049l" in shown)  # the screen is given back
        assert termios.tcgetattr(theirs) == before
    finally:
        loop.remove_reader(ours)
        os.close(ours)
        os.close(theirs)
