"""Direct ingestion: documents that lie in the bucket, brought in by name, a few per call."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from stenobus_core import RetryableError

from ...aws import Busy, explained
from ...port import Progress
from .jobs import MISSING

RIGHTS: Final = (
    "bedrock:IngestKnowledgeBaseDocuments, bedrock:DeleteKnowledgeBaseDocuments and bedrock:GetKnowledgeBaseDocuments"
)
#: How a document's way may end beside INDEXED; the six other states are on the way.
BROKEN: Final = {
    "FAILED": "it failed",
    "IGNORED": "it was left out",
    "METADATA_PARTIALLY_INDEXED": "only part of its metadata was indexed",
    "METADATA_UPDATE_FAILED": "its metadata could not be updated",
    "PARTIALLY_INDEXED": "only part of it was indexed",
}


class Direct:
    """Calls about single documents of one data source.

    Args:
        client: for ``bedrock-agent``.
        poll: seconds between two looks.
        patience: seconds that a busy service, or a document on its way, is waited for.
    """

    def __init__(self, client: Any, knowledge_base: str, data_source: str, *, poll: float, patience: float) -> None:
        self._client = client
        self._place = {"knowledgeBaseId": knowledge_base, "dataSourceId": data_source}
        self._what = f"Knowledge base {knowledge_base}, data source {data_source}"
        self._poll, self._patience = poll, patience

    async def ingest(self, uris: Sequence[str], token: str, progress: Progress) -> dict[str, str]:
        """Bring documents in, and wait until they are.

        Returns:
            What is wrong with those that are not in, by address.

        Raises:
            Busy, RetryableError: the service is busy or away, or documents are still on their way after all patience.
            PermanentError: it refuses.
        """
        since: dict[str, datetime] = {}
        for part in self._parts("IngestKnowledgeBaseDocuments", "documents", uris):
            documents = [
                {
                    "content": {"dataSourceType": "S3", "s3": {"s3Location": {"uri": uri}}},
                    "metadata": {"type": "S3_LOCATION", "s3Location": {"uri": f"{uri}.metadata.json"}},
                }
                for uri in part
            ]
            for detail in await self._call("ingest_knowledge_base_documents", token, part, documents=documents):
                if "updatedAt" in detail:
                    since[detail["identifier"]["s3"]["uri"]] = detail["updatedAt"]

        def arrived(detail: Any) -> bool:
            # What is told of the version before is none of ours.
            begun = since.get(detail["identifier"]["s3"]["uri"])
            old = begun is not None and "updatedAt" in detail and detail["updatedAt"] < begun
            return not old and (detail["status"] == "INDEXED" or detail["status"] in BROKEN)

        return await self._until(arrived, uris, progress)

    async def remove(self, uris: Sequence[str], token: str, progress: Progress) -> dict[str, str]:
        """Take documents out, and wait until they are gone: for a while they may still be told to be there.

        Returns, raises:
            As :meth:`ingest`.
        """
        for part in self._parts("DeleteKnowledgeBaseDocuments", "documentIdentifiers", uris):
            await self._call("delete_knowledge_base_documents", token, part, documentIdentifiers=_named(part))
        return await self._until(lambda detail: detail["status"] in {"NOT_FOUND", "FAILED"}, uris, progress)

    async def problems(self, uris: Sequence[str]) -> dict[str, str]:
        """What is wrong with some documents as they are now, by address."""
        found: dict[str, str] = {}
        for part in self._parts("GetKnowledgeBaseDocuments", "documentIdentifiers", uris):
            for detail in await self._look(part):
                if detail["status"] in BROKEN:
                    found[detail["identifier"]["s3"]["uri"]] = _told(detail)
        return found

    async def _until(self, ended: Callable[[Any], bool], uris: Sequence[str], progress: Progress) -> dict[str, str]:
        """Look at documents until each has come to an end."""
        left, problems = list(uris), dict[str, str]()
        waited = 0.0
        while left:
            on_the_way: list[str] = []
            states: dict[str, str] = {}
            for part in self._parts("GetKnowledgeBaseDocuments", "documentIdentifiers", left):
                details = {detail["identifier"]["s3"]["uri"]: detail for detail in await self._look(part)}
                for uri in part:
                    detail = details.get(uri) or {"status": "NOT_FOUND", "identifier": {"s3": {"uri": uri}}}
                    if not ended(detail):
                        on_the_way.append(uri)
                        states[uri] = detail["status"]
                    elif detail["status"] in BROKEN:
                        problems[uri] = _told(detail)
            left = on_the_way
            if left and waited >= self._patience:
                some = ", ".join(sorted(set(states.values())))
                raise RetryableError(f"{self._what}: {len(left)} documents are still {some} after {waited:.0f} s.")
            if left:
                await progress(1 - len(left) / len(uris), f"{len(left)} of {len(uris)} documents on their way")
                waited += self._poll
                await asyncio.sleep(self._poll)
        return problems

    async def _look(self, part: Sequence[str]) -> list[Any]:
        return await self._call("get_knowledge_base_documents", None, part, documentIdentifiers=_named(part))

    async def _call(self, method: str, token: str | None, part: Sequence[str], **arguments: Any) -> list[Any]:
        """One call, again for as long as the service is busy and there is patience."""
        if token:
            arguments["clientToken"] = hashlib.sha256("\n".join((method, token, *part)).encode()).hexdigest()

        def call() -> list[Any]:
            with explained(self._what, MISSING, RIGHTS):
                found: list[Any] = getattr(self._client, method)(**self._place, **arguments)["documentDetails"]
                return found

        waited = 0.0
        while True:
            try:
                return await asyncio.to_thread(call)
            except Busy:
                if waited >= self._patience:
                    raise
                pause = self._poll * random.uniform(1, 1.5)
                waited += pause
                await asyncio.sleep(pause)

    def _parts(self, operation: str, member: str, uris: Sequence[str]) -> Iterator[Sequence[str]]:
        """As many as one call takes, which the service's own model says."""
        shape = self._client.meta.service_model.operation_model(operation).input_shape.members[member]
        size = int(shape.metadata.get("max", 10))
        return (uris[start : start + size] for start in range(0, len(uris), size))


def _named(uris: Sequence[str]) -> list[dict[str, Any]]:
    return [{"dataSourceType": "S3", "s3": {"uri": uri}} for uri in uris]


def _told(detail: Any) -> str:
    reason = " ".join(str(detail.get("statusReason", "")).split()).rstrip(".")[:300]
    return f"{BROKEN[detail['status']]} ({detail['status']}{': ' + reason if reason else ''})"
