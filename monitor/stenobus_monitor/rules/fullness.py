"""Streams and disks that fill up: a full one makes every publisher wait."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final

from stenobus_contracts import Severity

from ..findings import Finding, Recovery, Trouble, line
from ..observations import DiskSeen, Observation, StreamSeen
from . import Rule

#: Parts in use from which on it is trouble, is critical, and is none any more.
_HIGH, _FULL, _LOW = 0.85, 0.97, 0.80
#: Bytes free below which a disk is full, however large it is: the bus refuses to write some time before the end.
_ROOM: Final = 64 * 2**20


class Fullness(Rule):
    """How much of a limit is used, with a gap between trouble and its end, so that neither flutters."""

    name = "fullness"

    def __init__(self) -> None:
        self._told: set[str] = set()

    def observe(self, seen: Observation) -> Iterable[Finding]:
        """Streams by their own limits, disks by their size."""
        match seen:
            case StreamSeen():
                used = max(_part(seen.messages, seen.max_messages), _part(seen.bytes, seen.max_bytes))
                text = f"{seen.messages} messages of {seen.max_messages or 'any number'}, {seen.bytes} bytes of "
                text += str(seen.max_bytes or "any number")
                yield from self._judge(seen, f"stream:{seen.stream}", f"The stream {seen.stream}", used, text)
            case DiskSeen():
                used = 1.0 if seen.free < _ROOM else 1 - _part(seen.free, seen.total)
                text = f"{seen.free // 2**20} MiB of {seen.total // 2**20} MiB are free at {seen.path}"
                yield from self._judge(seen, f"disk:{seen.path}", f"The disk at {seen.path}", used, text)
            case _:
                pass

    def resume(self, cause: str, component: str, since: datetime) -> None:
        """What was full."""
        if cause == "full":
            self._told.add(component)

    def _judge(self, seen: Observation, component: str, what: str, used: float, text: str) -> Iterator[Finding]:
        kind = component.partition(":")[0]
        if used >= _HIGH:
            severity: Severity = "critical" if used >= _FULL else "warning"
            yield Trouble(
                at=seen.at,
                cause="full",
                component=component,
                kind=f"{kind}.full",
                severity=severity,
                title=f"{what} is {'full' if used >= _FULL else 'nearly full'}",
                evidence=(line("metric", component, text, seen.at),) if component not in self._told else (),
                again=component not in self._told,
                symptom=False,
            )
            self._told.add(component)
        elif component in self._told and used < _LOW:
            self._told.discard(component)
            yield Recovery(
                at=seen.at, cause="full", component=component, evidence=(line("metric", component, text, seen.at),)
            )


def _part(used: int, limit: int) -> float:
    return used / limit if limit else 0.0
