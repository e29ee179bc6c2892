"""Events that nobody could handle: rising rates, and those that ended their process or were never settled."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from ..findings import Finding, Recovery, Trouble, line
from ..observations import LetterSeen, LettersRising, Observation
from . import Rule

#: An event that ended its process is news for this long after its dead letter.
_NEWS: Final = timedelta(minutes=10)
#: That letters are left by trouble that is over is known for this long: somebody retries them, or does not want to.
_KNOWN: Final = timedelta(hours=1)
#: Reasons that another attempt can overcome.
_HELPABLE: Final = frozenset({"exhausted", "undelivered"})


class Letters(Rule):
    """Dead letters by handler: the bus counts them and says when there are too many."""

    name = "letters"

    def __init__(self) -> None:
        #: Latest errors by handler.
        self._latest: dict[str, LetterSeen] = {}
        #: When an event last ended its process, by handler.
        self._crashed: dict[str, datetime] = {}
        #: Letters that another attempt could help, by handler; and since when it is told that they are left.
        self._helpable: dict[str, int] = {}
        self._left: dict[str, datetime] = {}

    def observe(self, seen: Observation) -> Iterable[Finding]:
        """Letters, and the bus's own alerts."""
        match seen:
            case LetterSeen():
                self._latest[seen.handler] = seen
                if seen.reason in _HELPABLE:
                    self._helpable[seen.handler] = self._helpable.get(seen.handler, 0) + 1
                if seen.reason in {"crashed", "undelivered"}:
                    yield self._lost(seen)
            case LettersRising():
                yield self._rate(seen)
                if seen.resolved and (count := self._helpable.pop(seen.handler, 0)):
                    self._left[seen.handler] = seen.at
                    yield _left_behind(seen, count)
            case _:
                pass

    def tick(self, now: datetime) -> Iterable[Finding]:
        """What is no news any more."""
        for handler, at in list(self._crashed.items()):
            if now - at >= _NEWS:
                del self._crashed[handler]
                yield Recovery(at=now, cause="lost", component=f"handler:{handler}")
        for handler, at in list(self._left.items()):
            if now - at >= _KNOWN:
                del self._left[handler]
                yield Recovery(at=now, cause="left", component=f"handler:{handler}")

    def resume(self, cause: str, component: str, since: datetime) -> None:
        """A handler that had lost an event."""
        if cause == "lost":
            self._crashed[component.partition(":")[2]] = since
        elif cause == "left":
            self._left[component.partition(":")[2]] = since

    def _rate(self, seen: LettersRising) -> Finding:
        component = f"handler:{seen.handler}"
        if seen.resolved:
            return Recovery(at=seen.at, cause="letters", component=component)
        evidence = [line("bus", component, f"{seen.count} dead letters, {seen.previous} in the window before", seen.at)]
        if latest := self._latest.get(seen.handler):
            evidence.append(line("bus", component, f"{latest.reason} after {latest.attempts} attempts: {latest.error}"))
            evidence.append(line("log", component, latest.message))
        return Trouble(
            at=seen.at,
            cause="letters",
            component=component,
            kind="handler.dead_letters",
            severity="critical" if seen.reason in {"crashed", "undelivered"} else "warning",
            title=f"{seen.handler} cannot handle {seen.count} events ({seen.reason})",
            evidence=tuple(evidence),
        )

    def _lost(self, seen: LetterSeen) -> Trouble:
        component = f"handler:{seen.handler}"
        self._crashed[seen.handler] = seen.at
        what = "ended its process again and again" if seen.reason == "crashed" else "was never settled"
        return Trouble(
            at=seen.at,
            cause="lost",
            component=component,
            kind=f"event.{seen.reason}",
            severity="critical",
            title=f"An event of {seen.handler} {what}",
            evidence=(
                line("bus", component, f"event {seen.event_id} of run {seen.run}: {seen.attempts} attempts", seen.at),
                line("log", component, seen.message, seen.at),
            ),
            symptom=seen.reason != "crashed",  # what ends its worker is no consequence of the worker's end
        )


def _left_behind(seen: LettersRising, count: int) -> Trouble:
    component = f"handler:{seen.handler}"
    text = f"{count} dead letters of events whose every attempt failed, while it could not handle them"
    return Trouble(
        at=seen.at,
        cause="left",
        component=component,
        kind="handler.letters_left",
        severity="info",
        title=f"{seen.handler} does well again, and {count} dead letters are left",
        evidence=(line("bus", component, text, seen.at),),
        symptom=False,
    )
