"""A process beside the containers: started, ready, ended."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final, TypeVar

from .errors import EvaluationError

T = TypeVar("T")

#: Seconds until something must be there, and between two looks.
PATIENCE: Final = 60.0
LOOK: Final = 0.1
#: Seconds that a process has to end by itself.
_END: Final = 15.0
#: Bytes of one line.
_LINE: Final = 4 * 1024 * 1024
#: Arguments of a Python process that is `stenobus`.
STENOBUS: Final = ("-c", "from stenobus_core.cli import main; main()")


class Process:
    """A Python process of this environment.

    Args:
        name: for people, at the beginning of a sentence.
        folder: it works there; whoever finds it there knows whose it is.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self._folder = name, folder
        self._process: asyncio.subprocess.Process | None = None
        self._reading: list[asyncio.Task[None]] = []
        self._last: deque[str] = deque(maxlen=5)

    @property
    def said(self) -> str:
        """Its last lines on standard error."""
        return "\n".join(self._last)

    async def start(
        self,
        *arguments: str,
        environment: Mapping[str, str],
        out: Callable[[str], None] = lambda line: None,
        err: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Start it; of this process's environment it has all but our settings.

        Args:
            out, err: are told every line of standard output, and of standard error.
        """
        keep = {name: value for name, value in os.environ.items() if not name.startswith("STENOBUS_")}
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            cwd=self._folder,
            env=keep | dict(environment),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=_LINE,
        )
        assert self._process.stdout is not None and self._process.stderr is not None

        def wrong(line: str) -> None:
            self._last.append(line)
            err(line)

        self._reading = [
            asyncio.create_task(_lines(self._process.stdout, out)),
            asyncio.create_task(_lines(self._process.stderr, wrong)),
        ]

    async def ready(self, is_ready: Callable[[], bool]) -> None:
        """Wait for it. Raises EvaluationError when it ends, or does not come up."""
        assert self._process is not None
        try:
            async with asyncio.timeout(PATIENCE):
                while not is_ready():
                    if self._process.returncode is not None:
                        raise EvaluationError(f"{self.name} ended with {self._process.returncode}: {self.said}")
                    await asyncio.sleep(LOOK)
        except TimeoutError as error:
            raise EvaluationError(f"{self.name} does not come up: {self.said}") from error

    async def ended(self) -> int:
        """Wait until it ends by itself. Returns its exit code. Raises EvaluationError when that takes too long."""
        assert self._process is not None
        try:
            code = await asyncio.wait_for(self._process.wait(), PATIENCE)
        except TimeoutError as error:
            raise EvaluationError(f"{self.name} does not end.") from error
        finally:
            await self.end()
        return code

    async def end(self) -> None:
        """End it, and read what it still said. Does nothing where it was never started."""
        if self._process is None:
            return
        if self._process.returncode is None:
            self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), _END)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        if self._reading:
            await asyncio.wait(self._reading, timeout=_END)


async def command(folder: Path, *arguments: str, environment: Mapping[str, str]) -> str:
    """Run `stenobus` with arguments to its end. Returns its standard output. Raises EvaluationError."""
    said: list[str] = []
    process = Process(f"stenobus {' '.join(arguments[:2])}", folder)
    await process.start(*STENOBUS, *arguments, environment=environment, out=said.append)
    if code := await process.ended():
        raise EvaluationError(f"`stenobus {' '.join(arguments)}` ended with {code}: {process.said}")
    return "\n".join(said)


async def to_its_end(work: Callable[[], T]) -> T:
    """Do blocking work in a thread, and wait for its end even when cancelled: what it makes has to be removed."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # nobody asks for it any more
        raise


async def all_to_their_ends(works: list[Awaitable[None]]) -> None:
    """Wait for all of them, also when one fails or when cancelled; then raise the first error."""
    for found in await asyncio.gather(*works, return_exceptions=True):
        if isinstance(found, BaseException):
            raise found


async def _lines(stream: asyncio.StreamReader, take: Callable[[str], None]) -> None:
    while line := await stream.readline():
        take(line.decode(errors="replace").rstrip())
