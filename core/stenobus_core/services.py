"""What the host shares among all handlers: the bus, blobs, cache and runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from stenobus_bus import BlobNotFound, Bus, PermanentError, advisories, cell, dead_letters, ledger, schedules, shadow
from stenobus_bus import answers as bus_answers
from stenobus_bus.topology import Spec, domain, key_value, object_bucket
from stenobus_contracts import BlobRef, Media, registry

from . import cache as stage_cache
from . import facts as subject_facts
from . import runs as run_store
from .blobs import Blobs
from .cache import StageCache
from .facts import Facts
from .runs import Runs
from .settings import CoreSettings


@dataclass(frozen=True, slots=True)
class Services:
    """One process's connections."""

    settings: CoreSettings
    bus: Bus
    blobs: Blobs
    runs: Runs
    facts: Facts
    cache: StageCache | None

    @classmethod
    async def open(cls, settings: CoreSettings, bus: Bus) -> Services:
        """Open the stores that the topology has declared.

        Raises:
            ServerUnavailable: a bucket is missing.
        """
        blobs = Blobs(settings, bus)
        cache = await StageCache.open(bus, blobs) if settings.cache else None
        return cls(settings, bus, blobs, await Runs.open(bus), await Facts.open(bus), cache)

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
        key_value(run_store.BUCKET, ttl=run_store.TTL),
        key_value(stage_cache.BUCKET, ttl=stage_cache.TTL),
        key_value(subject_facts.BUCKET),
        key_value(schedules.BUCKET),
        schedules.stream(),
        object_bucket(bucket),
    ]
    return [replace(spec, replicas=replicas) for spec in specs]
