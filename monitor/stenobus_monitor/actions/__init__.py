"""Remedies: one kind of action each. A remedy looks, acts, verifies, takes back; whether it may is not its business."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

from pydantic import JsonValue

from stenobus_contracts import Action


@dataclass(frozen=True, slots=True)
class Outlook:
    """What an action would do now, by a look at everything but logs."""

    #: In one sentence, for people.
    dry_run: str
    #: Why it must not be done now; empty when nothing speaks against it.
    obstacles: tuple[str, ...] = ()
    #: How things are before it: what verifying and undoing need to know. Kept before anything is done.
    before: JsonValue = None
    #: Containers that it would restart, by name: each restart is counted.
    restarts: tuple[str, ...] = ()


class Remedy(Protocol):
    """One kind of action. Every method may be called again after a crash, with the same ``before``."""

    #: As in :attr:`stenobus_contracts.Action.kind`; never changes.
    kind: ClassVar[str]
    #: Whether :meth:`undo` can take it back.
    undoable: ClassVar[bool]

    async def look(self, action: Action) -> Outlook:
        """What it would do now, and whether it can. Changes nothing; an obstacle is no error.

        Raises:
            MonitorError, BusError: what has to be looked at does not answer.
        """
        ...

    async def act(self, action: Action, before: JsonValue) -> str:
        """Do it; what an earlier call did already is not done again. Returns what was done, in one sentence.

        Raises:
            ActionFailed: it cannot be done.
            MonitorError, BusError: what it takes does not answer.
        """
        ...

    async def verify(self, action: Action, before: JsonValue) -> str:
        """Wait until it has helped, within the remedy's own time. Returns what proves it, in one sentence.

        Raises:
            ActionFailed: it did not help, and why that is known.
        """
        ...

    async def undo(self, action: Action, before: JsonValue) -> str:
        """Put things back as they were; what was put back already stays. Returns what was done.

        Raises:
            ActionFailed: it cannot be taken back.
        """
        ...
