"""A plugin that dies of some contents, for real."""

from __future__ import annotations

import os
from typing import Any

from stenobus_contracts import BlobRef, MediaUploaded
from stenobus_core import Context, Plugin

plugin = Plugin("acme-read", summary="Reads")


@plugin.handler(concurrency=1)
async def read(event: MediaUploaded, ctx: Context[Any, None]) -> None:
    """Read the content, or die of it."""
    assert event.media.sha256 is not None and event.media.size is not None
    content = await ctx.read(BlobRef(uri=event.media.uri, sha256=event.media.sha256, size=event.media.size))
    await ctx.progress(0.5, "reading")
    if content.startswith(b"poison") and os.environ.get("ACME_DIES"):
        os._exit(9)
