"""A command's way onto the bus: the configured server, or the embedded one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from stenobus_bus import Access, Bus, EmbeddedServer
from stenobus_bus.access import redacted

from .settings import CoreSettings


@dataclass(frozen=True, slots=True)
class Session:
    """An open connection and how it came to be."""

    settings: CoreSettings
    bus: Bus
    #: Where the server is, for people: without credentials.
    url: str
    #: None when the server is somebody else's.
    server: EmbeddedServer | None


@asynccontextmanager
async def connect(settings: CoreSettings, name: str = "stenobus") -> AsyncIterator[Session]:
    """Connect to ``nats_url``, or to the embedded server, which is started when it does not run.

    Raises:
        ServerUnavailable: neither answers.
    """
    server = None if settings.nats_url else EmbeddedServer(settings.data_dir / "nats", settings.nats_port)
    url = await server.start() if server else settings.nats_url or ""
    access = Access() if server else settings.access  # the embedded server is ours, and asks for nothing
    keeping = asyncio.create_task(server.keep()) if server else None
    try:
        async with await Bus.connect(
            url, name=name, bucket=settings.bucket, access=access, limits=settings.limits
        ) as bus:
            yield Session(settings, bus, redacted(url), server)
    finally:
        if server and keeping:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            await server.stop()
