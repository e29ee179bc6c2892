"""The plugin keeps every rule of the kit."""

from __future__ import annotations

from stenobus_contracts import DocReady, DocumentSource, KbDocument, KbListed, KbSync, Media
from stenobus_testing import Stage, conformance


async def ready(stage: Stage) -> DocReady:
    blob = await stage.put(b"# Talk\n\n## Cause\n\nThe disk was full.", "text/markdown")
    source = DocumentSource(title="Talk", media=Media(uri="file:///talk.wav"), transcript=blob)
    return DocReady(title="Talk", source=source, markdown=blob, docx=blob, transcript=blob, method="extractive")


async def sync(stage: Stage) -> KbSync:
    document = KbDocument(id="disk", title="Disk", content=await stage.put(b"# Disk\n\nFree it.", "text/markdown"))
    return KbSync(collection="handbook", upsert=(document,), delete=("old",))


async def listed(stage: Stage) -> KbListed:
    listing = await stage.put(b"disk\nmemory", "text/plain")
    return KbListed(collection="handbook", source="folder.handbook", listing=listing, count=2, complete=True)


TestKb = conformance("kb", examples=[ready, sync, listed])
