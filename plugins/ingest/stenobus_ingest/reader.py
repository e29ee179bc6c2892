"""Reads a document in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from .errors import Unreadable
from .extracted import Bounds

#: What the process finds in its environment: no secret, and one thread for libraries that take one per core.
_ENVIRONMENT: Final = {
    "LANG": "C.UTF-8",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "PATH": os.defpath,
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "0",
}
#: Wall-clock seconds per second of computing that are allowed: the machine may be busy.
_PATIENCE: Final = 4
#: Bytes of what the process complained of that are looked at.
_COMPLAINT: Final = 4096


class Reading(BaseModel):
    """What a document says."""

    model_config = ConfigDict(frozen=True)

    format: str
    #: The settings leave this format to others.
    left: bool = False
    markdown: str = ""
    title: str | None = None
    author: str | None = None
    created: str | None = None
    modified: str | None = None
    pages: int | None = None
    language: str | None = None
    warnings: tuple[str, ...] = ()


class Overdue(Exception):
    """The process had no time to finish: the machine may be overloaded."""


class Reader:
    """Reads documents, each in a process that ends with it.

    Args:
        bounds: on a document.
        memory: bytes of address space of the process.
        seconds: of computing.
        formats: names of the formats to read; all when empty.
    """

    def __init__(self, bounds: Bounds, memory: int, seconds: int, formats: Sequence[str] = ()) -> None:
        self._bounds, self._memory, self._seconds, self._formats = bounds, memory, seconds, tuple(formats)

    async def read(self, path: Path, name: str, content_type: str | None) -> Reading:
        """What a document says.

        Args:
            path: a file that nobody changes meanwhile.
            name: what it is called; its end tells the format.
            content_type: its media type, if somebody knows.

        Raises:
            Unreadable: it can never be read within the bounds.
            Overdue: it was not read in time.
        """
        order = {
            "path": str(path),
            "name": name,
            "content_type": content_type,
            "formats": self._formats,
            "bounds": asdict(self._bounds),
            "memory": self._memory,
            "seconds": self._seconds,
            "patience": self._seconds * _PATIENCE + 60,
        }
        # files, not pipes: a killed process leaves no pipe behind that somebody waits for
        with tempfile.TemporaryDirectory(prefix="stenobus-") as folder:
            order_file, answer, complaint = (Path(folder) / name for name in ("order", "answer", "complaint"))
            order_file.write_text(json.dumps(order))
            with order_file.open("rb") as stdin, answer.open("wb") as stdout, complaint.open("wb") as stderr:
                code = await self._run(Path(folder), stdin, stdout, stderr)
            out = await asyncio.to_thread(answer.read_bytes)
            with complaint.open("rb") as file:
                file.seek(max(0, complaint.stat().st_size - _COMPLAINT))
                return self._answer(code, out, file.read())

    async def _run(self, folder: Path, stdin: BinaryIO, stdout: BinaryIO, stderr: BinaryIO) -> int:
        """The exit code of the process. Raises Overdue."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "stenobus_ingest.worker",
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=folder,
            env={**_ENVIRONMENT, "PYTHONPATH": os.pathsep.join(part for part in sys.path if part)},
        )
        try:
            async with asyncio.timeout(self._seconds * _PATIENCE):
                return await process.wait()
        except TimeoutError:
            raise Overdue(f"was not read within {self._seconds * _PATIENCE} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    def _answer(self, code: int, out: bytes, complaint: bytes) -> Reading:
        if code == -signal.SIGXCPU or (code == -signal.SIGKILL and not out):
            raise Unreadable("too_large", f"takes more than {self._seconds} s of computing or too much memory.")
        last = complaint.decode(errors="replace").strip().rpartition("\n")[2][:300]
        if code != 0 or not out:
            if "MemoryError" in last or "std::bad_alloc" in last:
                raise Unreadable("too_large", f"takes more than {self._memory} bytes; raise max_memory_bytes.")
            how = signal.Signals(-code).name if code < 0 else last or f"exit code {code}"
            raise Unreadable("crashed", f"breaks its reader ({how}); save it anew, or in another format.")
        try:
            answer = json.loads(out)
            if "reason" in answer:
                raise Unreadable(answer["reason"], answer["message"])
            return Reading.model_validate(answer)
        except (ValueError, ValidationError) as error:
            raise Unreadable("crashed", f"was read into something that is no text ({error}).") from error
