"""Worker processes: they keep the event loop free, can be killed in the middle of a job, and never outlive us.

pocketsphinx holds the interpreter's lock for as long as it decodes, and no engine can be stopped from a thread.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from multiprocessing.connection import Connection, wait
from typing import Any, Final, TypeVar

from .errors import AsrError, WorkerError

T = TypeVar("T")

#: Jobs after which a worker is replaced: native engines leak over days.
RECYCLE: Final = 500


class Workers:
    """A bounded set of processes, started when they are needed.

    Args:
        size: jobs at once.
        stall: seconds a job may take for its next item.
    """

    def __init__(self, size: int, stall: float) -> None:
        self.size = size
        self._stall = stall
        self._slots = asyncio.Semaphore(size)
        self._idle: list[_Worker] = []
        self._busy: set[_Worker] = set()
        # one thread per worker waits for what its process says
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="asr-worker")

    async def run(self, job: Callable[..., Iterator[T]], *args: Any) -> AsyncGenerator[T, None]:
        """What ``job(*args)``, a generator function, yields in a worker process.

        Close the iterator (``contextlib.aclosing``) to stop early; the process is then killed, as it is on
        cancellation.

        Raises:
            AsrError: as the job raised it.
            WorkerError: the job raised something else, stalled, or its process died.
        """
        async with self._slots:
            worker = await self._free()
            self._busy.add(worker)
            try:
                async with aclosing(worker.run(job, args, self._stall)) as items:
                    async for item in items:
                        yield item
            finally:
                self._busy.discard(worker)
                if worker.reusable:
                    self._idle.append(worker)
                else:
                    await worker.kill()

    async def _free(self) -> _Worker:
        """A process that waits for a job; those that died while they waited are forgotten."""
        while self._idle:
            worker = self._idle.pop()
            if worker.reusable:
                return worker
            await worker.kill()
        return _Worker(self._threads)

    async def close(self) -> None:
        """End every process."""
        workers = [*self._idle, *self._busy]
        self._idle.clear()
        await asyncio.gather(*(worker.kill() for worker in workers))
        self._threads.shutdown(wait=True)


class _Worker:
    """One process and the pipe to it."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self._threads = threads
        # a fresh interpreter: a fork would inherit the locks of our threads as they happen to be
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), name="stenobus-asr", daemon=True)
        self._process.start()
        theirs.close()
        self._jobs = 0
        self._between_jobs = True
        self._exchange: asyncio.Future[Any] | None = None

    @property
    def reusable(self) -> bool:
        """It waits for the next job and is not worn out."""
        return self._between_jobs and self._jobs < RECYCLE and self._process.is_alive()

    async def run(
        self, job: Callable[..., Iterator[T]], args: tuple[Any, ...], stall: float
    ) -> AsyncGenerator[T, None]:
        loop = asyncio.get_running_loop()
        self._jobs += 1
        self._between_jobs = False
        try:
            await self._piped(stall, self._pipe.send, (job, args))
            while True:
                kind, value = await self._piped(stall, self._pipe.recv)
                if kind == "item":
                    yield value
                    continue
                self._between_jobs = True
                if kind == "failed":
                    raise value
                return
        except TimeoutError as error:
            raise WorkerError(f"A speech worker gave no sign of life for {stall:.0f} s and was stopped.") from error
        except (EOFError, OSError) as error:
            await loop.run_in_executor(self._threads, self._process.join, 1.0)
            code = self._process.exitcode
            how = f"signal {signal.Signals(-code).name}" if code and code < 0 else f"exit code {code}"
            raise WorkerError(f"A speech worker died ({how}); if this repeats, it may lack memory.") from error

    async def kill(self) -> None:
        """End the process, whatever it is doing."""
        self._process.kill()
        if self._exchange is not None:  # the pipe is closed only when no thread uses it
            await asyncio.gather(self._exchange, return_exceptions=True)
        self._pipe.close()
        await asyncio.to_thread(self._process.join)
        self._process.close()

    async def _piped(self, stall: float, operation: Callable[..., Any], *args: Any) -> Any:
        """Use the pipe from a thread. The thread goes on when we are cancelled, so :meth:`kill` waits for it."""
        self._exchange = asyncio.get_running_loop().run_in_executor(self._threads, operation, *args)
        return await asyncio.wait_for(asyncio.shield(self._exchange), stall)


def _serve(pipe: Connection) -> None:
    """A worker's life: jobs until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    threading.Thread(target=_die_with_parent, daemon=True).start()
    while True:
        try:
            job, args = pipe.recv()
        except EOFError:
            return
        try:
            for item in job(*args):
                pipe.send(("item", item))
        except AsrError as error:
            pipe.send(("failed", error))
        except Exception as error:
            failure = WorkerError(f"A speech worker failed: {type(error).__name__}: {error}")
            failure.add_note(traceback.format_exc())
            pipe.send(("failed", failure))
        else:
            pipe.send(("done", None))


def _die_with_parent() -> None:
    """A parent that was killed cannot end us, so we watch it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
