"""Content that is not what an event says it is."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from ..findings import Finding, Recovery, Trouble, line
from ..observations import BlobChecked, Observation
from . import Rule


class Contents(Rule):
    """A hash that differs is proof by itself: one look is enough."""

    name = "contents"

    def __init__(self) -> None:
        self._bad: set[str] = set()

    def observe(self, seen: Observation) -> Iterable[Finding]:
        """One comparison."""
        if not isinstance(seen, BlobChecked):
            return
        component = f"blob:{seen.uri}"[:300]
        if seen.trouble is not None:
            self._bad.add(seen.uri)
            yield Trouble(
                at=seen.at,
                cause="content",
                component=component,
                kind="blob.missing" if seen.gone else "blob.mismatch",
                severity="critical",
                title=f"Content of run {seen.run} is {'gone' if seen.gone else f'not what {seen.subject} says'}",
                evidence=(line("blob", component, seen.trouble, seen.at),),
                symptom=False,
            )
        elif seen.uri in self._bad:
            self._bad.discard(seen.uri)
            yield Recovery(at=seen.at, cause="content", component=component)

    def resume(self, cause: str, component: str, since: datetime) -> None:
        """Content that was damaged."""
        if cause == "content":
            self._bad.add(component.removeprefix("blob:"))
