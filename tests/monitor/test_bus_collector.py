"""The bus collector: when it looks, how closely, and when it says that the bus is silent."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from stenobus_bus import Bus, EmbeddedServer, ServerUnavailable, apply
from stenobus_bus.connection import ApiError
from stenobus_contracts import AsrDone
from stenobus_core import CoreSettings, Plugin
from stenobus_core.host import needs
from stenobus_core.service import Alive, alive
from stenobus_monitor import plugin as monitor
from stenobus_monitor.collectors import Emit
from stenobus_monitor.collectors.answering import answers
from stenobus_monitor.collectors.bus import BusCollector
from stenobus_monitor.incidents import Policy
from stenobus_monitor.observations import HandlerSeen, Observation
from stenobus_monitor.rules.blindness import Blindness
from stenobus_monitor.store import Store
from stenobus_monitor.watch import Watch
from stenobus_testing import Stage, eventually
from stenobus_testing.waiting import DEADLINE

from ..support.simulated import Timeless


def timeless(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run something on a clock of its own."""
    with asyncio.Runner(loop_factory=Timeless) as runner:
        runner.run(main())


def now() -> float:
    return asyncio.get_running_loop().time()


async def nobody(_: Observation) -> None:
    """Hear it."""


# --- when -------------------------------------------------------------------------------------------------------------


class Looks(BusCollector):
    """Notes when it looks; a look takes as long as it is told."""

    def __init__(self, takes: float, doubts: int = 0, fails: tuple[int, ...] = ()) -> None:
        super().__init__(None, every=5.0)  # type: ignore[arg-type]
        self.takes, self.doubts, self.fails = takes, doubts, fails
        self.at: list[float] = []
        self.closer: list[float] = []
        self.asked: list[float] = []

    @property
    def in_doubt(self) -> bool:
        return self.doubts > 0

    async def look(self, emit: Emit) -> None:
        self.at.append(now())
        await asyncio.sleep(self.takes)
        if len(self.at) in self.fails:
            raise ServerUnavailable("late")

    async def look_closer(self, emit: Emit) -> None:
        self.closer.append(now())
        self.doubts -= 1

    async def ask(self) -> None:
        self.asked.append(now())

    async def patrol(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._patrol(nobody)
        except TimeoutError:
            pass


def test_looks_come_at_a_fixed_rate_however_long_each_takes() -> None:
    looks = Looks(takes=1.1)
    timeless(lambda: looks.patrol(21))
    assert looks.at == pytest.approx([0, 5, 10, 15, 20])
    assert looks.asked == pytest.approx([each * 5 / 3 for each in range(1, 13) if each % 3])
    assert looks.closer == []


def test_a_look_that_takes_longer_than_its_time_is_followed_by_a_rest_and_nothing_is_made_up_for() -> None:
    looks = Looks(takes=6)
    timeless(lambda: looks.patrol(20))
    assert looks.at == pytest.approx([0, 6.5, 13, 19.5])


def test_in_doubt_it_looks_closer_until_there_is_none() -> None:
    looks = Looks(takes=0.3, doubts=3)
    timeless(lambda: looks.patrol(11))
    assert looks.at == pytest.approx([0, 5, 10])
    assert looks.closer == pytest.approx([5 / 3, 10 / 3, 20 / 3])
    assert looks.asked == pytest.approx([25 / 3])


def test_one_look_may_fail_and_two_in_a_row_are_trouble() -> None:
    looks = Looks(takes=0, fails=(2, 4))
    timeless(lambda: looks.patrol(26))
    assert len(looks.at) == 6
    looks = Looks(takes=0, fails=(2, 3))
    with pytest.raises(ServerUnavailable, match="late"):
        timeless(lambda: looks.patrol(26))
    assert looks.at == pytest.approx([0, 5, 10])


# --- silence ----------------------------------------------------------------------------------------------------------


class Slow:
    """A server whose answers take these times, one after the other; None for never, and an error for one at once."""

    def __init__(self, *takes: float | Exception | None) -> None:
        self._takes = list(takes)

    async def api(self, subject: str, *, timeout: float) -> object:
        takes = self._takes.pop(0) if len(self._takes) > 1 else self._takes[0]
        if isinstance(takes, Exception):
            raise takes
        await asyncio.sleep(timeout if takes is None else takes)
        if takes is None:
            raise ServerUnavailable("nothing came")
        return {}


async def _asked(bus: Slow) -> float:
    begin = now()
    await answers(bus, "STREAM.INFO.DLQ", 5.0)  # type: ignore[arg-type]
    return now() - begin


@pytest.mark.parametrize(
    ("takes", "seconds"),
    [
        ([0.1], 0.1),
        ([None, 0.1], 1.35),  # one answer got lost
        ([4.9], 4.9),  # always slow
        ([ServerUnavailable("broken off"), 0.1], 1.35),  # a connection that is made anew
        ([ApiError("STREAM.INFO.DLQ", {"code": 404})], 0.0),  # it refuses, so it is there
    ],
    ids=str,
)
def test_one_answer_of_several_is_enough(takes: list[float | Exception | None], seconds: float) -> None:
    async def main() -> None:
        assert await _asked(Slow(*takes)) == pytest.approx(seconds)

    timeless(main)


@pytest.mark.parametrize("takes", [None, 6.0, ServerUnavailable("nobody listens")], ids=str)
def test_a_server_that_answers_nothing_in_time_is_silent(takes: float | Exception | None) -> None:
    async def main() -> None:
        with pytest.raises(ServerUnavailable):
            await _asked(Slow(takes))
        assert now() == pytest.approx(5.0)

    timeless(main)


async def test_a_server_that_is_gone_ends_a_look_that_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stenobus_monitor.collectors.bus._SILENT", 0.5)
    server, looking = EmbeddedServer(tmp_path / "nats", port=0), asyncio.Event()

    class Waits(BusCollector):
        async def look(self, emit: Emit) -> None:
            looking.set()
            await asyncio.Event().wait()

    async with await Bus.connect(await server.start()) as bus:
        await apply(bus, needs(CoreSettings(data_dir=tmp_path), [monitor]))
        running = asyncio.create_task(Waits(bus, every=0.1).run(nobody))
        await looking.wait()
        assert not running.done()
        await server.stop()
        with pytest.raises(ExceptionGroup) as told:
            await asyncio.wait_for(running, DEADLINE)
        assert isinstance(told.value.exceptions[0], ServerUnavailable)


async def never(*_: object) -> Any:
    await asyncio.Event().wait()


class Ends:
    """A collector that cannot see."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def run(self, emit: Emit) -> None:
        raise ServerUnavailable("no answer")


async def watching(bus: Bus, collector: Ends, monkeypatch: pytest.MonkeyPatch, out: io.StringIO) -> Watch:
    """A watch whose store has begun to take forever."""
    await apply(bus, needs(CoreSettings(), [monitor]))
    store = await Store.open(bus)
    watch = Watch(bus, store, [collector], [Blindness()], Policy(group_wait=timedelta(seconds=0.05)), out=out)
    for question in ("silences", "put", "put_incident"):
        monkeypatch.setattr(store, question, never)
    return watch


async def test_that_the_bus_is_silent_is_told_without_waiting_for_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.StringIO()
    watch = await watching(stage.bus, Ends("bus"), monkeypatch, out)
    await watch.start()
    try:
        await eventually(lambda: "The bus does not answer" in out.getvalue())
    finally:
        monkeypatch.undo()
        await watch.stop()


async def test_without_a_connection_nothing_waits_for_the_bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server, out = EmbeddedServer(tmp_path / "nats", port=0), io.StringIO()
    async with await Bus.connect(await server.start()) as bus:
        watch = await watching(bus, Ends("engine"), monkeypatch, out)
        await watch.start()
        await server.stop()
        try:
            await eventually(lambda: "The container engine does not answer" in out.getvalue())
        finally:
            monkeypatch.undo()
            await watch.stop()


# --- what it sees -----------------------------------------------------------------------------------------------------


def counter(name: str = "acme-count") -> Plugin:
    plugin = Plugin(name, summary="Counts")

    @plugin.handler(concurrency=2)
    async def count(event: AsrDone) -> None:
        """Nothing."""

    return plugin


def keeping(found: list[HandlerSeen]) -> Callable[[Observation], Awaitable[None]]:
    async def emit(seen: Observation) -> None:
        if isinstance(seen, HandlerSeen):
            found.append(seen)

    return emit


class Present:
    """However slow the machine is, so many services are heard; notes whether a look would have waited for more."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, processes: int) -> None:
        self.processes, self.waits = processes, list[bool]()
        monkeypatch.setattr("stenobus_monitor.collectors.bus.alive", self._alive)

    async def _alive(self, bus: Bus, wait: float, enough: Callable[[Sequence[Alive]], bool]) -> list[Alive]:
        found = await alive(bus, DEADLINE, lambda found: sum(bool(each.handlers) for each in found) >= self.processes)
        self.waits.append(not enough(found))
        return found


async def test_a_handler_that_stands_still_is_in_doubt_and_looked_at_alone(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    Present(monkeypatch, 2)
    await apply(stage.bus, needs(stage.settings, [monitor]))
    host = await stage.run(counter(), counter("acme-rest"))
    worker = host.workers["acme-count"]
    await eventually(lambda: worker.asked == 2)
    later = timedelta()
    collector = BusCollector(stage.bus, every=60, clock=lambda: datetime.now(UTC) + later)
    seen = list[HandlerSeen]()
    await collector.look(keeping(seen))
    assert not collector.in_doubt
    assert {each.handler for each in seen} >= {"acme-count", "acme-rest"}
    (calm,) = [each for each in seen if each.handler == "acme-count"]
    assert (calm.asked, calm.room, calm.stands) == (2, 0, False)

    asking = worker._loops[0]._tasks[0]
    asking.cancel()  # it answers, and asks for nothing any more
    for _ in range(5):
        await stage.publish(AsrDone(transcript=await stage.put(b"words")))
    await eventually(lambda: worker.handled == 2 and worker.active == 0)
    seen.clear()
    await collector.look(keeping(seen))
    assert collector.in_doubt
    seen.clear()
    await collector.look_closer(keeping(seen))
    (deaf,) = seen
    assert (deaf.handler, deaf.pending, deaf.in_hand, deaf.asked, deaf.room) == ("acme-count", 3, 0, 0, 2)
    later = timedelta(seconds=180)
    assert not collector.in_doubt, "what it is has shown by now"

    worker._loops[0]._tasks[0] = asyncio.create_task(worker._loops[0]._ask())
    await eventually(lambda: worker.handled == 5)
    later = timedelta()
    assert collector.in_doubt
    await collector.look_closer(keeping(seen))
    assert not collector.in_doubt


async def test_a_process_that_answered_before_is_waited_for(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is missing gets the whole time for a few looks, since it may only be busy; so does any handler's process
    that nobody knows yet.
    """
    await stage.run(counter())
    other = await stage.run(counter())
    collector = BusCollector(stage.bus)

    here = Present(monkeypatch, 2)
    for _ in range(2):
        await collector.look(nobody)
    await other.stop()
    here.processes = 1
    for _ in range(7):
        await collector.look(nobody)
    assert here.waits == [True, False, *[True] * 6, False]
    await apply(stage.bus, needs(stage.settings, [counter("acme-absent")]))  # and nobody runs it
    for _ in range(9):
        await collector.look(nobody)
    assert here.waits[9:] == [False, *[True] * 8]


async def test_a_look_says_since_when_nobody_answers(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    here, times = Present(monkeypatch, 1), iter(range(1000))
    host = await stage.run(counter())
    collector = BusCollector(stage.bus, clock=lambda: datetime.fromtimestamp(next(times), UTC))
    seen = list[HandlerSeen]()
    await collector.look(keeping(seen))
    await collector.ask()
    await host.stop()
    here.processes = 0
    begin = datetime.fromtimestamp(next(times), UTC)
    await collector.ask()
    end = datetime.fromtimestamp(next(times), UTC)
    await collector.look(keeping(seen))
    first, last = seen
    assert (first.processes, first.silent_since, last.processes) == (1, None, 0)
    assert last.silent_since is not None and begin < last.silent_since < end < last.at
