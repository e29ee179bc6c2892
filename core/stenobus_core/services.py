"""What the host shares among all handlers: the bus, blobs, cache and runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from stenobus_bus import (
    BlobNotFound,
    Bus,
    HandlerError,
    PermanentError,
    advisories,
    budget,
    cell,
    dead_letters,
    ledger,
    schedules,
    shadow,
)
from stenobus_bus import answers as bus_answers
from stenobus_bus.budget import Budgets
from stenobus_bus.topology import Spec, domain, key_value, object_bucket
from stenobus_contracts import BlobRef, Media, registry

from . import cache as stage_cache
from . import facts as subject_facts
from . import remembered
from . import runs as run_store
from .blobs import Blobs
from .cache import StageCache
from .facts import Facts
from .run_stores import Copies, copies
from .runs import Runs, Step
from .settings import CoreSettings

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Services:
    """One process's connections."""

    settings: CoreSettings
    bus: Bus
    blobs: Blobs
    runs: Runs
    #: Where the run record is copied to, by name.
    copies: Mapping[str, Copies]
    facts: Facts
    budgets: Budgets
    cache: StageCache | None

    @classmethod
    async def open(cls, settings: CoreSettings, bus: Bus) -> Services:
        """Open the stores that the topology has declared.

        Raises:
            ServerUnavailable: a bucket is missing.
            PluginError: a blob or run store is set up wrongly.
        """
        blobs = Blobs(settings, bus)
        cache = await StageCache.open(bus, blobs) if settings.cache else None
        return cls(
            settings, bus, blobs, await Runs.open(bus), copies(settings), await Facts.open(bus), Budgets(bus), cache
        )

    async def close(self) -> None:
        """Close all stores; the bus is left open."""
        await self.blobs.close()
        for store in self.copies.values():
            await store.close()

    async def steps(self, run: str) -> list[Step]:
        """The steps of a run, from the copies when the bus does not know it any more, or never did.

        Raises:
            ServerUnavailable: the bus does not answer.
        """
        found = await self.runs.steps(run)
        for name, store in self.copies.items():
            if found:
                break
            try:
                found = await store.steps(run)
            except HandlerError as error:
                log.warning("runs.copy_unreadable", store=name, error=str(error))
        return found

    async def latest(self, limit: int) -> list[str]:
        """Names of the runs that began last, the newest first: those of the bus, then those that only copies know.

        Raises:
            ServerUnavailable: the bus does not answer.
        """
        found = await self.runs.latest(limit)
        for name, store in self.copies.items():
            try:
                found += [run for run in await store.latest(limit) if run not in found]
            except HandlerError as error:
                log.warning("runs.copy_unreadable", store=name, error=str(error))
        return found[:limit]

    @asynccontextmanager
    async def fetch(self, ref: BlobRef | Media) -> AsyncIterator[Path]:
        """A blob as a local file. Raises PermanentError when it is gone or differs."""
        try:
            async with self.blobs.fetch(ref) as path:
                yield path
        except BlobNotFound as error:
            raise PermanentError(f"{error}; store it again and publish the event anew.") from error


def topology(bucket: str, replicas: int = 1) -> list[Spec]:
    """Every stream and bucket that the known contracts and the host need.

    Args:
        bucket: the object bucket of blobs.
        replicas: servers of a cluster that hold a copy of each.
    """
    specs = [
        *(domain(name) for name in registry.domains()),
        domain(dead_letters.STREAM.lower()),
        advisories.stream(),
        shadow.stream(),
        key_value(ledger.BUCKET, ttl=ledger.TTL),
        key_value(bus_answers.BUCKET, ttl=bus_answers.TTL),
        key_value(cell.BUCKET),
        key_value(budget.BUCKET, ttl=budget.TTL),
        key_value(run_store.BUCKET, ttl=run_store.TTL),
        key_value(stage_cache.BUCKET, ttl=stage_cache.TTL),
        key_value(subject_facts.BUCKET),
        key_value(schedules.BUCKET),
        key_value(remembered.BUCKET),
        schedules.stream(),
        object_bucket(bucket),
    ]
    return [replace(spec, replicas=replicas) for spec in specs]
