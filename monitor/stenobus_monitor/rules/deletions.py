"""Streams and consumers that somebody deleted: the server says so once, and what hung on them waits for ever."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from ..findings import Finding, Recovery, Trouble, line
from ..observations import Advised, HandlerSeen, Observation, StreamSeen
from . import Rule

#: A handler makes its consumer anew within seconds: only what stays away is trouble.
_BACK: Final = timedelta(seconds=12)
_DELETED: Final = {"stream_action.delete": "stream.deleted", "consumer_action.delete": "consumer.deleted"}


class Deletions(Rule):
    """Knows what was there, so that the comings and goings of people's own tools are no matter."""

    name = "deletions"

    def __init__(self) -> None:
        self._there: set[str] = set()
        #: Deleted, and not seen since: what the server said, and when.
        self._gone: dict[str, tuple[str, datetime]] = {}
        self._told: set[str] = set()

    def observe(self, seen: Observation) -> Iterable[Finding]:
        """What is there, and what the server says is gone."""
        match seen:
            case StreamSeen(stream=stream):
                yield from self._is_there(f"stream:{stream}", seen.at)
            case HandlerSeen(stream=stream, handler=handler):
                yield from self._is_there(f"consumer:{stream}/{handler}", seen.at)
            case Advised() if seen.kind in _DELETED:
                name = f"consumer:{seen.stream}/{seen.consumer}" if seen.consumer else f"stream:{seen.stream}"
                if name in self._there:
                    self._gone.setdefault(name, (seen.kind, seen.at))
            case _:
                pass

    def tick(self, now: datetime) -> Iterable[Finding]:
        """What did not come back."""
        for name, (said, at) in self._gone.items():
            if now - at >= _BACK and name not in self._told:
                self._told.add(name)
                kind, what = _DELETED[said], name.partition(":")[2]
                yield Trouble(
                    at=at,
                    cause="deleted",
                    component=name,
                    kind=kind,
                    severity="critical",
                    title=f"The {kind.partition('.')[0]} {what} was deleted and is not back",
                    evidence=(line("bus", name, f"the server says: {said}", at),),
                    symptom=False,
                )

    def resume(self, cause: str, component: str, since: datetime) -> None:
        """Something that was deleted and not back."""
        if cause == "deleted":
            self._told.add(component)
            self._gone[component] = "", since

    def _is_there(self, name: str, at: datetime) -> Iterable[Finding]:
        self._there.add(name)
        gone = self._gone.get(name)
        if gone is None or gone[1] >= at:
            return
        del self._gone[name]
        if name in self._told:
            self._told.discard(name)
            yield Recovery(at=at, cause="deleted", component=name)
