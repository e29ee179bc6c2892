"""Containers: events as they happen, and every container once in a while, since events can be missed."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any, Final

import structlog

from stenobus_executor.passing import known_labels

from ..containers import Container
from ..engine import Engine
from ..errors import EngineUnavailable, NoSuchContainer
from ..observations import (
    ContainerDied,
    ContainerGone,
    ContainerHealth,
    ContainerOutOfMemory,
    ContainerSeen,
    ContainerSignalled,
    ContainerStarted,
    Observation,
)
from . import Emit

log = structlog.get_logger(__name__)

#: Events the engine sends at all. Health checks alone make three ``exec`` events each, which would push all others
#: out of its memory of 256.
_EVENTS: Final = ["start", "die", "oom", "kill", "destroy", "health_status", "pause", "unpause"]
#: Events of networks, which name the container that they are about.
_CONNECTIONS: Final = ["connect", "disconnect"]
#: Events that are remembered, to know those that a replay brings again.
_REMEMBERED: Final = 512
#: Lines of a log that are kept of a container that died.
_LAST_LINES: Final = 50
#: Seconds between tries to reach the engine: the first, and the most.
_SOON, _LATEST = 0.2, 10.0


class EngineCollector:
    """Looks at one engine's containers.

    Args:
        names: names of the containers that matter; wildcards allowed.
        every: seconds between two looks at all of them.
        since: time of the last event that was handled before, in seconds since the epoch.
    """

    name = "engine"

    def __init__(
        self,
        engine: Engine,
        names: tuple[str, ...] = ("*",),
        every: float = 30.0,
        since: float | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._engine, self._names, self._every, self._clock = engine, names, every, clock
        #: Time of the last event, in seconds since the epoch; where to go on.
        self.since = since
        self._seen: OrderedDict[tuple[str, str, int], None] = OrderedDict()
        self._known: dict[str, Container] = {}

    async def run(self, emit: Emit) -> None:
        """Follow the events and look at everything once in a while."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow(emit))
            group.create_task(self._patrol(emit))

    async def reconcile(self, emit: Emit) -> None:
        """Tell of every container as it is now. Raises EngineUnavailable."""
        found: dict[str, Container] = {}
        for listed in await self._engine.containers():
            name = str((listed.get("Names") or [""])[0]).lstrip("/")
            if not self._watches(name):
                continue
            try:
                found[name] = await self._engine.inspect(listed["Id"])
            except NoSuchContainer:
                continue  # it went while we looked
        for name in self._known.keys() - found.keys():
            await emit(ContainerGone(at=self._clock(), name=name))
        self._known = found
        for container in found.values():
            await emit(ContainerSeen(at=self._clock(), container=container))

    async def _patrol(self, emit: Emit) -> None:
        while True:
            await self.reconcile(emit)
            await asyncio.sleep(self._every)

    async def _follow(self, emit: Emit) -> None:
        """Events, after a break those of the time in between as well."""
        if self.since is None:
            self.since = self._clock().timestamp()
        pause = _SOON
        while True:
            try:
                filters = {"type": ["container", "network"], "event": [*_EVENTS, *_CONNECTIONS]}
                async for event in self._engine.events(filters, self.since):
                    pause = _SOON
                    await self._event(event, emit)
            except EngineUnavailable as trouble:
                # The patrol fails too when the engine is gone, and says so; a broken stream alone is no trouble.
                log.info("engine.events_lost", reason=str(trouble), again_in=pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LATEST)

    async def _event(self, event: dict[str, Any], emit: Emit) -> None:
        actor = event.get("Actor") or {}
        attributes = {str(key): str(value) for key, value in (actor.get("Attributes") or {}).items()}
        action, nanos = str(event.get("Action", "")), int(event.get("timeNano") or 0)
        if event.get("Type") == "network":
            await self._moved(attributes.get("container", ""), emit)
            return
        name = attributes.get("name", "")
        key = (str(actor.get("ID", "")), action, nanos)
        if not self._watches(name) or key in self._seen:
            return
        self._seen[key] = None
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        seen = await self._observation(name, key[0], action, attributes, datetime.fromtimestamp(nanos / 1e9, UTC))
        if seen is not None:
            await emit(seen)
        self.since = max(self.since or 0.0, nanos / 1e9)

    async def _observation(
        self, name: str, id: str, action: str, attributes: dict[str, str], at: datetime
    ) -> Observation | None:
        if action == "kill":
            return ContainerSignalled(at=at, name=name, signal=attributes.get("signal", ""))
        if action == "oom":
            return ContainerOutOfMemory(at=at, name=name)
        if action == "destroy":
            self._known.pop(name, None)
            return ContainerGone(at=at, name=name)
        container = self._known[name] = await self._look(name, id, attributes)
        if action == "die":
            code = attributes.get("exitCode", "")
            exit_code = int(code) if code.isdecimal() else container.exit_code
            return ContainerDied(at=at, container=container, exit_code=exit_code, log=await self._last_lines(container))
        if action == "start":
            return ContainerStarted(at=at, container=container)
        # "health_status: unhealthy", "pause" or "unpause". No look at everything: that one would tell of deaths whose
        # event is on its way.
        return ContainerHealth(at=at, container=container)

    async def _moved(self, id: str, emit: Emit) -> None:
        """A container came to a network or left one; at its end it leaves all of them."""
        try:
            container = await self._engine.inspect(id)
        except NoSuchContainer:
            return
        if container.running and self._watches(container.name):
            await emit(ContainerHealth(at=self._clock(), container=container))

    async def _look(self, name: str, id: str, attributes: dict[str, str]) -> Container:
        """The container, or what is left of it when it was removed at its end."""
        try:
            return await self._engine.inspect(id)
        except NoSuchContainer:
            known = self._known.get(name)
            return known or Container(id=id, name=name, status="removing", labels=known_labels(attributes))

    async def _last_lines(self, container: Container) -> tuple[str, ...]:
        try:
            return tuple(await self._engine.logs(container.id, tail=_LAST_LINES, tty=container.tty))
        except NoSuchContainer:
            return ()

    def _watches(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self._names)
