"""What containers use: memory beside its limit, and processor time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any, Final

import structlog

from ..engine import Engine
from ..errors import EngineUnavailable, NoSuchContainer
from ..observations import ContainerUsage
from . import Emit

log = structlog.get_logger(__name__)

#: Containers that are asked about at once: while one starts or ends, the engine takes a second to answer.
_PARALLEL: Final = 8
#: A limit this high is none.
_NONE: Final = 2**60


class UsageCollector:
    """Looks at the running ones.

    Args:
        names: names of the containers that matter; wildcards allowed.
        every: seconds between two looks.
    """

    name = "usage"

    def __init__(
        self,
        engine: Engine,
        names: tuple[str, ...] = ("*",),
        every: float = 10.0,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._engine, self._names, self._every, self._clock = engine, names, every, clock
        #: Processor seconds of each container, and when they were read.
        self._before: dict[str, tuple[float, datetime]] = {}

    async def run(self, emit: Emit) -> None:
        """Look again and again."""
        while True:
            running = [
                name
                for each in await self._engine.containers()
                if each.get("State") == "running"
                for name in [str((each.get("Names") or [""])[0]).lstrip("/")]
                if any(fnmatchcase(name, pattern) for pattern in self._names)
            ]
            self._before = {name: before for name, before in self._before.items() if name in running}
            turn = asyncio.Semaphore(_PARALLEL)
            await asyncio.gather(*(self._one(name, turn, emit) for name in running))
            await asyncio.sleep(self._every)

    async def _one(self, name: str, turn: asyncio.Semaphore, emit: Emit) -> None:
        try:
            async with turn:
                stats = await self._engine.stats(name)
        except NoSuchContainer:
            return
        except EngineUnavailable as error:  # of this one, since it is just being removed; the next look asks for all
            log.info("usage.unknown", container=name, reason=str(error))
            return
        now, cpu = self._clock(), stats.get("cpu_stats") or {}
        seconds = int((cpu.get("cpu_usage") or {}).get("total_usage") or 0) / 1e9
        before = self._before.get(name)
        self._before[name] = seconds, now
        passed = (now - before[1]).total_seconds() if before else 0.0
        memory, limit = used(stats.get("memory_stats") or {})
        if limit:
            cores = max(0.0, seconds - before[0]) / passed if before and passed > 0 else None
            await emit(ContainerUsage(at=now, name=name, memory=memory, memory_limit=limit, cores=cores))


def used(memory: Mapping[str, Any]) -> tuple[int, int]:
    """Bytes in use and their limit. What the kernel caches of files counts as free, as in ``docker stats``."""
    details = memory.get("stats") or {}
    cached = details.get("total_inactive_file", details.get("inactive_file", 0))
    limit = int(memory.get("limit") or 0)
    return max(0, int(memory.get("usage") or 0) - int(cached or 0)), 0 if limit >= _NONE else limit
