"""PDF by LibreOffice, where it is installed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Final

#: Seconds a conversion may take, and bytes of a PDF.
_PATIENCE: Final = 180.0
_LARGEST: Final = 256 * 1024 * 1024
#: One conversion at a time in a process: each takes a core and a few hundred megabytes.
_ONE: Final = asyncio.Semaphore(1)
_FILTER: Final = 'pdf:writer_pdf_Export:{"UseTaggedPDF":{"type":"boolean","value":"true"}}'


class NoPdf(RuntimeError):
    """There is no PDF; the message says why."""


def program() -> str | None:
    """Path of LibreOffice, None where it is not installed."""
    return shutil.which("soffice") or shutil.which("libreoffice")


async def convert(docx: bytes) -> bytes:
    """The PDF of a DOCX.

    LibreOffice runs in a profile of its own, which is gone afterwards: no macro of a user, no other document.

    Raises:
        NoPdf: LibreOffice is not installed, failed or took too long.
    """
    found = program()
    if found is None:
        raise NoPdf("LibreOffice (soffice) is not installed")
    async with _ONE:
        with tempfile.TemporaryDirectory(prefix="stenobus-pdf-") as folder:
            source = Path(folder) / "document.docx"
            await asyncio.to_thread(source.write_bytes, docx)
            said = await _run(found, source)
            made = source.with_suffix(".pdf")
            if not made.is_file() or made.stat().st_size > _LARGEST:
                raise NoPdf(f"LibreOffice made no PDF ({said or 'it says nothing'})")
            return await asyncio.to_thread(made.read_bytes)


async def _run(found: str, source: Path) -> str:
    profile = (source.parent / "profile").as_uri()
    process = await asyncio.create_subprocess_exec(
        found, f"-env:UserInstallation={profile}", "--headless", "--norestore", "--nolockcheck", "--nodefault",
        "--convert-to", _FILTER, "--outdir", str(source.parent), str(source),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "HOME": str(source.parent)},
        start_new_session=True,
    )  # fmt: skip
    try:
        async with asyncio.timeout(_PATIENCE):
            said, _ = await process.communicate()
    except TimeoutError:
        raise NoPdf(f"LibreOffice took more than {_PATIENCE:.0f} s") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # soffice is a script around the program
        await process.wait()
    return " ".join(said.decode(errors="replace").split())[-200:]
