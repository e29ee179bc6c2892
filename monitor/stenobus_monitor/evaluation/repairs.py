"""Containers of one case that ended and came back: when, and by which action."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

from nats.errors import Error as NatsError

from stenobus_bus import BusError

from ..actions.course import Course, Stage
from ..containers import moment
from ..store import Store
from .errors import EvaluationError, engine_error
from .outcome import Repaired
from .world import World


class Repairs:
    """Looks at some services' containers, of which each counts once."""

    def __init__(self, world: World) -> None:
        self._world = world
        wanted = world.case.expected
        kind, _, named = wanted.component.partition(":")
        known = {service.name for service in world.case.services} | {"nats"}
        self._services = {*wanted.recovers, *({named} if kind == "container" else ())} & known
        #: When each ended first since the steps began, and what is known of those that came back.
        self._died: dict[str, float] = {}
        self._found: dict[str, Repaired] = {}

    async def look(self, begin: float) -> None:
        """Look again, for what happened since a time."""
        back = await asyncio.to_thread(self._look_at_containers, begin)
        for service in back:
            grace = self._world.containers.grace(service)
            self._found[service] = Repaired(service=service, died=self._died[service], up=back[service], grace=grace)
        with suppress(BusError, NatsError, TimeoutError, OSError):  # a bus that is down: next time
            if any(each.action is None for each in self._found.values()):
                await self._attribute()

    @property
    def found(self) -> tuple[Repaired, ...]:
        """Those that came back, in the order in which they did."""
        return tuple(sorted(self._found.values(), key=lambda each: each.up))

    def first(self, component: str) -> float | None:
        """When the first container ended that is such a component, wildcards allowed; None while none has."""
        return min((at for name, at in self._died.items() if fnmatchcase(f"container:{name}", component)), default=None)

    def _look_at_containers(self, begin: float) -> dict[str, float]:
        """Those that came back since the last look, and when."""
        back = {}
        for service in self._services - self._found.keys():
            with suppress(engine_error(), EvaluationError):  # removed, or not started yet
                state = self._world.containers.state(service)
                ended = _seconds(moment(state.get("FinishedAt")))
                if ended is not None and ended >= begin:
                    self._died.setdefault(service, ended)
                up = _up(state)
                if service in self._died and up is not None and up > self._died[service]:
                    back[service] = up
        return back

    async def _attribute(self) -> None:
        """By which action they came back: the one that says that it restarts them."""
        store = await Store.open(self._world.bus)
        for course in await store.courses():
            for place, name in enumerate(course.restarts):
                known = self._found.get(self._world.plain(name))
                asked = _when(course, "started")
                if known is None or known.action is not None or asked is None or known.up < asked:
                    continue
                self._found[known.service] = known.model_copy(
                    update={
                        "action": course.action.action_id,
                        "decided": _when(course, "approved") or _when(course, "automatic"),
                        "asked": asked,
                        "follows": place > 0,
                    }
                )


def _up(state: dict[str, Any]) -> float | None:
    """Since when a container runs and is well, None while it is not."""
    if not state.get("Running"):
        return None
    started = _seconds(moment(state.get("StartedAt")))
    health = state.get("Health") or {}
    if health.get("Status", "none") == "none":
        return started
    if health["Status"] != "healthy":
        return None
    well = [_seconds(moment(check["End"])) for check in health.get("Log") or () if check["ExitCode"] == 0]
    return min((each for each in well if each is not None), default=started)


def _seconds(at: datetime | None) -> float | None:
    return at.timestamp() if at is not None else None


def _when(course: Course, stage: Stage) -> float | None:
    return next((step.at.timestamp() for step in course.trail if step.stage == stage), None)
