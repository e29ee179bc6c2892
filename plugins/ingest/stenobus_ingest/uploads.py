"""The HTTP door for signed uploads: a file comes in, is stored, and is published as ``media.uploaded``."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from stenobus_bus import Bus, BusError, Envelope, ledger
from stenobus_bus.cell import Cell
from stenobus_bus.envelope import derived_id
from stenobus_contracts import BlobRef, Media, MediaUploaded
from stenobus_core.blobs import Blobs

from .detect import detect
from .errors import Unreadable
from .formats import formats
from .grants import Denied, Grant, verified

log = structlog.get_logger(__name__)

_SOURCE: Final = "stenobus/ingest-upload"


def application(
    bus: Bus,
    blobs: Blobs,
    keys: Sequence[str],
    *,
    at_once: int = 16,
    seconds: float = 600,
    clock: Callable[[], float] = time.time,
) -> Starlette:
    """The door. ``PUT`` or ``POST`` the file's bytes to ``/v1/uploads/TOKEN``.

    Args:
        keys: that permissions may be signed with.
        at_once: uploads in hand; more are asked to come again.
        seconds: that one upload may take.
    """
    door = _Door(bus, blobs, keys, at_once, seconds, clock)
    return Starlette(
        routes=[
            Route("/v1/uploads/{token}", door.upload, methods=["PUT", "POST"]),
            Route("/healthz", _healthy, methods=["GET"]),
        ]
    )


async def listening(app: Starlette, host: str, port: int) -> None:
    """Serve until this task is cancelled; then let uploads in hand come to their end, and return."""

    class Server(uvicorn.Server):
        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield  # signals are the command's: it cancels this task

    # no access log: addresses are secrets
    config = uvicorn.Config(
        app, host=host, port=port, access_log=False, log_level="warning", lifespan="off", timeout_graceful_shutdown=20
    )
    server = Server(config)
    serving = asyncio.create_task(server.serve())
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        server.should_exit = True
        await serving


class _Door:
    def __init__(
        self,
        bus: Bus,
        blobs: Blobs,
        keys: Sequence[str],
        at_once: int,
        seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._bus, self._blobs, self._keys, self._clock = bus, blobs, tuple(keys), clock
        self._free, self._seconds = at_once, seconds

    async def upload(self, request: Request) -> Response:
        """Take one file."""
        if self._free <= 0:
            return _said(503, "Too many uploads at once; come again.", {"Retry-After": "5"})
        self._free -= 1
        try:
            async with asyncio.timeout(self._seconds):
                return await self._taken(request)
        except Denied as denied:
            # what is left of a body that nobody reads would be taken for the next request
            return _said(denied.status, str(denied), {"Connection": "close"})
        except TimeoutError:
            return _said(408, f"The upload took longer than {self._seconds:g} s.", {"Connection": "close"})
        except ClientDisconnect:
            return _said(400, "The upload broke off.")
        except BusError as error:
            log.warning("ingest.not_stored", error=str(error))
            return _said(503, "The file could not be stored; try again.", {"Retry-After": "5"})
        finally:
            self._free += 1

    async def _taken(self, request: Request) -> Response:
        permission = verified(request.path_params["token"], self._keys, self._clock())
        given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if given != permission.content_type:
            raise Denied(415, f"The address takes {permission.content_type}, not {given or 'an unnamed type'}.")
        length = request.headers.get("content-length", "")
        if length and (not length.isdecimal() or int(length) > permission.max_bytes):
            raise Denied(413, f"The address takes at most {permission.max_bytes} bytes.")
        with tempfile.TemporaryDirectory(prefix="stenobus-") as folder:
            path = Path(folder) / "upload"
            digest = await _written(request.stream(), path, permission.max_bytes)
            await asyncio.to_thread(_agrees, path, permission)
            if (used := await self._use(permission, digest)) == "other":
                raise Denied(409, "The address was used already; ask for a new one.")
            ref = await self._blobs.put(path, permission.content_type)
        envelope = await self._publish(permission, ref)
        answer = {"event_id": envelope.id, "run": envelope.run, "sha256": ref.sha256, "size": ref.size}
        return JSONResponse(answer, status_code=200 if used == "same" else 201)

    async def _use(self, permission: Grant, digest: str) -> str:
        """Use the permission up: ``first``; ``same`` when an attempt whose end nobody saw brought this; or ``other``.

        It is remembered longer than any permission lasts. The content goes with it, so that a client whose answer got
        lost may send the same once more, and nothing else.
        """

        def step(known: dict[str, Any]) -> tuple[dict[str, Any], str]:
            if not known:
                return {"sha256": digest}, "first"
            return known, "same" if known["sha256"] == digest else "other"

        # under the name of the handler, whose user may write there
        return await Cell(self._bus, f"ingest.upload-{permission.nonce}", ledger.BUCKET).change(step)

    async def _publish(self, permission: Grant, ref: BlobRef) -> Envelope:
        media = Media(
            uri=ref.uri,
            name=permission.name,
            content_type=permission.content_type,
            sha256=ref.sha256,
            size=ref.size,
        )
        event = MediaUploaded(media=media, kind=permission.kind, metadata=permission.metadata)
        envelope = Envelope.new(event, _SOURCE, id=derived_id("upload", permission.nonce))
        await self._bus.publish(event, envelope)
        return envelope


async def _written(stream: AsyncIterator[bytes], path: Path, most: int) -> str:
    """Write a body to a file, and return its SHA-256. Raises Denied when it is empty or too long."""
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as file:
        async for block in stream:
            size += len(block)
            if size > most:
                raise Denied(413, f"The address takes at most {most} bytes.")
            digest.update(block)
            await asyncio.to_thread(file.write, block)
    if size == 0:
        raise Denied(400, "The upload is empty.")
    return digest.hexdigest()


def _agrees(path: Path, permission: Grant) -> None:
    """See that a document is what its type says. Raises Denied."""
    known = formats()
    if any(permission.content_type in each.types for each in known.values()):
        try:
            detect(path, permission.name or "", permission.content_type, known)
        except Unreadable as error:
            raise Denied(415, f"The upload {error}") from error


async def _healthy(request: Request) -> Response:
    return JSONResponse({"status": "ok"})


def _said(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": message}, status_code=status, headers=headers)
