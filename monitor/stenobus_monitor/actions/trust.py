"""Whether a kind of action may still be automatic: what people said of earlier ones decides."""

from __future__ import annotations

from typing import Protocol


class Trust(Protocol):
    """Lowers levels, never raises them."""

    async def allows(self, kind: str, incident_kind: str) -> bool:
        """Whether actions of a kind may be automatic for a kind of incident; where not, people are asked.

        Raises:
            BusError: what it rests on does not answer.
        """
        ...
