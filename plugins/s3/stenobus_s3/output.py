"""Finished documents under names of their own: ``s3://OUTPUT_BUCKET/<execution_id>/document.md`` and so on."""

from __future__ import annotations

import json
import mimetypes
import tempfile
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import quote

from pydantic import AliasChoices, Field, field_validator

from stenobus_contracts import BlobRef, DocReady
from stenobus_core import Check, Context, Plugin, PluginSettings
from stenobus_core.response import response

from .settings import Settings as StoreSettings
from .settings import folder

#: What the parts of a document are called; others after their field and media type.
_NAMES: Final = {"markdown": "document.md", "docx": "document.docx", "html": "document.html", "pdf": "document.pdf"}


class Target(Protocol):
    """Where named files can be stored."""

    async def write(self, path: Path, uri: str, content_type: str) -> None:
        """Store a file at an address, in place of what is there."""
        ...


class Settings(PluginSettings):
    """``STENOBUS_S3_OUTPUT_*``. Timeouts and attempts are those of ``STENOBUS_S3_*``, credentials boto3's own."""

    bucket: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$",
        validation_alias=AliasChoices("bucket", "STENOBUS_S3_OUTPUT_BUCKET", "OUTPUT_BUCKET"),
        description="bucket that finished documents are put into; off when absent",
    )
    prefix: str = Field(default="", description="folder in that bucket; empty for its root")

    @field_validator("bucket", mode="before")
    @classmethod
    def _unset(cls, value: object) -> object:
        return value or None  # Compose files pass variables that nobody set as empty ones

    @field_validator("prefix")
    @classmethod
    def _is_a_folder(cls, prefix: str) -> str:
        return folder(prefix)


plugin = Plugin("s3-output", summary="Puts finished documents into OUTPUT_BUCKET", settings=Settings)


@plugin.enabled
def enabled(settings: Settings) -> bool:
    """Somebody named a bucket."""
    return settings.bucket is not None


@plugin.doctor
def doctor(settings: Settings) -> list[Check]:
    """Where documents go. Whether they may is seen when the first one does: a look would take further rights."""
    return [Check("bucket", settings.bucket is not None, f"s3://{settings.bucket}/{settings.prefix}")]


@plugin.lifespan
async def opened(settings: Settings) -> AsyncIterator[Target]:
    """The way to the bucket."""
    from .store import S3Store  # boto3 takes a third of a second to import

    store = S3Store(StoreSettings.load("s3"))
    try:
        yield store
    finally:
        await store.close()


# result.json comes last: whoever waits for it finds the others there. Run twice, the same objects are written again.
@plugin.handler(name="s3-output", concurrency=2, timeout=600, delivers=True)
async def output(event: DocReady, ctx: Context[Settings, Target]) -> None:
    """Put a document's parts and the classic result under its execution id."""
    if ctx.shadow:
        return
    execution_id = str(event.source.metadata.get("execution_id") or ctx.run)
    place = f"s3://{ctx.settings.bucket}/{ctx.settings.prefix}{segment(execution_id)}"
    uris: dict[str, str] = {}
    for kind, ref in parts(event):
        uris[kind] = f"{place}/{name(kind, ref.content_type)}"
        async with ctx.fetch(ref) as path:
            await ctx.state.write(path, uris[kind], ref.content_type or "application/octet-stream")
    steps = await ctx.steps()
    began = min((step.stored or step.started for step in steps), default=datetime.now(UTC))
    uris["result"] = f"{place}/result.json"
    result = response(
        event,
        execution_id=execution_id,
        run=ctx.run,
        steps=steps,
        seconds=(datetime.now(UTC) - began).total_seconds(),
        uris=uris,
    )
    await _write_json(ctx.state, result, uris["result"])
    ctx.note(outputs=dict(uris))


async def _write_json(store: Target, content: dict[str, Any], uri: str) -> None:
    with tempfile.TemporaryDirectory(prefix="stenobus-") as place:
        path = Path(place) / "result.json"
        path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        await store.write(path, uri, "application/json")


def parts(event: DocReady) -> Iterator[tuple[str, BlobRef]]:
    """The stored parts of a document, by kind: Markdown, DOCX, transcript, and whatever else the contract gains."""
    for kind in type(event).model_fields:
        part = getattr(event, kind)
        if isinstance(part, BlobRef):
            yield kind, part


def name(kind: str, content_type: str | None) -> str:
    """The file name of a part: ``document.docx``, ``transcript.json``."""
    media_type = (content_type or "").partition(";")[0].strip()
    return _NAMES.get(kind) or f"{kind}{mimetypes.guess_extension(media_type) or ''}"


def segment(execution_id: str) -> str:
    """An execution id as one folder name: itself where it can be, else percent-encoded."""
    return quote(execution_id, safe="") if execution_id.strip(".") else quote(execution_id).replace(".", "%2E")
