"""An index per collection behind an alias: another mapping or model is built beside it, and the alias flipped."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final

from opensearchpy import OpenSearch, exceptions

from .cluster import explained
from .settings import Settings

#: Raise it when indexes are made in another way.
_VERSION: Final = 1
#: Documents that are copied at once, and how long the cluster keeps the place between two looks.
_PAGE: Final = 100
_KEPT: Final = "5m"
#: What people find: documents that were removed are remembered, so that a late event does not bring them back.
FOUND: Final = {"term": {"deleted": False}}

#: Takes documents as the cluster holds them, with ``_id``, ``_version`` and ``_source``, into an index.
Take = Callable[[str, Sequence[dict[str, Any]]], Awaitable[None]]


class Indexes:
    """The indexes of one prefix.

    Args:
        take: puts copied documents into another index, with vectors of its own.
    """

    def __init__(self, client: OpenSearch, settings: Settings, take: Take) -> None:
        self._client, self._settings, self._take = client, settings, take
        self._body = _index(settings)
        content = json.dumps([_VERSION, self._body, settings.embeddings_model, settings.pipeline], sort_keys=True)
        self._generation = hashlib.sha256(content.encode()).hexdigest()[:8]
        self._ready: dict[str, asyncio.Lock] = {}
        self._known: set[str] = set()

    def alias(self, collection: str) -> str:
        """What a collection is searched and written by."""
        return f"{self._settings.prefix}{collection}"

    async def exists(self, collection: str) -> bool:
        """Whether there is an index of any generation."""
        return bool(await asyncio.to_thread(self._behind, self.alias(collection)))

    async def ensure(self, collection: str) -> str:
        """Make sure that there is an index as the settings want it; returns the alias.

        An index of another generation serves until its documents are in the new one.
        """
        alias = self.alias(collection)
        async with self._ready.setdefault(collection, asyncio.Lock()):
            if collection not in self._known:
                await self._ensure(alias)
                self._known.add(collection)
        return alias

    async def _ensure(self, alias: str) -> None:
        wanted = f"{alias}-{self._generation}"
        behind = await asyncio.to_thread(self._behind, alias)
        if not behind:
            await asyncio.to_thread(self._create, wanted, alias)
            behind = await asyncio.to_thread(self._behind, alias)
        old = [name for name in behind if name != wanted]
        if not old:
            return
        await asyncio.to_thread(self._create, wanted, None)
        for name in old:
            await self._copy(name, wanted)
        await asyncio.to_thread(self._flip, alias, old, wanted)
        for name in old:
            await self._copy(name, wanted)  # what another process wrote there meanwhile
            await asyncio.to_thread(self._drop, name)

    def _behind(self, alias: str) -> list[str]:
        with explained(alias):
            try:
                return sorted(self._client.indices.get_alias(name=alias))
            except exceptions.NotFoundError:
                return []

    def _create(self, name: str, alias: str | None) -> None:
        body = {**self._body, "aliases": {alias: {"filter": FOUND}}} if alias else self._body
        with explained(name):
            try:
                self._client.indices.create(index=name, body=body)
            except exceptions.RequestError as error:
                if error.error != "resource_already_exists_exception":
                    raise
                if alias:  # half of a flip that was broken off
                    self._client.indices.put_alias(index=name, name=alias, body={"filter": FOUND})

    def _flip(self, alias: str, old: Sequence[str], new: str) -> None:
        actions: list[Any] = [{"remove": {"index": name, "alias": alias, "must_exist": False}} for name in old]
        actions.append({"add": {"index": new, "alias": alias, "filter": FOUND}})
        with explained(alias):
            self._client.indices.refresh(index=new)
            self._client.indices.update_aliases(body={"actions": actions})

    def _drop(self, name: str) -> None:
        with explained(name):
            self._client.indices.delete(index=name, params={"ignore_unavailable": "true"})

    async def _copy(self, old: str, new: str) -> None:
        pages = self._pages(old)
        while page := await asyncio.to_thread(next, pages, None):
            await self._take(new, page)

    def _pages(self, index: str) -> Iterator[list[dict[str, Any]]]:
        """All documents of an index, those that were removed among them, without vectors."""
        body = {"size": _PAGE, "version": True, "sort": ["_doc"], "_source": {"excludes": ["passages.vector"]}}
        with explained(index):
            try:
                self._client.indices.refresh(index=index)
                found = self._client.search(index=index, body=body, params={"scroll": _KEPT})
            except exceptions.NotFoundError:  # somebody else was here
                return
        while found["hits"]["hits"]:
            yield found["hits"]["hits"]
            with explained(index):
                found = self._client.scroll(body={"scroll_id": found["_scroll_id"], "scroll": _KEPT})
        with explained(index):
            self._client.clear_scroll(body={"scroll_id": [found["_scroll_id"]]})


def _index(settings: Settings) -> dict[str, Any]:
    """Settings and mapping of an index. What the mapping does not name is refused."""
    passage: dict[str, Any] = {"text": {"type": "text"}}
    index: dict[str, Any] = {}
    if settings.vectors != "none":
        method = {"name": "hnsw", "engine": "lucene", "space_type": "cosinesimil"}
        passage["vector"] = {"type": "knn_vector", "dimension": settings.dimension, "method": method}
        index["knn"] = True
    if settings.vectors == "pipeline":
        index["default_pipeline"] = settings.pipeline
    return {
        "settings": {"index": index},
        "mappings": {
            "dynamic": "strict",
            "properties": {
                "document": {"type": "keyword"},
                "title": {"type": "text"},
                "uri": {"type": "keyword"},
                "metadata": {"type": "flat_object"},  # any keys, without a mapping for each
                "principals": {"type": "keyword"},
                "digest": {"type": "keyword"},
                "deleted": {"type": "boolean"},
                "passages": {"type": "nested", "properties": passage},
            },
        },
    }
