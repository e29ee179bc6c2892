"""The sink: new records beside the old ones, then the old ones go, and what is in is marked last."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pinecone import errors

from stenobus_core import PermanentError, RetryableError

from ...embeddings import Embeddings
from ...passages import VERSION, passages
from ...port import Change, Document, Mark, Outcome, Progress
from ...secrets import secret
from .index import MAX_TEXTS, MAX_VECTORS, Refused, addresses, batches, connected, patiently
from .records import generation, mark, metadata, name, record_id
from .settings import Settings

#: Records that are held before they are sent.
_HELD: Final = 2_000
#: Documents that one filter names.
_NAMED: Final = 100


class PineconeSink:
    """An index.

    A collection is a namespace; ``COLLECTION.marks`` beside it holds what is remembered of its documents. While a
    document changes, the records of two versions can be found: each says its ``generation``.
    """

    name = "pinecone"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._index = connected(settings)
        self._host = str(settings.host)
        self._dimension: int | None = None
        model = settings.embeddings_model if settings.vectors == "endpoint" else ""
        self.version = f"1.{VERSION}.{settings.vectors}.{model}"  # vectors of two models must not be compared

    async def known(self, collection: str, ids: Sequence[str]) -> Mapping[str, Mark]:
        """What the marks say."""
        namespace, names = self._marks(collection), {name(id): id for id in ids}
        found: dict[str, Mark] = {}
        for part in addresses(list(names)):
            for key, about in (await self._fetched(namespace, part)).items():
                found[names[key]] = Mark(None if about["removed"] else about["digest"], int(about["order"]))
        return found

    async def apply(self, change: Change, progress: Progress) -> Outcome:
        """Write records, wait until they can be found, remove the old ones, mark."""
        outcome, namespace = Outcome(), self._namespace(change.collection)
        held: list[dict[str, Any]] = []
        lsn: int | None = None
        for number, document in enumerate(change.upsert):
            try:
                held.extend(await self._records(change, document))
            except PermanentError as error:  # the other documents are not to blame
                outcome.problems[document.id] = str(error)
            if len(held) >= _HELD:
                lsn, held = await self._upsert(namespace, held, outcome) or lsn, []
                await progress(0.8 * number / len(change.upsert), f"{number} of {len(change.upsert)} documents written")
        lsn = await self._upsert(namespace, held, outcome) or lsn
        taken = [record["id"] for record in held if record["metadata"]["document"] not in outcome.problems]
        await self._fresh(namespace, lsn, taken[-1] if taken else None)
        await progress(0.8, "removing what is outdated")
        await self._remove_outdated(change, namespace, outcome)
        marks = [
            *(mark(d.id, d.digest, change.order) for d in change.upsert if d.id not in outcome.problems),
            *(mark(id, None, change.order) for id in change.delete),
        ]
        await self._remember(self._marks(change.collection), marks)
        return outcome

    async def size(self, collection: str) -> int:
        """Records of a collection, as the index counts them, which may be a little late."""
        stats = await self._patiently(self._index.describe_index_stats)
        found = stats.namespaces.get(self._namespace(collection))
        return int(found.vector_count) if found else 0

    async def close(self) -> None:
        """Release the connections."""
        await asyncio.to_thread(self._index.close)

    def _namespace(self, collection: str) -> str:
        return f"{self._settings.prefix}{collection}"

    def _marks(self, collection: str) -> str:
        return f"{self._namespace(collection)}.marks"

    async def _patiently(self, call: Any) -> Any:
        return await patiently(call, self._host, poll=self._settings.poll, patience=self._settings.patience)

    async def _length(self) -> int:
        """Numbers of a vector of this index."""
        if self._dimension is None:
            self._dimension = (await self._patiently(self._index.describe_index_stats)).dimension
        if self._dimension is None:
            raise PermanentError(f"Pinecone index {self._host}: it has no dense vectors.")
        return self._dimension

    # --- writing -----------------------------------------------------------------------------------------------------

    async def _records(self, change: Change, document: Document) -> list[dict[str, Any]]:
        texts, own = passages(await document.text()), generation(change, document)
        found = [
            {
                "id": record_id(change.collection, document.id, own, number),
                "metadata": metadata(change.collection, document, own, number, text),
            }
            for number, text in enumerate(texts)
        ]
        if self._settings.vectors == "endpoint":
            vectors = await (await self._embeddings()).vectors(texts)
            return [{**record, "values": vector} for record, vector in zip(found, vectors, strict=True)]
        return found

    async def _embeddings(self) -> Embeddings:
        own = self._settings
        key = secret(
            "STENOBUS_KB_PINECONE_EMBEDDINGS_KEY",
            own.embeddings_key,
            own.embeddings_key_file,
            own.embeddings_key_secret,
        )
        return Embeddings(str(own.embeddings_url), own.embeddings_model, await self._length(), key, timeout=own.timeout)

    async def _upsert(self, namespace: str, records: Sequence[Mapping[str, Any]], outcome: Outcome) -> int | None:
        """Write records; those that the index refuses are told by their documents.

        Returns:
            Place of the last write in the index's log, None when it does not say.
        """
        most = MAX_VECTORS if self._settings.vectors == "endpoint" else MAX_TEXTS
        left = list(batches(records, most))
        lsn: int | None = None
        while left:
            batch = left.pop(0)
            try:
                lsn = await self._patiently(lambda batch=batch: self._send(namespace, batch)) or lsn
            except Refused as error:  # all or nothing: find the one that it does not like
                if len(batch) > 1:
                    left[:0] = [batch[: len(batch) // 2], batch[len(batch) // 2 :]]
                    continue
                id = batch[0]["metadata"]["document"]
                outcome.problems[id] = f"{id}: {error}"
        return lsn

    def _send(self, namespace: str, batch: Sequence[Mapping[str, Any]]) -> int | None:
        answer: Any
        if self._settings.vectors == "endpoint":
            answer = self._index.upsert(vectors=batch, namespace=namespace, show_progress=False)
        else:
            field = self._settings.text_field
            flat = [
                {"_id": record["id"], **{key: value for key, value in record["metadata"].items() if key != "text"}}
                | {field: record["metadata"].get("text") or record["metadata"].get("title") or record["id"]}
                for record in batch
            ]
            answer = self._index.upsert_records(records=flat, namespace=namespace)
        return answer.response_info.lsn_committed if answer.response_info else None

    async def _remove_outdated(self, change: Change, namespace: str, outcome: Outcome) -> None:
        """Remove all other versions of what was written, what was deleted, and parts of what was refused."""
        new = {d.id: generation(change, d) for d in change.upsert}
        taken = [id for id in new if id not in outcome.problems]
        refused = [id for id in new if id in outcome.problems]
        filters: list[dict[str, Any]] = []
        for part in _parts(taken):
            other = {"generation": {"$nin": [new[id] for id in part]}}
            filters.append({"$and": [{"document": {"$in": part}}, other]})
        filters += [{"document": {"$in": part}} for part in _parts(change.delete)]
        filters += [
            {"$and": [{"document": {"$in": part}}, {"generation": {"$in": [new[id] for id in part]}}]}
            for part in _parts(refused)
        ]
        for wanted in filters:
            await self._patiently(lambda wanted=wanted: self._delete(namespace, wanted))
        for wanted in filters:
            await self._gone(namespace, wanted)

    def _delete(self, namespace: str, wanted: Mapping[str, Any]) -> None:
        try:
            self._index.delete(filter=wanted, namespace=namespace)
        except errors.NotFoundError:  # a namespace comes into being by its first record
            return

    async def _remember(self, namespace: str, marks: Sequence[Mapping[str, Any]]) -> None:
        """Write marks, and wait until they can be read."""
        records: list[dict[str, Any]] = [{"id": name(str(each["document"])), "metadata": each} for each in marks]
        if self._settings.vectors == "endpoint":
            anything = [1.0] + [0.0] * (await self._length() - 1)
            records = [{**record, "values": anything} for record in records]
        outcome = Outcome()
        await self._upsert(namespace, records, outcome)
        if outcome.problems:
            raise PermanentError(next(iter(outcome.problems.values())))
        for part in addresses([record["id"] for record in records]):
            wanted = {record["id"]: record["metadata"]["order"] for record in records if record["id"] in part}

            async def are_there(part: list[str] = part, wanted: dict[str, str] = wanted) -> bool:
                found = await self._fetched(namespace, part)
                return all(id in found and found[id]["order"] == order for id, order in wanted.items())

            await self._until(are_there, "marks")

    # --- seeing ------------------------------------------------------------------------------------------------------

    async def _fetched(self, namespace: str, ids: list[str]) -> dict[str, Any]:
        """Metadata of records, by id."""

        def fetch() -> dict[str, Any]:
            try:
                vectors = self._index.fetch(ids=ids, namespace=namespace).vectors
            except errors.NotFoundError:
                return {}
            return {id: vector.metadata or {} for id, vector in vectors.items()}

        found: dict[str, Any] = await self._patiently(fetch)
        return found

    async def _query(self, namespace: str, wanted: Mapping[str, Any] | None) -> Any:
        vector = [1.0] + [0.0] * (await self._length() - 1)
        return await self._patiently(
            lambda: self._index.query(vector=vector, top_k=1, namespace=namespace, filter=wanted)
        )

    async def _fresh(self, namespace: str, lsn: int | None, last: str | None) -> None:
        """Wait until searches see the last write. Counts would lie: what comes and goes cancels out."""

        async def is_seen() -> bool:
            info = (await self._query(namespace, None)).response_info
            if lsn is None or info is None or info.lsn_reconciled is None:
                return last is None or last in await self._fetched(namespace, [last])
            return bool(info.is_reconciled(lsn))

        if lsn is not None or last is not None:
            await self._until(is_seen, "records")

    async def _gone(self, namespace: str, wanted: Mapping[str, Any]) -> None:
        """Wait until searches find nothing of what was deleted: deletions do not say their place in the log."""

        async def is_gone() -> bool:
            return not (await self._query(namespace, wanted)).matches

        await self._until(is_gone, "removals")

    async def _until(self, condition: Any, what: str) -> None:
        waited = 0.0
        while not await condition():
            if waited >= self._settings.patience:
                raise RetryableError(f"Pinecone index {self._host}: {what} cannot be seen after {waited:.0f} s.")
            waited += self._settings.poll
            await asyncio.sleep(self._settings.poll)


def _parts(ids: Sequence[str]) -> list[list[str]]:
    return [list(ids[start : start + _NAMED]) for start in range(0, len(ids), _NAMED)]
