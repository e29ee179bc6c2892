"""The plugin keeps every rule of the kit."""

from __future__ import annotations

from stenobus_contracts import Media, MediaUploaded, StoreNotified
from stenobus_ingest import plugin
from stenobus_testing import Stage, conformance

from .conftest import html


async def page(stage: Stage) -> MediaUploaded:
    ref = await stage.put(html(), "text/html")
    return MediaUploaded(media=Media(uri=ref.uri, content_type="text/html"))


def told() -> StoreNotified:
    """A recording appeared in a bucket whose store tells no version: every notification counts, as the rules expect."""
    record = {
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": "docs"}, "object": {"key": "talk.wav"}},
    }
    return StoreNotified.model_validate({"Records": [record]})


TestIngest = conformance(plugin, examples=[page, told()])
