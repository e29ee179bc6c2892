"""Carrying out a kb.sync: step by step beside what is found, then all at once in its place."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict

from stenobus_contracts import KbDocument, KbSync, KbSynced
from stenobus_core import Context, PermanentError, RetryableError

from .chunk import chunks
from .errors import EmbedderRefused, EmbedderUnavailable, StagingLost
from .incoming import batches
from .index import Index
from .library import Library
from .order import Changes, Order
from .prepared import Prepared
from .settings import Settings

SINK = "local"
#: Longest text of one document.
MAX_TEXT_BYTES = 16 * 1024 * 1024
#: Failed documents that an answer names.
MAX_PROBLEMS = 100


async def synchronised(event: KbSync, ctx: Context[Settings, Library]) -> KbSynced:
    """Bring a collection up to date.

    Readers see none of it before they see all of it. What a broken-off attempt had staged is not done again. An id both
    wanted and unwanted stays.

    Raises:
        PermanentError: some documents cannot be indexed; all others are, and the answer is published nevertheless.
        RetryableError: the embedder does not answer, or what was staged has been removed by another process.
    """
    try:
        return await _synchronised(event, ctx)
    except (EmbedderUnavailable, StagingLost) as error:
        raise RetryableError(str(error)) from error
    except EmbedderRefused as error:
        raise PermanentError(str(error)) from error


async def _synchronised(event: KbSync, ctx: Context[Settings, Library]) -> KbSynced:
    order = Order(
        ctx.event_id if ctx.replay is None else f"{ctx.event_id}:{ctx.replay}",
        event.collection,
        event.source,
        event.dataset,
        ctx.stored,
    )
    index = ctx.state.index
    if (done := await asyncio.to_thread(index.outcome, order)) is not None:
        return await _synced(index, event, done)
    problems: list[str] = []
    seen: set[str] = set()
    staged: set[str] = set()
    settled: set[str] = set()
    async for documents, fraction in batches(event, ctx, problems):
        seen.update(document.id for document in documents)
        if not ctx.shadow:  # what is only tried out must not be found by people
            compared = await asyncio.to_thread(index.compare, order, documents)
            settled = (settled - {document.id for document in documents}) | compared.settled
            staged = (staged - compared.settled) | compared.staged
            staged |= await _stage(order, compared.outdated, ctx, problems)
        await ctx.progress(fraction, f"{len(seen)} documents compared, {len(staged)} new versions")
    delete = [] if ctx.shadow else [name for name in dict.fromkeys(event.delete) if name not in seen]
    changes = await asyncio.to_thread(
        ctx.state.flip, order, len(staged), delete, unchanged=len(settled), complete=not problems
    )
    if not ctx.shadow:
        await asyncio.to_thread(index.heard, order)
    synced = await _synced(index, event, changes, problems)
    if problems:
        await ctx.publish(synced)
        some = " ".join(problems[:3])
        raise PermanentError(f"{len(problems)} of {len(staged) + len(problems)} documents are not indexed: {some}")
    return synced


async def _stage(
    order: Order, documents: list[KbDocument], ctx: Context[Settings, Library], problems: list[str]
) -> set[str]:
    """Read, cut and write new versions. Returns the ids of those that could be."""
    found = await asyncio.gather(*(_prepared(document, ctx) for document in documents), return_exceptions=True)
    prepared: list[Prepared] = []
    for each in found:
        if isinstance(each, Prepared):
            prepared.append(each)
        elif isinstance(each, PermanentError):  # the other documents are not to blame
            problems.append(str(each))
        else:
            raise each
    if prepared:
        await asyncio.to_thread(ctx.state.stage, order, prepared)
    return {each.document.id for each in prepared}


async def _prepared(document: KbDocument, ctx: Context[Settings, Library]) -> Prepared:
    content = await ctx.read(document.content, limit=MAX_TEXT_BYTES)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PermanentError(
            f"{document.content.uri} is no UTF-8 text: the index takes Markdown and plain text."
        ) from error
    return Prepared(document, await asyncio.to_thread(chunks, text, document.title))


async def _synced(index: Index, event: KbSync, changes: Changes, problems: Sequence[str] = ()) -> KbSynced:
    return KbSynced(
        collection=event.collection,
        sink=SINK,
        chunks=await asyncio.to_thread(index.size, event.collection),
        source=event.source,
        dataset=event.dataset,
        failed=len(problems),
        problems=tuple(problems[:MAX_PROBLEMS]),
        **asdict(changes),
    )
