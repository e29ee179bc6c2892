"""Which event a run that stopped on its way waits for, and in whose hands."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import aclosing
from datetime import datetime, timedelta

from stenobus_bus import Bus, dead_letters, ledger
from stenobus_bus.connection import ApiError
from stenobus_bus.dead_letters import Choice, Entry
from stenobus_bus.envelope import ONLY, REPLAY, SHADOW
from stenobus_bus.history import Remembered, read
from stenobus_bus.topology import CONSUMER_NOT_FOUND, domain_stream
from stenobus_core.lag import Lag, lag
from stenobus_core.runs import Runs, Step

from ..errors import ActionFailed
from ..graph import Flow
from .parameters import Shape

#: A run's first event was stored at most this long before its first step began to be recorded.
_BEFORE = timedelta(minutes=1)


class Item(Shape):
    """One event for one handler."""

    handler: str
    run: str
    event_id: str
    stream: str
    sequence: int
    #: Number of its dead letter, None for an event that became none.
    letter: int | None = None

    @classmethod
    def of(cls, entry: Entry) -> Item:
        """The event of a dead letter."""
        letter = entry.letter
        return cls(
            handler=letter.handler,
            run=letter.run,
            event_id=letter.event_id,
            stream=letter.stream,
            sequence=letter.sequence,
            letter=entry.sequence,
        )


async def left_behind(
    bus: Bus, runs: Runs, run: str, way: Mapping[str, Flow], reasons: Collection[str], since: datetime
) -> tuple[list[Item], list[str]]:
    """What a run needs to go on, and why it must not be published now.

    Three ways to be left behind: a dead letter that another attempt can overcome; an event that its handler's consumer
    has passed, though neither the run record nor the ledger knows of it; and, where there is none of these, the last
    event on the way, whose handler is done without having said anything.

    Args:
        way: handlers that every such run passes, and what they listen to and say.
        reasons: reasons of dead letters that another attempt can overcome.
        since: nothing older is looked for where the run record knows nothing of the run.

    Raises:
        ActionFailed: the run is not known, or nothing is found that it waits for.
        BusError: the server does not answer.
    """
    known = await runs.steps(run)
    if known:
        since = min(step.stored or step.started for step in known) - _BEFORE
    subjects = sorted({subject for flow in way.values() for subject in flow.hears | flow.says})
    events: list[Remembered] = []
    for subject in subjects:
        async with aclosing(read(bus, domain_stream(subject), subject, since=since, run=run)) as stored:
            events += [message async for message in stored if SHADOW not in message.attributes]
    if not events:
        raise ActionFailed(f"No event of the run {run[:64]} is known on its way.")
    obstacles = [
        f"{step.handler} works on it"
        for step in known
        if step.status in {"running", "retrying"} and step.handler in way
    ]
    found: list[Item] = []
    for name, flow in sorted(way.items()):
        for message in events:
            only = message.attributes.get(ONLY, name)
            if message.subject in flow.hears and only == name:
                item, obstacle = await _needs(bus, name, message, known, reasons)
                found += [item] if item else []
                obstacles += [obstacle] if obstacle else []
    if not found and not obstacles:
        found = _silent(way, events, known)
    if not found and not obstacles:
        raise ActionFailed(f"Nothing is found that the run {run[:64]} waits for.")
    return found, obstacles


async def stream_end(bus: Bus, stream: str) -> int:
    """The last sequence of a stream. Raises BusError."""
    return int((await bus.api(f"STREAM.INFO.{stream}"))["state"]["last_seq"])


async def _needs(
    bus: Bus, name: str, message: Remembered, known: list[Step], reasons: Collection[str]
) -> tuple[Item | None, str]:
    """Whether a handler needs an event again; or what speaks against it."""
    marks = message.attributes
    mine = [step for step in known if (step.handler, step.event_id) == (name, message.event_id)]
    if any(step.status == "done" for step in mine):
        return None, ""
    item = Item(
        handler=name, run=message.run, event_id=message.event_id, stream=message.stream, sequence=message.sequence
    )
    if any(step.status == "failed" for step in mine):
        async for entry in dead_letters.choose(bus, Choice(handler=name, run=message.run)):
            if isinstance(entry, Entry) and entry.letter.event_id == message.event_id:
                if entry.letter.reason in reasons:
                    return Item.of(entry), ""
                return None, f"event {message.event_id[:64]} is a dead letter of {name}: {entry.letter.reason}"
        return None, f"event {message.event_id[:64]} failed in {name}, and its dead letter is gone"
    if mine:
        return None, ""  # at work, which is an obstacle already
    place = await _place(bus, message.stream, name)
    if place is None:
        return None, f"{name} has no consumer"
    if place.floor < message.sequence:
        return None, f"event {message.event_id[:64]} waits for {name}"
    entries = await ledger.Ledger.open(bus, name)
    key = ledger.entry(name, marks.get("source", "unknown"), message.event_id, marks.get(REPLAY))
    if await entries.completed(key, first=False):
        return None, ""
    return item, ""


def _silent(way: Mapping[str, Flow], events: list[Remembered], known: list[Step]) -> list[Item]:
    """The last events on the way, for the handlers that are done with them and said nothing."""
    causes = {message.attributes.get("causationid") for message in events}
    done = {(step.handler, step.event_id) for step in known if step.status == "done"}
    return [
        Item(handler=name, run=each.run, event_id=each.event_id, stream=each.stream, sequence=each.sequence)
        for each in events
        for name, flow in sorted(way.items())
        if each.event_id not in causes and each.subject in flow.hears and (name, each.event_id) in done
    ]


async def _place(bus: Bus, stream: str, name: str) -> Lag | None:
    try:
        return await lag(bus, stream, name)
    except ApiError as error:
        if error.err_code == CONSUMER_NOT_FOUND:
            return None
        raise
