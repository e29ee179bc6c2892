"""Publish again what was left behind once the cause is over: for the one handler that needs it, and not too much."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Final

from pydantic import Field, JsonValue

from stenobus_bus import Bus, LetterRefused, dead_letters, history, retries
from stenobus_bus import pause as bus_pause
from stenobus_bus.dead_letters import Choice, Unreadable
from stenobus_bus.envelope import REPLAY, derived_id
from stenobus_contracts import Action
from stenobus_core.runs import Runs

from ..errors import ActionFailed
from ..graph import Graph
from . import Outlook
from .attempts import steps
from .left_behind import Item, left_behind, stream_end
from .parameters import Shape, handler, kept, parameters
from .patience import comes_true
from .rights import rights

#: Reasons of dead letters that another attempt can overcome: every attempt failed, or nobody settled it.
_PASSING: Final = frozenset({"exhausted", "undelivered"})
#: Letters older than this are for people.
_RECENT: Final = timedelta(days=1)
#: Runs that a dry run names.
_NAMED: Final = 5


class Which(Shape):
    """What is published again."""

    #: The target is a handler, and its dead letters are meant; else it is a run.
    letters: bool = False
    #: Letters that the handler itself called permanent too: where credentials or settings were the reason.
    permanent: bool = False
    #: Most events.
    limit: int = Field(default=100, ge=1, le=1000)


class Left(Shape):
    """What was left behind, when somebody looked."""

    items: tuple[Item, ...]
    #: Stream to its last sequence: a copy that lies behind it was published by this action.
    ends: dict[str, int]
    #: Keys of the steps that were there.
    known: tuple[str, ...]


class Replay:
    """Hands events to handlers again, marked as a replay, so that ledgers keep each of them to one time.

    Args:
        graph: which handlers lie on a run's way.
        within: seconds in which all of it has to be taken up.
    """

    kind: ClassVar[str] = "replay"
    undoable: ClassVar[bool] = False

    def __init__(
        self,
        bus: Bus,
        runs: Runs,
        graph: Graph,
        *,
        within: float = 120.0,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._bus, self._runs, self._graph, self._within, self._clock = bus, runs, graph, within, clock

    async def look(self, action: Action) -> Outlook:
        """How many events of which runs, and whether the cause is over."""
        try:
            which = parameters(action, Which)
            found, obstacles = await (self._letters(action, which) if which.letters else self._run(action))
        except ActionFailed as refused:
            return Outlook("would publish nothing again", (str(refused),))
        if len(found) > which.limit:
            obstacles.append(f"{len(found)} events are more than the limit of {which.limit}")
            found = found[: which.limit]
        handlers = sorted({item.handler for item in found})
        for name in handlers:
            if any(place.paused_until for place in await bus_pause.places(self._bus, name)):
                obstacles.append(f"{name} is paused")
        runs = sorted({item.run for item in found})
        named = ", ".join(runs[:_NAMED]) + (", …" if len(runs) > _NAMED else "")
        text = f"would publish {len(found)} events of {len(runs)} runs again ({named}), for {', '.join(handlers)} alone"
        ends = {stream: await stream_end(self._bus, stream) for stream in sorted({item.stream for item in found})}
        known = [step.key for run in runs for step in await self._runs.steps(run)]
        left = Left(items=tuple(found), ends=ends, known=tuple(known))
        return Outlook(text if found else "would publish nothing again", tuple(obstacles), left.model_dump(mode="json"))

    async def act(self, action: Action, before: JsonValue) -> str:
        """Publish each of them again. What an earlier call published is not published again."""
        left, count = kept(before, Left), 0
        for item in left.items:
            if item.letter is not None:
                entry = await dead_letters.find(self._bus, item.letter)
                if entry is None or isinstance(entry, Unreadable):
                    continue  # an earlier call, or people
                try:
                    with rights():
                        await retries.retry(self._bus, entry)
                except LetterRefused as error:
                    raise ActionFailed(f"Dead letter {item.letter} cannot be retried: {error}") from error
            else:
                with rights():
                    await self._again(action, item, left.ends[item.stream])
            count += 1
        return f"{count} of {len(left.items)} events are published again"

    async def verify(self, action: Action, before: JsonValue) -> str:
        """Every event is taken up, and none of them fails."""
        left = kept(before, Left)
        known = set(left.known)
        status: dict[Item, str] = {}

        async def gone_on() -> bool:
            status.clear()
            for run in {item.run for item in left.items}:
                for step in await self._runs.steps(run):
                    for item in left.items:
                        same = (item.run, item.handler, item.event_id) == (run, step.handler, step.event_id)
                        if same and step.key not in known:
                            status[item] = step.status
            return "failed" in status.values() or (
                len(status) == len(left.items) and all(each == "done" for each in status.values())
            )

        await comes_true(gone_on, self._within)
        said = list(status.values())
        if failed := said.count("failed"):
            raise ActionFailed(f"{failed} of {len(left.items)} events failed again.")
        if missing := len(left.items) - len(said):
            raise ActionFailed(f"{missing} of {len(left.items)} events were not taken up in {self._within:g} s.")
        done = said.count("done")
        return f"{done} of {len(said)} events are handled" + ("" if done == len(said) else ", the others are at work")

    async def undo(self, action: Action, before: JsonValue) -> str:
        """What was published cannot be taken back."""
        raise ActionFailed("What was published again cannot be taken back.")

    async def _again(self, action: Action, item: Item, end: int) -> None:
        """Publish one stored event for one handler, unless that happened already."""
        replay = derived_id("replay", action.action_id, item.handler)[:12]
        message = await history.find(self._bus, item.stream, item.sequence)
        if message is None:
            raise ActionFailed(f"The event is gone from {item.stream}/{item.sequence}.")
        async for copy in history.read(self._bus, item.stream, message.subject, from_sequence=end + 1, run=item.run):
            if copy.event_id == item.event_id and copy.attributes.get(REPLAY) == replay:
                return
        await history.replay(self._bus, item.handler, [message], replay_id=replay)

    async def _run(self, action: Action) -> tuple[list[Item], list[str]]:
        """What a run that stopped on its way needs."""
        run = action.target
        names = [name.partition(":") for name in self._graph.needs(f"run:{run}")]
        way = {name: self._graph.flow(name) for kind, _, name in names if kind == "handler"}
        return await left_behind(self._bus, self._runs, run, way, _PASSING, self._clock() - _RECENT)

    async def _letters(self, action: Action, which: Which) -> tuple[list[Item], list[str]]:
        """Dead letters of a handler that does well again."""
        name, now = handler(action), self._clock()
        reasons = _PASSING | {"permanent"} if which.permanent else _PASSING
        found: list[Item] = []
        latest: datetime | None = None
        async for entry in dead_letters.choose(self._bus, Choice(handler=name, since=now - _RECENT)):
            if isinstance(entry, Unreadable) or entry.letter.reason not in reasons:
                continue
            latest = entry.letter.failed_at
            if len(found) <= which.limit:
                found.append(Item.of(entry))
        if latest is None:
            raise ActionFailed(f"{name} has no dead letters that another attempt could help.")
        well = ill = 0
        async for step in steps(self._runs, name, latest):
            if step.status == "done" and step.finished and step.finished > latest:
                well += 1
            elif step.status in {"failed", "retrying"} and step.started > latest:
                ill += 1
        obstacles = []
        if not well or ill:
            obstacles.append(f"since the last of them {well} events went well and {ill} failed: the cause is not over")
        return found, obstacles
