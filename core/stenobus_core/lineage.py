"""What led to what in a run: events, the handlers that took them, what these published, and when each did it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal

from stenobus_bus.dead_letters import Entry
from stenobus_bus.envelope import REPLAY, SHADOW
from stenobus_bus.history import Remembered
from stenobus_bus.traceparent import trace_of

from .runs import Step

#: ``ce-source`` of what a handler publishes.
_SOURCE: Final = "stenobus/"
#: Siblings of one kind that are shown one by one when there are many: the first ones, and the slowest ones.
_FIRST, _SLOWEST, _FAILED = 3, 3, 5

#: ``wait``: in the stream; ``work``: in the handler; ``failed``: an attempt that failed; ``pause``: until the next one.
Kind = Literal["wait", "work", "failed", "pause"]
Phase = tuple[datetime, datetime, Kind]


@dataclass(slots=True)
class Node:
    """An event, a handler's work on it, a replay, or many siblings in one."""

    label: str
    children: list[Node] = field(default_factory=list)
    event: Remembered | None = None
    #: Name of the handler that worked, with the step that it recorded, if it did.
    handler: str = ""
    step: Step | None = None
    letters: list[Entry] = field(default_factory=list)
    phases: list[Phase] = field(default_factory=list)
    #: Siblings that this one stands for.
    folded: list[Node] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        """It ended, or is about to end, in a dead letter."""
        return bool(self.letters) or (self.step is not None and self.step.status == "failed")

    def spent(self, *kinds: Kind) -> float:
        """Seconds in its own phases of these kinds."""
        return sum((end - begin).total_seconds() for begin, end, kind in self.phases if kind in kinds)

    def all(self) -> Iterator[Node]:
        """Itself and everything below, however deep."""
        todo = [self]
        while todo:
            node = todo.pop()
            yield node
            todo += [*reversed(node.children), *reversed(node.folded)]


@dataclass(frozen=True, slots=True)
class Totals:
    """A run in figures."""

    events: int
    steps: int
    #: Attempts that failed and were followed by another one.
    retries: int
    dead_letters: int
    cached: int
    replays: int
    #: Seconds from the first event to the last sign of life.
    seconds: float
    #: Seconds that events waited before their first attempt; that handlers worked; until further attempts.
    waited: float
    worked: float
    paused: float
    tokens: int
    #: US dollars, None when a step did not know its own.
    cost: Decimal | None


@dataclass(frozen=True, slots=True)
class Lineage:
    """A run as a tree."""

    run: str
    trace: str
    root: Node
    begin: datetime
    end: datetime
    totals: Totals


def lineage(run: str, events: Sequence[Remembered], steps: Iterable[Step], letters: Iterable[Entry]) -> Lineage:
    """Put a run's records together.

    Args:
        events: at least one.
        steps: those of the run record.
        letters: dead letters of the run.
    """
    ordered = sorted(events, key=lambda event: (event.timestamp, event.sequence))
    root, now = Node(run), datetime.now(UTC)
    nodes: dict[tuple[str, str | None], Node] = {}
    works: dict[tuple[str, str | None, str], Node] = {}
    replays: dict[str, Node] = {}
    for event in ordered:
        key = event.event_id, event.attributes.get(REPLAY)
        # The same event stored twice, beyond the server's window for duplicates, is one event.
        nodes.setdefault(key, Node(event.subject, event=event))
    for step in sorted(steps, key=lambda step: step.started):
        parent = nodes.get((step.event_id, step.replay))
        node = Node(step.handler, handler=step.handler, step=step)
        works[step.event_id, step.replay, step.handler] = node
        stored = parent.event.time if parent and parent.event else step.stored
        node.phases = list(_phases(step, stored, now))
        (parent or root).children.append(node)
    for entry in letters:
        replay = next((v for name, v in entry.letter.headers.items() if name.lower() == REPLAY), None)
        key = entry.letter.event_id, replay
        _work(works, nodes.get(key, root), key, entry.letter.handler).letters.append(entry)
    for key, node in nodes.items():
        assert node.event is not None
        found = node.event.attributes
        cause = found.get("causationid", ""), key[1]
        parent = nodes.get(cause)
        if parent is not None and parent is not node:
            source = found.get("source", "")
            if source.startswith(_SOURCE):
                parent = _work(works, parent, cause, source.removeprefix(_SOURCE))
        elif key[1]:
            parent = replays.setdefault(key[1], Node(f"replay {key[1]}"))
        else:
            parent = root
        if SHADOW in found:
            node.label = f"{node.label} (shadow {found[SHADOW]})"
        parent.children.append(node)
    root.children += replays.values()
    for node in root.all():
        node.children.sort(key=_begin)
    first = ordered[0]
    trace = trace_of(run, first.event_id, first.attributes.get("traceparent")).id
    ends = [end for node in root.all() for _, end, _ in node.phases]
    begin, end = first.time, max([*ends, ordered[-1].time])
    return Lineage(run, trace, root, begin, end, _totals(root, len(nodes), len(replays), (end - begin).total_seconds()))


def fold(root: Node, most: int) -> None:
    """Put many siblings of one kind, more than ``most``, into one: the first, the slowest and some failed ones stay.

    Changes the tree.
    """
    todo = [root]
    while todo:
        node = todo.pop()
        groups: dict[str, list[Node]] = {}
        for child in node.children:
            groups.setdefault(child.label, []).append(child)
        for group in groups.values():
            if len(group) > max(most, _FIRST + _SLOWEST + _FAILED):
                _fold(node, group)
        todo += node.children


def _fold(parent: Node, group: list[Node]) -> None:
    took = {id(node): sum(below.spent("work", "failed", "pause") for below in node.all()) for node in group}
    failed = [node for node in group if any(below.failed for below in node.all())]
    slowest = sorted(group, key=lambda node: took[id(node)], reverse=True)[:_SLOWEST]
    kept = {id(node) for node in (*group[:_FIRST], *slowest, *failed[:_FAILED])}
    rest = [node for node in group if id(node) not in kept]
    folded = {id(node) for node in rest}
    parent.children = [node for node in parent.children if id(node) not in folded]
    parent.children.append(Node(group[0].label, folded=rest))


def _work(
    works: dict[tuple[str, str | None, str], Node], parent: Node, key: tuple[str, str | None], handler: str
) -> Node:
    """The node of a handler's work on an event; a handler that keeps no record has one without times."""
    node = works.get((*key, handler))
    if node is None:
        node = works[*key, handler] = Node(handler, handler=handler)
        parent.children.append(node)
    return node


def _phases(step: Step, stored: datetime | None, now: datetime) -> Iterator[Phase]:
    last = stored
    for earlier in step.tries:
        if last and earlier.started > last:
            yield last, earlier.started, "wait" if last is stored else "pause"
        last = earlier.started + timedelta(seconds=earlier.seconds or 0.0)  # nobody knows how long a lost one lived
        yield earlier.started, last, "failed"
    if step.status == "retrying":
        if last and now > last:
            yield last, now, "pause"
        return
    if last and step.started > last:
        yield last, step.started, "pause" if step.tries else "wait"
    end = step.finished or (now if step.status == "running" else step.started + timedelta(seconds=step.seconds or 0.0))
    yield step.started, max(end, step.started), "failed" if step.status == "failed" else "work"


def _begin(node: Node) -> datetime:
    if node.event is not None:
        return node.event.time
    if node.phases:
        return node.phases[0][0]
    return min((child.event.time for child in node.children if child.event), default=datetime.max.replace(tzinfo=UTC))


def _totals(root: Node, events: int, replays: int, seconds: float) -> Totals:
    nodes = list(root.all())
    steps = [node.step for node in nodes if node.step]
    costs = [cost(step) for step in steps if "cost_usd" in step.facts]
    return Totals(
        events=events,
        steps=len(steps),
        retries=sum(max(len(step.tries), step.attempt - 1) for step in steps),
        dead_letters=sum(node.failed for node in nodes),
        cached=sum(step.cached for step in steps),
        replays=replays,
        seconds=seconds,
        waited=sum(node.spent("wait") for node in nodes),
        worked=sum(node.spent("work", "failed") for node in nodes),
        paused=sum(node.spent("pause") for node in nodes),
        tokens=sum(tokens(step) for step in steps),
        cost=None if None in costs else sum((one for one in costs if one is not None), Decimal(0)),
    )


def tokens(step: Step) -> int:
    """Tokens that a step says it used."""
    found = step.facts.get("tokens")
    return found if isinstance(found, int) else 0


def cost(step: Step) -> Decimal | None:
    """US dollars that a step says it cost, None when it does not know."""
    found: Any = step.facts.get("cost_usd")
    try:
        return None if found is None else Decimal(str(found))
    except InvalidOperation:
        return None
