"""The sink: one document of the cluster for each document, replaced whole, and never by an older one."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from opensearchpy import exceptions

from stenobus_core import PermanentError, RetryableError

from ...embeddings import Embeddings
from ...passages import VERSION, passages
from ...port import Change, Document, Mark, Outcome, Progress
from ...secrets import secret
from .cluster import connected, explained, patiently, told
from .indexes import FOUND, Indexes
from .query import Hit, search
from .settings import Settings

#: Ids of one look.
_IDS: Final = 1_000
#: Statuses of single documents that may be better next time.
_BUSY: Final = {408, 429, 500, 502, 503, 504}


class OpenSearchSink:
    """A cluster. A document's version there is the order of the event that brought it, so that the cluster itself
    refuses an older one; one that was removed leaves a mark that searches leave out."""

    name = "opensearch"
    version = f"1.{VERSION}"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client = connected(settings)
        self._embeddings = _embeddings(settings)
        self._indexes = Indexes(self._client, settings, self._copy)

    async def known(self, collection: str, ids: Sequence[str]) -> Mapping[str, Mark]:
        """Digest and version of documents, as they were last written."""
        marks: dict[str, Mark] = {}
        if not ids or not await self._indexes.exists(collection):
            return marks
        alias = self._indexes.alias(collection)
        for start in range(0, len(ids), _IDS):
            names = {_id(name): name for name in ids[start : start + _IDS]}
            for found in await asyncio.to_thread(self._look, alias, list(names)):
                if found.get("found"):
                    marks[names[found["_id"]]] = Mark(found["_source"].get("digest"), found["_version"])
        return marks

    async def apply(self, change: Change, progress: Progress) -> Outcome:
        """Write documents in bulk, and return once searches find them."""
        alias, outcome = await self._indexes.ensure(change.collection), Outcome()
        batch: list[tuple[str, int, dict[str, Any]]] = []
        size, done, total = 0, 0, len(change.upsert) + len(change.delete)
        for name in change.delete:
            batch.append((name, change.order, {"document": name, "deleted": True}))
        for document in change.upsert:
            try:
                source = await self._source(document)
            except PermanentError as error:  # the other documents are not to blame
                outcome.problems[document.id] = f"{document.id}: {error}"
                continue
            batch.append((document.id, change.order, source))
            size += len(json.dumps(source))
            if size >= self._settings.bulk_bytes:
                await self._write(alias, batch, outcome)
                done, size = done + len(batch), 0
                await progress(done / total, f"{done} of {total} documents written")
                batch = []
        await self._write(alias, batch, outcome)
        return outcome

    async def size(self, collection: str) -> int:
        """Passages that can be found."""
        if not await self._indexes.exists(collection):
            return 0
        alias = self._indexes.alias(collection)
        body = {"size": 0, "query": FOUND, "aggs": {"passages": {"nested": {"path": "passages"}}}}
        found = await self._patiently(lambda: self._client.search(index=alias, body=body), alias)
        return int(found["aggregations"]["passages"]["doc_count"])

    async def search(self, collection: str, text: str, **more: Any) -> list[Hit]:
        """What is found in a collection; see :func:`.query.search`."""
        vector = (await self._embeddings.vectors([text]))[0] if self._embeddings else None
        alias = self._indexes.alias(collection)
        return await asyncio.to_thread(search, self._client, self._settings, alias, text, vector, **more)

    async def close(self) -> None:
        """Release the connections."""
        await asyncio.to_thread(self._client.close)

    async def _patiently(self, call: Any, what: str) -> Any:
        return await patiently(call, what, poll=self._settings.poll, patience=self._settings.patience)

    def _look(self, alias: str, ids: list[str]) -> list[Any]:
        with explained(alias):
            try:
                found: list[Any] = self._client.mget(
                    index=alias, body={"ids": ids}, params={"_source_includes": "digest"}
                )["docs"]
            except exceptions.NotFoundError:  # removed meanwhile
                return []
            return found

    async def _source(self, document: Document) -> dict[str, Any]:
        texts = passages(await document.text())
        return {
            "document": document.id,
            "title": document.title,
            **({"uri": document.uri} if document.uri else {}),
            "metadata": dict(document.metadata),
            "principals": list(document.principals),
            "digest": document.digest,
            "deleted": False,
            "passages": await self._passages(texts),
        }

    async def _passages(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        if self._embeddings is None:
            return [{"text": text} for text in texts]
        vectors = await self._embeddings.vectors(texts)
        return [{"text": text, "vector": vector} for text, vector in zip(texts, vectors, strict=True)]

    async def _write(
        self, index: str, batch: Sequence[tuple[str, int, dict[str, Any]]], outcome: Outcome, *, is_alias: bool = True
    ) -> None:
        """Write documents; those that the cluster has no room for at the moment again, one that it refuses never.

        Raises:
            RetryableError: some are still not written after all patience.
        """
        left = list(batch)
        waited = 0.0
        while left:
            # An alias that somebody dropped must not come into being as an index by a write. Whoever repeats this finds
            # nothing left to do, so what is written has to be found without another call.
            params = {"require_alias": "true", "refresh": "wait_for"} if is_alias else {}
            lines = "".join(
                f"{json.dumps({'index': {'_id': _id(name), 'version': order, 'version_type': 'external_gte'}})}\n"
                f"{json.dumps(source, ensure_ascii=False)}\n"
                for name, order, source in left
            )
            answer = await self._patiently(
                lambda lines=lines, params=params: self._client.bulk(body=lines, index=index, params=params), index
            )
            again = []
            for (name, order, source), item in zip(left, answer["items"], strict=True):
                result = item["index"]
                if result["status"] == 409:
                    outcome.superseded.add(name)
                elif result["status"] in _BUSY:
                    again.append((name, order, source))
                elif result["status"] >= 300:
                    outcome.problems[name] = f"{name}: the cluster refuses it ({told(result.get('error'))})."
            left = again
            if left and waited >= self._settings.patience:
                raise RetryableError(f"{index}: the cluster has no room for {len(left)} documents.")
            if left:
                waited += self._settings.poll
                await asyncio.sleep(self._settings.poll)

    async def _copy(self, index: str, page: Sequence[dict[str, Any]]) -> None:
        """Documents of another index, with vectors as this one wants them."""
        batch = []
        for hit in page:
            source = dict(hit["_source"])
            if "passages" in source:
                source["passages"] = await self._passages([passage["text"] for passage in source["passages"]])
            batch.append((source["document"], int(hit["_version"]), source))
        outcome = Outcome()
        await self._write(index, batch, outcome, is_alias=False)
        if outcome.problems:
            raise PermanentError(" ".join(list(outcome.problems.values())[:3]))


def _id(name: str) -> str:
    """A document's id in the cluster, which takes 512 bytes."""
    return hashlib.sha256(name.encode()).hexdigest()


def _embeddings(settings: Settings) -> Embeddings | None:
    if settings.vectors != "endpoint" or settings.embeddings_url is None:
        return None
    key = secret(
        "STENOBUS_KB_OPENSEARCH_EMBEDDINGS_KEY",
        settings.embeddings_key,
        settings.embeddings_key_file,
        settings.embeddings_key_secret,
    )
    return Embeddings(settings.embeddings_url, settings.embeddings_model, settings.dimension, key, settings.timeout)
