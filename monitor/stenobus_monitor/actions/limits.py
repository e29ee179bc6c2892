"""Raise the limits of a container, memory together with swap, and start it if it died for want of memory."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import ClassVar, Final

from pydantic import BaseModel, JsonValue

from stenobus_contracts import Action

from ..containers import Container
from ..engine import Engine
from ..errors import ActionFailed, ActionRefused, NoSuchContainer
from . import Outlook
from .hands import Hands
from .restart import Link, Restart

_MIB: Final = 1024 * 1024
_SIGKILLED: Final = 137


class Allotment(BaseModel):
    """Bytes of memory, of memory and swap together, and billionths of a processor; 0 leaves one as it is."""

    memory: int = 0
    swap: int = 0
    processors: int = 0


class Before(BaseModel):
    """What a container had, and what it is to have."""

    at: datetime
    link: Link
    had: Allotment
    wanted: Allotment
    #: It has ended, and nobody else brings it back.
    start: bool = False


class Limits:
    """The remedy. Its parameters ``memory`` and ``processors`` are factors of what the container has.

    Args:
        hands: None where nothing may be done to containers: then it can only look.
        restart: starts a container that has ended.
        most: bytes of memory beyond which no limit is raised.
    """

    kind: ClassVar[str] = "limits"
    undoable: ClassVar[bool] = True

    def __init__(self, engine: Engine, hands: Hands | None, restart: Restart, most: int) -> None:
        self._engine, self._hands, self._restart, self._most = engine, hands, restart, most

    async def look(self, action: Action) -> Outlook:
        """What it has now, and what it would get."""
        try:
            container = await self._engine.inspect(action.target)
        except NoSuchContainer:
            return Outlook(f"would raise the limits of {action.target}", (f"there is no container {action.target}",))
        had, obstacles = _of(container), []
        wanted = Allotment()
        if (times := _factor(action.parameters.get("memory"))) is not None:
            memory = int(had.memory * times) // _MIB * _MIB
            # Swap keeps its room beside memory.
            wanted = wanted.model_copy(update={"memory": memory, "swap": memory + max(0, had.swap - had.memory)})
            if not had.memory or had.swap < had.memory:
                obstacles.append("its memory has no limit, or its swap none, to which it could be put back")
            elif not had.memory < memory <= self._most:
                obstacles.append(f"its limit would be {memory // _MIB} MiB, of {self._most // _MIB} MiB at most")
        if (times := _factor(action.parameters.get("processors"))) is not None:
            wanted = wanted.model_copy(update={"processors": int(had.processors * times)})
            if not had.processors:
                obstacles.append("its processors have no limit to which they could be put back")
        if wanted == Allotment():
            obstacles.append("nothing would change")
        ended = container.status == "exited"
        if ended and not await self._starved(container):
            obstacles.append("it ended for another reason than memory")
        elif container.status not in {"running", "restarting", "exited"}:
            obstacles.append(f"it is {container.status}")
        link = Link(name=container.name, id=container.id, started=container.started, restart=ended)
        before = Before(at=datetime.now(UTC), link=link, had=had, wanted=wanted, start=ended)
        return Outlook(
            dry_run=f"would change the limits of {container.name} from {_said(had, wanted)} to {_said(wanted, wanted)}"
            + (", and start it" if ended else ""),
            obstacles=tuple(obstacles),
            before=before.model_dump(mode="json"),
            restarts=(container.name,) if ended else (),
        )

    async def _starved(self, container: Container) -> bool:
        """Whether one that ended was killed for want of memory. Where the engine hears of that a little later than of
        the end, its event says so, and no flag.
        """
        if container.exit_code != _SIGKILLED or container.oom_killed:
            return container.exit_code == _SIGKILLED
        now = datetime.now(UTC)
        began = container.started or now
        return bool(await self._engine.history(container.id, ["oom"], began.timestamp(), now.timestamp()))

    async def act(self, action: Action, before: JsonValue) -> str:
        """Set the limits, which holds at once; then start it."""
        known = Before.model_validate(before)
        await self._set(known, known.wanted, action.action_id)
        if known.start:
            await self._restart.bring_back(known.link, action.action_id, known.at)
        return f"{known.link.name} has {_said(known.wanted, known.wanted)}" + (
            ", and was started" if known.start else ""
        )

    async def verify(self, action: Action, before: JsonValue) -> str:
        """The limits are in force, and the container is well."""
        known = Before.model_validate(before)
        if not _holds(known.wanted, _of(await self._same(known.link))):
            raise ActionFailed(f"The limits of {known.link.name} are not what they were set to.")
        return await self._restart.well(known.link)

    async def undo(self, action: Action, before: JsonValue) -> str:
        """Set the limits that it had. The engine refuses less memory than is in use."""
        known = Before.model_validate(before)
        had = Allotment.model_validate(
            {name: getattr(known.had, name) if value else 0 for name, value in known.wanted.model_dump().items()}
        )
        await self._set(known, had, f"{action.action_id}-undo")
        return f"{known.link.name} has {_said(had, had)} again"

    async def _set(self, known: Before, limits: Allotment, action_id: str) -> None:
        container = await self._same(known.link)
        if _holds(limits, _of(container)):
            return
        if self._hands is None:
            raise ActionRefused("There is no executor; STENOBUS_MONITOR_EXECUTOR names its socket.")
        call = {"Memory": limits.memory, "MemorySwap": limits.swap, "NanoCpus": limits.processors}
        await self._hands.limit(container.id, action_id, call)

    async def _same(self, link: Link) -> Container:
        try:
            return await self._engine.inspect(link.id)
        except NoSuchContainer:
            raise ActionFailed(f"{link.name} was removed.") from None


def _of(container: Container) -> Allotment:
    return Allotment(memory=container.memory_limit, swap=container.memory_swap, processors=container.nano_cpus)


def _holds(wanted: Allotment, has: Allotment) -> bool:
    return all(not value or getattr(has, name) == value for name, value in wanted)


def _factor(value: JsonValue) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _said(limits: Allotment, of: Allotment) -> str:
    """The limits that another allotment names."""
    memory = f"{limits.memory // _MIB} MiB of memory" if of.memory else ""
    processors = f"{limits.processors / 1e9:g} processors" if of.processors else ""
    return " and ".join(part for part in (memory, processors) if part) or "nothing"
