"""W3C Trace Context: every run is one trace, and every event says which span published it."""

from __future__ import annotations

import hashlib
import re
from contextvars import ContextVar
from typing import Final, NamedTuple

_FORM: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")

#: The traceparent of the work at hand, when somebody records it: what a handler publishes meanwhile follows from it.
working: Final[ContextVar[str | None]] = ContextVar("working", default=None)


class Trace(NamedTuple):
    """Where an event belongs."""

    #: 32 hexadecimal digits.
    id: str
    #: The span that published the event, 16 hexadecimal digits; empty when nobody recorded one.
    span: str
    sampled: bool = True


def trace_of(run: str, event_id: str, traceparent: str | None) -> Trace:
    """The trace of an event: its producer's, else one that follows from its run."""
    found = _FORM.fullmatch(traceparent or "")
    if found is None:
        return Trace(_digest(run, 32), "")
    span = "" if found[2] == _digest(event_id, 16) else found[2]
    return Trace(found[1], span, sampled=bool(int(found[3], 16) & 1))


def placeholder(run: str, event_id: str, cause: str | None = None) -> str:
    """What an event carries when nobody records its publishing: a span of its own in the trace of its cause."""
    found = _FORM.fullmatch(cause or "")
    trace, flags = (found[1], found[3]) if found else (_digest(run, 32), "01")
    return f"00-{trace}-{_digest(event_id, 16)}-{flags}"


def _digest(text: str, digits: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:digits]
