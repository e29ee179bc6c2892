"""What goes on right now, in all processes taken together: handlers, streams, dead letters, runs."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from stenobus_bus import Bus, dead_letters
from stenobus_bus.stats import BOUNDS, quantile
from stenobus_bus.topology import handler_of

from .lag import Lag, StreamSize, gather, lags, oldest, stream_sizes
from .runs import BUCKET, Runs, Step
from .service import Alive, alive

#: Seconds the server gets to tell what waits.
_DEADLINE: Final = 3.0
#: Latest writes of steps that are read to find the runs in progress: a picture, not a search.
_STEPS: Final = 20_000

State = Literal["ready", "not ready", "paused", "nobody"]


@dataclass(frozen=True, slots=True)
class Row:
    """One handler. Times in seconds; None where nothing was measured."""

    handler: str
    plugin: str
    subject: str
    stream: str
    #: ``nobody``: its consumer exists, and no process works for it.
    state: State
    processes: int
    in_hand: int
    slots: int
    #: Events that were never delivered, and those that wait for another attempt or are in hand.
    lag: int
    unsettled: int
    #: Age of the oldest event that is not settled; None when the server did not tell.
    oldest: float | None
    #: Per second, since the look before.
    rate: float | None
    errors: float | None
    #: Handler time: since the look before, or since the start when nothing was handled in between.
    p50: float | None
    p95: float | None
    handled: int
    failures: int
    dead_letters: int


@dataclass(frozen=True, slots=True)
class Running:
    """A run in progress."""

    run: str
    #: The step that began last.
    handler: str
    status: str
    progress: float
    message: str
    #: Steps at work or waiting for another attempt.
    steps: int
    started: datetime


@dataclass(frozen=True, slots=True)
class Frame:
    """One look at everything."""

    time: datetime
    rows: list[Row]
    streams: list[StreamSize]
    #: Dead letters that wait, by handler.
    dead_letters: dict[str, int]
    runs: list[Running]
    #: Plugins that answer, counted in each process.
    services: int


class Board:
    """Looks again and again; what happened in between is the difference of two looks."""

    def __init__(self, bus: Bus, runs: Runs) -> None:
        self._bus, self._runs = bus, runs
        self._before: dict[tuple[str, str], dict[str, Any]] = {}
        self._looked: float | None = None
        self._steps: dict[str, Step] = {}
        self._next = 0

    async def look(self) -> Frame:
        """Everything as it is now.

        Raises:
            BusError: the server does not answer.
        """
        sizes, services = await asyncio.gather(stream_sizes(self._bus), alive(self._bus))
        names = [size.name for size in sizes if size.consumers and not is_bucket(size)]
        found = await gather(names, lambda name: lags(self._bus, name), deadline=_DEADLINE)
        waiting = [one for several in found.values() for one in several]
        ages = await gather(waiting, lambda one: oldest(self._bus, one), deadline=_DEADLINE)
        letters: Counter[str] = Counter()
        for (handler, _), count in (await dead_letters.counts(self._bus)).items():
            letters[handler] += count
        last = next((size.last for size in sizes if size.name == f"KV_{BUCKET}"), 0)
        return Frame(
            time=datetime.now(UTC),
            rows=self._rows(waiting, ages, services, letters),
            streams=sizes,
            dead_letters=letters,
            runs=await self._running(last),
            services=sum(bool(service.handlers) for service in services),
        )

    def _rows(
        self, waiting: Iterable[Lag], ages: dict[Lag, float], services: list[Alive], letters: dict[str, int]
    ) -> list[Row]:
        now = asyncio.get_running_loop().time()
        passed = None if self._looked is None else now - self._looked
        working: dict[str, dict[str, dict[str, Any]]] = {}
        for service in services:
            for handler, figures in service.handlers.items():
                working.setdefault(handler, {})[service.id] = figures
        plugins = {handler: service.plugin for service in services for handler in service.handlers}
        rows = []
        for one in waiting:
            handler = handler_of(one.handler)  # a lane is a row of its own
            here = working.get(handler, {})
            if not here and not one.plugin:
                continue  # somebody else's consumer
            rows.append(
                Row(
                    handler=one.handler,
                    plugin=plugins.get(handler, one.plugin),
                    subject=", ".join(one.subjects),
                    stream=one.stream,
                    state=_state(one, here.values()),
                    processes=len(here),
                    in_hand=sum(figures["active"] for figures in here.values()),
                    slots=sum(figures["slots"] for figures in here.values()),
                    lag=one.pending,
                    unsettled=one.unsettled,
                    oldest=ages.get(one),
                    dead_letters=letters.get(handler, 0),
                    **self._pace(handler, here, passed),
                )
            )
        self._before = {(id, handler): figures for handler, here in working.items() for id, figures in here.items()}
        self._looked = now
        return sorted(rows, key=lambda row: row.handler)

    def _pace(self, handler: str, here: dict[str, dict[str, Any]], passed: float | None) -> dict[str, Any]:
        """What the processes of a handler did since the look before."""
        nothing = {"handled": 0, "failures": 0, "work": [0] * (len(BOUNDS) + 1)}
        before = {id: self._before.get((id, handler), nothing) for id in here}
        done = sum(now["handled"] - before[id]["handled"] for id, now in here.items())
        failed = sum(now["failures"] - before[id]["failures"] for id, now in here.items())
        ever = [sum(counts) for counts in zip(*(now["work"] for now in here.values()), strict=True)]
        since = [sum(counts) for counts in zip(*(before[id]["work"] for id in here), strict=True)]
        lately = [now - then for now, then in zip(ever, since, strict=True)]
        counts = lately if any(lately) else ever
        return {
            "rate": done / passed if passed else None,
            "errors": failed / passed if passed else None,
            "p50": quantile(counts, 0.5),
            "p95": quantile(counts, 0.95),
            "handled": sum(now["handled"] for now in here.values()),
            "failures": sum(now["failures"] for now in here.values()),
        }

    async def _running(self, last: int) -> list[Running]:
        self._next = max(self._next, last + 1 - _STEPS, 1)
        steps, self._next = await self._runs.changes(self._next)
        for step in steps:
            if step.status in {"running", "retrying"}:
                self._steps[step.key] = step
            else:
                self._steps.pop(step.key, None)
        by_run: dict[str, list[Step]] = {}
        for step in sorted(self._steps.values(), key=lambda step: step.started):
            by_run.setdefault(step.run, []).append(step)
        return [
            Running(
                run=run,
                handler=group[-1].handler,
                status="retrying" if any(step.status == "retrying" for step in group) else "running",
                progress=group[-1].progress,
                message=group[-1].message or "",
                steps=len(group),
                started=group[0].started,
            )
            for run, group in by_run.items()
        ]


def _state(one: Lag, here: Iterable[dict[str, Any]]) -> State:
    ready = [figures["ready"] for figures in here]
    if one.paused:
        return "paused"
    if not ready:
        return "nobody"
    return "ready" if all(ready) else "not ready"


def is_bucket(size: StreamSize) -> bool:
    """Whether a stream holds keys or objects, not events."""
    return size.name.startswith(("KV_", "OBJ_"))
