"""Logs that fill with errors. A log is written by what it is about: it is a reason to look, and never one to act."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Final

from ..findings import Finding, Recovery, Trouble, line
from ..observations import ContainerGone, LogLines, LogSeen, Observation
from . import Rule

#: Error lines of one container within the window that are trouble, and those of a kind that speaks for itself.
_MANY: Final = 20
_CLEAR: Final = 3
_WINDOW: Final = timedelta(minutes=1)
#: No errors for this long, and it is over.
_QUIET: Final = timedelta(minutes=2)
#: Templates that are shown.
_SHOWN: Final = 5
#: What kinds of errors say, whoever writes them.
_CLASSES: Final = (
    (
        "log.credentials",
        "its credentials are refused",
        re.compile(
            r"authori[sz]ation violation|unauthori[sz]ed|authentication (failed|error)|access denied|forbidden"
            r"|invalid (api key|token|credentials|password)|\b40[13]\b",
            re.I,
        ),
    ),
    (
        "log.disk_full",
        "there is no room to write",
        re.compile(r"no space left|disk (is )?full|quota exceeded|ENOSPC", re.I),
    ),
    (
        "log.unreachable",
        "something it needs does not answer",
        re.compile(
            r"connection (refused|reset|timed out)|no route to host|name or service not known|unreachable"
            r"|could not connect|no servers available|temporary failure in name resolution",
            re.I,
        ),
    ),
    ("log.memory", "memory runs out", re.compile(r"out of memory|cannot allocate|MemoryError|bad_alloc", re.I)),
)


class Errors(Rule):
    """Counts error lines by container over a minute, and says which template they are."""

    name = "errors"

    def __init__(self) -> None:
        self._lines: dict[str, deque[tuple[datetime, LogLines]]] = {}
        #: Containers with an open incident, and when they last wrote an error.
        self._told: dict[str, datetime] = {}

    def observe(self, seen: Observation) -> Iterable[Finding]:
        """What a container wrote."""
        match seen:
            case LogSeen():
                errors = [each for each in seen.lines if each.level == "error"]
                if errors:
                    known = self._lines.setdefault(seen.name, deque(maxlen=500))
                    known.extend((seen.at, each) for each in errors)
                    yield from self._judge(seen.name, seen.at)
            case ContainerGone(name=name):
                self._lines.pop(name, None)
                if self._told.pop(name, None):
                    yield Recovery(at=seen.at, cause="log", component=f"container:{name}")
            case _:
                pass

    def tick(self, now: datetime) -> Iterable[Finding]:
        """Containers that are quiet again."""
        for name, latest in list(self._told.items()):
            if now - latest >= _QUIET:
                del self._told[name]
                self._lines.pop(name, None)
                yield Recovery(at=now, cause="log", component=f"container:{name}")

    def resume(self, cause: str, component: str, since: datetime) -> None:
        """A container that wrote errors."""
        if cause == "log":
            self._told[component.partition(":")[2]] = since

    def _judge(self, name: str, now: datetime) -> Iterator[Finding]:
        lines = self._lines[name]
        while lines and now - lines[0][0] > _WINDOW:
            lines.popleft()
        counts: dict[str, tuple[int, LogLines]] = {}
        for _, each in lines:
            counts[each.template] = counts.get(each.template, (0, each))[0] + each.count, each
        worst = sorted(counts.values(), key=lambda pair: -pair[0])
        kind, title, count = _verdict(worst)
        if name in self._told:
            self._told[name] = now
        if kind is None:
            return
        component, first = f"container:{name}", name not in self._told
        self._told[name] = now
        evidence = [line("log", component, f"{count} × {each.template}", now) for count, each in worst[:_SHOWN]]
        evidence += [line("log", component, each.last) for _, each in worst[:_SHOWN]]
        yield Trouble(
            at=now,
            cause="log",
            component=component,
            kind=kind,
            severity="warning",
            title=f"{name} writes {count} errors a minute: {title}",
            evidence=tuple(evidence) if first else (),
            again=first,
        )


def _verdict(worst: list[tuple[int, LogLines]]) -> tuple[str | None, str, int]:
    """Kind, meaning and number; no kind while there are too few."""
    total = sum(count for count, _ in worst)
    for kind, title, words in _CLASSES:
        count = sum(count for count, each in worst if words.search(each.template) or words.search(each.last))
        if count >= _CLEAR:
            return kind, title, count
    if total < _MANY:
        return None, "", total
    return "log.errors", "of more than one kind" if len(worst) > 1 else "all alike", total
