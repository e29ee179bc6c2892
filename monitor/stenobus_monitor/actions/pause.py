"""Pause a handler that only does harm now, and let it go on when the cause is over."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Final

from pydantic import Field, JsonValue

from stenobus_bus import Bus
from stenobus_bus import pause as bus_pause
from stenobus_bus.pause import Place
from stenobus_contracts import Action
from stenobus_core.runs import Runs
from stenobus_core.service import alive

from ..errors import ActionFailed
from ..store import Store
from . import Outlook
from .attempts import Attempts, steps
from .parameters import Shape, handler, kept, parameters
from .patience import comes_true
from .pauses import OwnPause
from .rights import rights

#: How far back the run record is looked at.
_RECENT: Final = timedelta(minutes=15)
#: Ends of processes by one event, or events that fail with none that succeeds behind them, that call for a pause.
_KILLS: Final = 2
_FAILING: Final = 3
#: Handlers that no remedy holds up: the monitor's own.
_OWN: Final = "monitor-"
#: Seconds that plugins get to answer.
_ALIVE: Final = 1.0


class Length(Shape):
    """For how long."""

    seconds: int = Field(default=900, ge=10, le=86_400)


class Paused(Shape):
    """Until when it is paused."""

    until: datetime


class Waiting(Paused):
    """A paused handler, before it goes on."""

    #: Consumer to the last sequence that was delivered to it.
    delivered: dict[str, int]


class Pause:
    """Holds a handler's events back for a time, after which it goes on by itself.

    Args:
        within: seconds the server gets to show that it holds.
    """

    kind: ClassVar[str] = "pause"
    undoable: ClassVar[bool] = True

    def __init__(
        self,
        bus: Bus,
        runs: Runs,
        store: Store,
        *,
        within: float = 10.0,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._bus, self._runs, self._store, self._within, self._clock = bus, runs, store, within, clock

    async def look(self, action: Action) -> Outlook:
        """Whether the run record shows the harm now, and nobody else holds the handler."""
        try:
            name, length = handler(action), parameters(action, Length)
        except ActionFailed as refused:
            return Outlook("would pause nothing", (str(refused),))
        found = await bus_pause.places(self._bus, name)
        now = self._clock()
        until = (now + timedelta(seconds=length.seconds)).replace(microsecond=0)
        obstacles = [] if found else [f"the server has no handler {name}"]
        if name.startswith(_OWN):
            obstacles.append("it is a handler of the monitor's own")
        if held := [place.paused_until for place in found if place.paused_until]:
            obstacles.append(f"it is paused already, until {max(held):%H:%M:%S}")
        harm = await self._harm(name, now)
        if harm is None:
            obstacles.append("the run record shows no harm: no event ends its process, and not everything fails")
        waiting = sum(place.pending for place in found)
        text = f"would pause {name} until {until:%H:%M:%S} UTC, {waiting} events waiting"
        return Outlook(
            f"{text}: {harm}" if harm else text, tuple(obstacles), Paused(until=until).model_dump(mode="json")
        )

    async def act(self, action: Action, before: JsonValue) -> str:
        """Pause each consumer of the handler. A pause of somebody else's that lasts longer stays."""
        name, wanted = handler(action), kept(before, Paused)
        if wanted.until <= self._clock():
            raise ActionFailed("The time of the pause is over already.")
        found = await bus_pause.places(self._bus, name)
        if not found:
            raise ActionFailed(f"The server has no handler {name} any more.")
        await self._store.put_pause(OwnPause(handler=name, until=wanted.until))
        for place in found:
            if place.paused_until is None or place.paused_until < wanted.until:
                with rights():
                    await bus_pause.pause(self._bus, place, wanted.until)
        return f"{name} is paused until {wanted.until:%H:%M:%S} UTC"

    async def verify(self, action: Action, before: JsonValue) -> str:
        """The server says that it holds every consumer's events back."""
        name, wanted = handler(action), kept(before, Paused)
        found: list[Place] = []

        async def holds() -> bool:
            found[:] = await bus_pause.places(self._bus, name)
            return bool(found) and all(place.paused_until and place.paused_until >= wanted.until for place in found)

        if not await comes_true(holds, self._within):
            raise ActionFailed(f"{name} is not paused: the server still delivers.")
        return f"the server holds {sum(place.pending for place in found)} events of {name} back"

    async def undo(self, action: Action, before: JsonValue) -> str:
        """Let it go on. Somebody else's pause stays."""
        name = handler(action)
        return await _let_go(self._bus, self._store, name, kept(before, Paused).until)

    async def _harm(self, name: str, now: datetime) -> str | None:
        """What the handler does that a pause ends, in one sentence."""
        failing: dict[str, datetime] = {}
        well: datetime | None = None
        async for step in steps(self._runs, name, now - _RECENT):
            if step.status == "done":
                failing.pop(step.key, None)
                if step.finished and (well is None or step.finished > well):
                    well = step.finished
                continue
            attempts = Attempts(step)
            if len(attempts.kills) >= _KILLS and step.status != "failed":
                return f"event {step.event_id[:64]} ended its process {len(attempts.kills)} times"
            if attempts.failures:
                failing[step.key] = attempts.failures[-1]
        since = [at for at in failing.values() if well is None or at > well]
        return f"{len(since)} events failed, and none went well since" if len(since) >= _FAILING else None


class Resume:
    """Lets a handler go on that the monitor paused, with events waiting and the cause over.

    Args:
        within: seconds in which an event must be delivered.
    """

    kind: ClassVar[str] = "resume"
    undoable: ClassVar[bool] = True

    def __init__(
        self,
        bus: Bus,
        store: Store,
        *,
        within: float = 30.0,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._bus, self._store, self._within, self._clock = bus, store, within, clock

    async def look(self, action: Action) -> Outlook:
        """Whether it is the monitor's own pause, something waits, somebody is there for it, and the trouble is over."""
        try:
            name = handler(action)
        except ActionFailed as refused:
            return Outlook("would resume nothing", (str(refused),))
        found = await bus_pause.places(self._bus, name)
        waiting = sum(place.pending + place.unsettled for place in found)
        ours = (await self._store.pauses()).get(name)
        held = [place.paused_until for place in found if place.paused_until]
        obstacles = []
        if not held:
            obstacles.append("it is not paused")
        elif any(until != ours for until in held):
            obstacles.append("somebody else paused it")
        if not waiting:
            obstacles.append("no event waits for it")
        if not any(name in service.handlers for service in await alive(self._bus, _ALIVE)):
            obstacles.append("no process answers for it")
        if trouble := await self._trouble(name):
            obstacles.append(f"incident {trouble} is not over")
        delivered = {place.consumer: await self._delivered(place) for place in found}
        until = max(held, default=self._clock())
        return Outlook(
            f"would let {name} go on, {waiting} events waiting",
            tuple(obstacles),
            Waiting(until=until, delivered=delivered).model_dump(mode="json"),
        )

    async def act(self, action: Action, before: JsonValue) -> str:
        """Resume each consumer of the handler."""
        return await _let_go(self._bus, self._store, handler(action), kept(before, Waiting).until)

    async def verify(self, action: Action, before: JsonValue) -> str:
        """Events are delivered again."""
        name, earlier = handler(action), kept(before, Waiting)

        async def moves() -> bool:
            found = await bus_pause.places(self._bus, name)
            if not found or any(place.paused_until for place in found):
                return False
            if not any(place.pending for place in found):
                return True
            return any([await self._delivered(place) > earlier.delivered.get(place.consumer, 0) for place in found])

        if not await comes_true(moves, self._within):
            raise ActionFailed(f"{name} is not paused, and still gets no events.")
        return f"{name} gets events again"

    async def undo(self, action: Action, before: JsonValue) -> str:
        """Pause it again until the time it was paused to."""
        name, earlier = handler(action), kept(before, Waiting)
        if earlier.until <= self._clock():
            return f"the pause of {name} would be over by now"
        await self._store.put_pause(OwnPause(handler=name, until=earlier.until))
        for place in await bus_pause.places(self._bus, name):
            with rights():
                await bus_pause.pause(self._bus, place, max(earlier.until, place.paused_until or earlier.until))
        return f"{name} is paused until {earlier.until:%H:%M:%S} UTC again"

    async def _trouble(self, name: str) -> str | None:
        """An open incident about the handler, or about an event in its hands."""
        for entry in await self._store.incidents():
            component = entry.incident.component
            if entry.incident.status == "open" and (
                component == f"handler:{name}" or component.startswith(f"event:{name}/")
            ):
                return entry.incident.incident_id
        return None

    async def _delivered(self, place: Place) -> int:
        told = await self._bus.api(f"CONSUMER.INFO.{place.stream}.{place.consumer}")
        return int(told["delivered"]["stream_seq"])


async def _let_go(bus: Bus, store: Store, name: str, until: datetime) -> str:
    """End a pause of the monitor's own. Raises ActionFailed where somebody else paused the handler meanwhile."""
    found = await bus_pause.places(bus, name)
    held = [place for place in found if place.paused_until]
    if others := [place.paused_until for place in held if place.paused_until and place.paused_until != until]:
        raise ActionFailed(f"Somebody else paused {name} until {max(others):%H:%M:%S}; that pause stays.")
    for place in held:
        with rights():
            await bus_pause.resume(bus, place)
    await store.put_pause(OwnPause(handler=name, until=datetime.now(UTC)))
    waiting = sum(place.pending for place in found)
    return f"{name} {'goes on' if held else 'was going on already'}, {waiting} events waiting"
