"""From a ``kb.sync`` to what a sink has to change, and from what it did to a ``kb.synced``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any, Final

from pydantic import ValidationError

from stenobus_bus.errors import first_fault
from stenobus_contracts import KbDocument, KbSync, KbSynced
from stenobus_core import Context, PermanentError

from .port import Change, Document, Outcome, Sink

#: Longest text of one document.
MAX_TEXT_BYTES: Final = 16 * 1024 * 1024
#: Longest list of documents beside the event.
MAX_LIST_BYTES: Final = 256 * 1024 * 1024
MAX_DOCUMENTS: Final = 200_000
#: Sentences that ``kb.synced`` carries, and characters of each.
_TOLD: Final = 20
_SENTENCE: Final = 500


async def synchronise(event: KbSync, ctx: Context[Any, Any], sink: Sink) -> KbSynced:
    """Bring a sink's collection up to date.

    Documents that cannot be taken do not stop the others: what became of all of them is published first.

    Raises:
        PermanentError: some documents are not in the sink; the message says why. Whoever retries the dead letter
            retries those alone, since the others are unchanged by then.
    """
    documents, problems = await _documents(event, ctx)
    wanted = {document.id: _readable(document, sink, ctx) for document in documents}
    removed = [name for name in dict.fromkeys(event.delete) if name not in wanted]  # an id in both lists stays
    marks = await sink.known(event.collection, [*wanted, *removed])
    newer = {name for name, mark in marks.items() if mark.order > ctx.stored}
    change = Change(
        event.collection,
        ctx.stored,
        hashlib.sha256(f"{ctx.source}\n{ctx.event_id}\n{ctx.replay or ''}".encode()).hexdigest(),
        tuple(
            document
            for document in wanted.values()
            if document.id not in newer and (document.id not in marks or marks[document.id].digest != document.digest)
        ),
        tuple(name for name in removed if name not in newer and (name not in marks or marks[name].digest is not None)),
    )
    outcome = Outcome()
    if ctx.shadow:  # what is only tried out must not be found by people
        change = Change(change.collection, change.order, change.token)
    if change.upsert or change.delete:
        outcome = await sink.apply(change, ctx.progress)
    problems.extend(outcome.problems.values())
    held = {name for name, mark in marks.items() if mark.digest is not None}
    taken = [d.id for d in change.upsert if d.id not in outcome.problems and d.id not in outcome.superseded]
    gone = [name for name in change.delete if name not in outcome.problems and name not in outcome.superseded]
    synced = KbSynced(
        collection=event.collection,
        sink=sink.name,
        added=sum(name not in held for name in taken),
        updated=sum(name in held for name in taken),
        unchanged=len(wanted) - len(taken) - len(outcome.problems.keys() & wanted.keys()),
        deleted=sum(name in held for name in gone),
        chunks=await sink.size(event.collection),
        source=event.source,
        dataset=event.dataset,
        failed=len(problems),
        problems=tuple(problem[:_SENTENCE] for problem in problems[:_TOLD]),
    )
    if problems:
        await ctx.publish(synced)
        some = " ".join(problem[:_SENTENCE] for problem in problems[:3])
        raise PermanentError(
            f"{len(problems)} of {len(wanted) + len(removed) + len(problems) - len(outcome.problems)} documents are "
            f"not in {sink.name}: {some}"
        )
    return synced


async def _documents(event: KbSync, ctx: Context[Any, Any]) -> tuple[list[KbDocument], list[str]]:
    """The documents of the event and of its list, the last of each id, and what is wrong with lines of the list."""
    found = {document.id: document for document in event.upsert}
    problems: list[str] = []
    if event.documents is not None:
        content = await ctx.read(event.documents, limit=MAX_LIST_BYTES)
        for number, line in enumerate(_lines(content), start=1):
            if number > MAX_DOCUMENTS:
                raise PermanentError(
                    f"{event.documents.uri} lists more than {MAX_DOCUMENTS} documents: publish several kb.sync."
                )
            if not line.strip():
                continue
            try:
                document = KbDocument.model_validate_json(line)
            except ValidationError as error:
                fault = first_fault(error, "the line")
                problems.append(f"Line {number} of {event.documents.uri} is no document: {fault}.")
            else:
                found[document.id] = document
    return list(found.values()), problems


def _lines(content: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(content):
        end = content.find(b"\n", start)
        end = len(content) if end < 0 else end
        yield content[start:end]
        start = end + 1


def _readable(document: KbDocument, sink: Sink, ctx: Context[Any, Any]) -> Document:
    async def text() -> str:
        content = await ctx.read(document.content, limit=MAX_TEXT_BYTES)
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise PermanentError(
                f"{document.content.uri} is no UTF-8 text: {sink.name} takes Markdown and plain text."
            ) from error

    return Document(
        document.id, document.title, document.uri, document.metadata, document.principals, _digest(document, sink), text
    )


def _digest(document: KbDocument, sink: Sink) -> str:
    """What a document's place in a sink follows from; where the text lies does not count."""
    parts = [
        sink.version,
        document.title,
        document.uri,
        document.metadata,
        sorted(document.principals),
        document.content.sha256,
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
