"""Those who look: each sees one kind of place, tells what it saw, and concludes nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from ..observations import Observation

Emit = Callable[[Observation], Awaitable[None]]


class Collector(Protocol):
    """One place to look at."""

    #: For logs, and for the incident that it is blind.
    name: str

    async def run(self, emit: Emit) -> None:
        """Look until cancelled. Whatever it raises is told, and it is started again after a while."""
        ...
