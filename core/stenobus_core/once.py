"""One job in one process, from the server to its end: what ``stenobus process`` and AWS Lambda do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from .errors import PluginError
from .follow import Outcome, check_chain, run_job
from .host import Host
from .job import Job
from .plugin import Plugin
from .runs import Step
from .services import Services
from .session import Session, connect
from .settings import CoreSettings
from .tracing import tracing

#: Seconds running handlers get when a job is broken off.
_HURRY = 1.0


@asynccontextmanager
async def processed(
    found: CoreSettings,
    plugins: Sequence[Plugin],
    job: Job,
    *,
    on_open: Callable[[Session], None] = lambda session: None,
    on_step: Callable[[Step], None] = lambda step: None,
) -> AsyncIterator[tuple[Outcome, Services]]:
    """Run a job's plugins, on the embedded server unless the settings name another, until the job is done.

    Whoever is cancelled leaves nothing running and loses nothing: the run goes on when its plugins run again.

    Args:
        on_open: called once when the server is there.
        on_step: called with every change of a step.

    Raises:
        JobError: the job failed, or nobody handles one of its events.
        PluginError: a plugin cannot start.
        BusError: the server is out of order.
    """
    handlers = [handler for plugin in plugins for handler in plugin.handlers]
    check_chain(handlers, type(job.event))
    since = datetime.now(UTC)
    async with connect(found) as session, tracing() as observe:
        on_open(session)
        host = Host(found, session.bus, plugins, observe=observe)
        await host.start()
        services = await Services.open(found, session.bus)
        try:
            if host.failed:
                raise PluginError(next(iter(host.failed.values())))
            if session.server is None:
                job = await job.uploaded(services)  # workers elsewhere cannot read this machine's files
            yield await run_job(job, services, handlers, on_step, since), services
        except asyncio.CancelledError:
            await host.stop(grace=_HURRY)
            raise
        finally:
            await host.stop()
            await services.close()
