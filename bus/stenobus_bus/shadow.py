"""Shadows: where the outputs of a handler go that only tries something, so that nothing behind it works on them.

An event whose header ``stenobus-shadow`` names a shadow diverts every output of its handler to
``shadow.<name>.<subject>``. What the handler asks of others (a language model) is asked and answered as always.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Final

from .connection import Bus
from .history import Remembered, read
from .topology import StreamSpec, domain

DOMAIN: Final = "shadow"
STREAM: Final = DOMAIN.upper()
#: Seconds an output can be compared.
TTL: Final = 7 * 86_400.0
#: Most outputs kept, of all shadows together; the oldest go first.
_MOST: Final = 1_000_000


def stream() -> StreamSpec:
    """The stream of all shadows. Unlike a domain's, it drops the oldest when it is full: nobody waits for a trial."""
    spec = domain(DOMAIN)
    limits = {"max_age": int(TTL * 1e9), "max_msgs": _MOST, "discard": "old"}
    return replace(spec, initial={**spec.initial, **limits, "description": "Outputs of trials, see docs/replay.md"})


async def outputs(bus: Bus, name: str, *, run: str | None = None) -> AsyncIterator[Remembered]:
    """What a shadow holds, oldest first, under the subjects it would have had.

    Raises:
        ServerUnavailable: the stream does not answer.
    """
    prefix = f"{DOMAIN}.{name}."
    async for message in read(bus, STREAM, f"{prefix}>", run=run):
        yield replace(message, subject=message.subject.removeprefix(prefix))
