"""A plugin's host in a process of its own, which can be stopped in the middle and killed."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any

import structlog

from stenobus_bus import Bus, RetryPolicy
from stenobus_core import CoreSettings, Host, Plugin

from .watching import only


def reference(plugin: Plugin) -> str:
    """``module:name`` of a plugin, by which another process finds it.

    Raises:
        LookupError: no module has it under a name.
    """
    for module in {handler.function.__module__ for handler in plugin.handlers}:
        for name, value in vars(sys.modules[module]).items():
            if value is plugin:
                return f"{module}:{name}"
    raise LookupError(f"{plugin.name} is no module-level name of the module of its handlers")


class HostProcess:
    """A running host process."""

    def __init__(self, process: asyncio.subprocess.Process, errors: IO[bytes]) -> None:
        self._process, self._errors = process, errors

    async def ended(self) -> str:
        """Wait until it has ended; returns the last it wrote."""
        await self._process.wait()
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace").strip()[-2000:]

    def pause(self) -> None:
        """Stop it where it is; it does nothing at all until :meth:`go_on`."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    async def kill(self) -> None:
        """End it as a power cut would."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    async def stop(self) -> None:
        """Ask it to stop, and wait until it has."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        await self._process.wait()


@asynccontextmanager
async def host_process(plugin: Plugin, handler: str, settings: CoreSettings, root: Path) -> AsyncIterator[HostProcess]:
    """A process that runs one handler of a plugin, one event at a time; killed at the end if it still lives.

    Args:
        settings: of the host; the URL says where it connects to.
        root: folder below which test modules are imported.
    """
    order = {"plugin": reference(plugin), "handler": handler, "settings": settings.model_dump(mode="json")}
    path = [entry for entry in (*sys.path, str(root)) if entry]
    with tempfile.TemporaryFile() as errors:  # a pipe that nobody reads would fill up
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "from stenobus_testing.process import main; main()",
            json.dumps(order),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
            stdout=errors,
            stderr=errors,
        )
        try:
            yield HostProcess(process, errors)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def _run(order: dict[str, Any]) -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    patient = RetryPolicy(attempts=10, base=0.01)  # an attempt that ends with its process is one as well
    plugin = only(_load(order["plugin"]), order["handler"], concurrency=1, retry=patient)
    ack_wait = order["settings"].pop("ack_wait")  # tests are more impatient than the setting allows
    settings = CoreSettings(**order["settings"]).model_copy(update={"ack_wait": ack_wait})
    async with await Bus.connect(str(settings.nats_url), name=plugin.name) as bus:
        host = Host(settings, bus, [plugin])
        await host.start()
        if host.failed:
            raise RuntimeError(next(iter(host.failed.values())))
        await stopped.wait()
        await host.stop(grace=10)


def _load(where: str) -> Plugin:
    module, _, name = where.partition(":")
    plugin: Plugin = getattr(importlib.import_module(module), name)
    return plugin


def main() -> None:
    """Run the host that the command line describes, until SIGTERM."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    asyncio.run(_run(json.loads(sys.argv[1])))
