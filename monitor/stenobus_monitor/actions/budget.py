"""How often containers may be restarted: few times each, few times all together, ever later; then people decide.

One record for all, changed by compare-and-set: no two processes spend the same, and a
monitor that starts anew forgets nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from pydantic import BaseModel, Field

from stenobus_bus.cell import Cell

T = TypeVar("T")

#: Restarts of one container within the window, and of all together.
EACH: Final = 3
ALL: Final = 6
WINDOW: Final = timedelta(minutes=10)
#: How long a container has to be well before its restarts are forgotten.
WELL: Final = timedelta(minutes=10)
#: Seconds before a container's first restart since it was well for so long, before its second, and so on.
DELAYS: Final = (0.0, 5.0, 30.0, 120.0)
#: Restarts that are remembered.
_MOST: Final = 200


class Restarted(BaseModel):
    """One restart, from the moment it is allowed."""

    action: str
    name: str
    at: datetime
    #: How far the handlers in the container were, by name.
    floors: dict[str, int] = Field(default_factory=dict)


class Book(BaseModel):
    """The record."""

    restarts: tuple[Restarted, ...] = ()
    #: Containers whose restarts do not help, and since when.
    open: dict[str, datetime] = Field(default_factory=dict)
    #: What is being worked on, and by which action.
    busy: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Granted:
    """It may be done, not before a time."""

    due: datetime


@dataclass(frozen=True, slots=True)
class Occupied:
    """Another action is at work on the same target."""

    action_id: str


@dataclass(frozen=True, slots=True)
class Spent:
    """It must not be done; says why."""

    reason: str


class Budget:
    """The restarts that are left.

    Args:
        cell: the record. Every method raises ServerUnavailable when it does not answer.
    """

    def __init__(self, cell: Cell) -> None:
        self._cell = cell

    async def take(
        self,
        action_id: str,
        target: str,
        names: Sequence[str],
        now: datetime,
        *,
        well: Collection[str] = (),
        floors: Mapping[str, Mapping[str, int]] | None = None,
    ) -> Granted | Occupied | Spent:
        """Take what an action needs; what it took before it keeps.

        Args:
            target: what it works on, alone.
            names: containers that it restarts.
            well: those of them that have been well for :data:`WELL`: their restarts are forgotten.
            floors: how far their handlers are.
        """

        def take(book: Book) -> tuple[Book, Granted | Occupied | Spent]:
            if (other := book.busy.get(target, action_id)) != action_id:
                return book, Occupied(other)
            if own := [each.at for each in book.restarts if each.action == action_id]:
                return book, Granted(max(own))
            kept = [each for each in book.restarts if each.name not in well]
            opened = {name: at for name, at in book.open.items() if name not in well}
            recent = [each for each in kept if now - each.at < WINDOW]
            for name in names:
                if name in opened or sum(each.name == name for each in recent) >= EACH:
                    opened.setdefault(name, now)
                    return _book(book, kept, opened), Spent(
                        f"{EACH} restarts within ten minutes have not helped {name}: people have to look at it, and "
                        f"what it had in hand may have to be quarantined; since {opened[name]:%Y-%m-%d %H:%M:%S} UTC"
                    )
            if names and len(recent) + len(names) > ALL:
                return _book(book, kept, opened), Spent(f"{ALL} restarts within ten minutes are the most there may be")
            earlier = max((sum(each.name == name for each in kept) for name in names), default=0)
            due = now + timedelta(seconds=DELAYS[min(earlier, len(DELAYS) - 1)])
            new = [
                Restarted(action=action_id, name=name, at=due, floors=dict((floors or {}).get(name, {})))
                for name in names
            ]
            busy = {**book.busy, target: action_id}
            return Book(restarts=tuple([*kept, *new][-_MOST:]), open=opened, busy=busy), Granted(due)

        return await self._change(take)

    async def release(self, action_id: str, *, unused: bool = False) -> None:
        """An action is over; what it did not use is given back."""

        def release(book: Book) -> tuple[Book, None]:
            busy = {target: holder for target, holder in book.busy.items() if holder != action_id}
            restarts = tuple(each for each in book.restarts if not unused or each.action != action_id)
            return Book(restarts=restarts, open=book.open, busy=busy), None

        await self._change(release)

    async def book(self) -> Book:
        """The record as it is."""
        return Book.model_validate(await self._cell.read())

    async def _change(self, step: Callable[[Book], tuple[Book, T]]) -> T:
        def change(value: dict[str, Any]) -> tuple[dict[str, Any], T]:
            new, result = step(Book.model_validate(value))
            return new.model_dump(mode="json"), result

        return await self._cell.change(change)


def _book(book: Book, restarts: Sequence[Restarted], opened: dict[str, datetime]) -> Book:
    return Book(restarts=tuple(restarts), open=opened, busy=book.busy)
