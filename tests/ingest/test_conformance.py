"""The plugin keeps every rule of the kit."""

from __future__ import annotations

from stenobus_contracts import Media, MediaUploaded
from stenobus_ingest import plugin
from stenobus_testing import Stage, conformance

from .conftest import html


async def page(stage: Stage) -> MediaUploaded:
    ref = await stage.put(html(), "text/html")
    return MediaUploaded(media=Media(uri=ref.uri, content_type="text/html"))


TestIngest = conformance(plugin, examples=[page])
