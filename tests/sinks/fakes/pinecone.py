"""Pinecone's data plane over REST: one index, with its limits, and reads that come behind writes."""

from __future__ import annotations

import copy
import json
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from .http import HttpServer, Reply, Request

VERSION = "2026-07"
_BYTES = 2 * 1024 * 1024
_METADATA = 40 * 1024
Space = dict[str, dict[str, Any]]


class Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class FakePinecone:
    """An index.

    Args:
        model: field that its own model reads; None where vectors are brought along.
    """

    def __init__(self, key: str, model: str | None = "text", dimension: int = 8) -> None:
        self.key, self.model, self.dimension = key, model, dimension
        self._lock = threading.Lock()
        #: What reads see, by namespace; what is written but not yet seen, in order.
        self.spaces: dict[str, Space] = {}
        self._log: list[Callable[[], None]] = []
        self.lsn, self.seen = 0, 0
        #: Whether a read sees one more write than the read before, instead of all.
        self.lags = False
        self.tells_lsn = True
        self.busy = 0
        self.poison = "unspeakable"
        self.calls: Counter[str] = Counter()
        self.complaints: list[str] = []
        self.server = HttpServer(self._answer)
        self.url = self.server.url

    def close(self) -> None:
        self.server.close()

    def settle(self) -> None:
        """Let reads see all that was written."""
        with self._lock:
            self._see(len(self._log))

    def _answer(self, request: Request) -> Reply:
        with self._lock:
            try:
                self._enter(request)
                status, body, headers = self._route(request)
                return Reply(status, json.dumps(body).encode(), headers if self.tells_lsn else {})
            except Refused as refused:
                if refused.status == 400 and self.poison not in refused.message:
                    self.complaints.append(refused.message)
                error = {"code": "INVALID_ARGUMENT", "message": refused.message}
                return Reply(refused.status, json.dumps({"error": error, "status": refused.status}).encode())

    def _enter(self, request: Request) -> None:
        if request.headers.get("api-key") != self.key:
            raise Refused(401, "Invalid API Key")
        if request.headers.get("x-pinecone-api-version") != VERSION:
            raise Refused(400, "unknown API version")
        if self.busy:
            self.busy -= 1
            raise Refused(429, "Too many requests")
        if len(request.body) > _BYTES:
            raise Refused(413, "the request is larger than 2 MB")

    def _route(self, request: Request) -> tuple[int, Any, dict[str, str]]:
        path = request.path
        self.calls[path] += 1
        if path.startswith("/records/namespaces/") and path.endswith("/upsert"):
            return self._upsert_records(request, unquote(path.split("/")[3]))
        if path == "/vectors/fetch":
            pairs = parse_qsl(urlsplit(request.target).query)
            if len(request.target) > 16_000:
                raise Refused(414, "the address is too long")
            return self._fetch([value for key, value in pairs if key == "ids"], dict(pairs)["namespace"])
        body = json.loads(request.body)
        if path == "/vectors/upsert":
            return self._upsert(**_known(body, {"vectors", "namespace"}))
        if path == "/vectors/delete":
            return self._delete(**_known(body, {"namespace", "filter", "ids"}))
        if path == "/query":
            keys = {"topK", "includeValues", "includeMetadata", "namespace", "vector", "filter"}
            return self._query(**_known(body, keys))
        if path == "/describe_index_stats":
            counts = {name: {"vectorCount": len(space)} for name, space in self.spaces.items()}
            total = sum(map(len, self.spaces.values()))
            return (
                200,
                {"dimension": self.dimension, "indexFullness": 0, "totalVectorCount": total, "namespaces": counts},
                {},
            )
        raise Refused(400, f"there is no {request.method} {path}")

    # --- writing -----------------------------------------------------------------------------------------------------

    def _upsert(self, vectors: Any, namespace: str) -> tuple[int, Any, dict[str, str]]:
        if self.model:
            raise Refused(400, "this test brings no vectors along")
        if not 0 < len(vectors) <= 1000:
            raise Refused(400, "1 to 1000 vectors")
        for vector in vectors:
            _known(vector, {"id", "values", "metadata"})
            if len(vector["values"]) != self.dimension or not any(vector["values"]):
                raise Refused(400, f"{self.dimension} numbers, not all of them 0")
            self._check(vector["id"], vector["metadata"])
        return 200, {"upsertedCount": len(vectors)}, self._write(namespace, {v["id"]: v["metadata"] for v in vectors})

    def _upsert_records(self, request: Request, namespace: str) -> tuple[int, Any, dict[str, str]]:
        if not self.model or request.headers["content-type"] != "application/x-ndjson":
            raise Refused(400, "this index has no model, or that is no NDJSON")
        records = [json.loads(line) for line in request.body.splitlines()]
        if not 0 < len(records) <= 96:
            raise Refused(400, "1 to 96 records")
        for record in records:
            if not record.get(self.model):
                raise Refused(400, f"a record without {self.model}")
            self._check(record["_id"], {key: value for key, value in record.items() if key != "_id"})
        return 201, {}, self._write(namespace, {record.pop("_id"): record for record in records})

    def _check(self, id: str, metadata: dict[str, Any]) -> None:
        if not (0 < len(id) <= 512 and id.isascii()):
            raise Refused(400, f"no id: {id}")
        if len(json.dumps(metadata, ensure_ascii=False).encode()) > _METADATA:
            raise Refused(400, "more than 40 KB of metadata")
        for name, value in metadata.items():
            texts = isinstance(value, list) and all(isinstance(part, str) for part in value)
            if not (texts or isinstance(value, str | int | float | bool)):
                raise Refused(400, f"{name} is neither a string, a number, a boolean nor a list of strings")
            if isinstance(value, str) and self.poison in value:
                raise Refused(400, f"{self.poison} is not said here")

    def _write(self, namespace: str, records: Space) -> dict[str, str]:
        return self._commit(lambda: self.spaces.setdefault(namespace, {}).update(copy.deepcopy(records)))

    def _delete(self, namespace: str, filter: Any = None, ids: Any = None) -> tuple[int, Any, dict[str, str]]:
        def remove() -> None:
            space = self.spaces.get(namespace, {})
            for id in [id for id, about in space.items() if id in (ids or ()) or (filter and _matches(filter, about))]:
                del space[id]

        if namespace not in self.spaces and not self._log:
            raise Refused(404, "Namespace not found")
        if ids and len(ids) > 1000:
            raise Refused(400, "at most 1000 ids")
        return 200, {}, self._commit(remove)

    def _commit(self, change: Callable[[], None]) -> dict[str, str]:
        self.lsn += 1
        self._log.append(change)
        if not self.lags:
            self._see(len(self._log))
        return {"x-pinecone-lsn-committed": str(self.lsn)}

    # --- reading -----------------------------------------------------------------------------------------------------

    def _see(self, count: int) -> None:
        for change in self._log[:count]:
            change()
            self.seen += 1
        del self._log[:count]

    def _query(self, namespace: str, vector: Any, topK: int, filter: Any = None, **_: Any) -> Any:
        if len(vector) != self.dimension:
            raise Refused(400, f"{self.dimension} numbers")
        self._see(1)
        found = [id for id, about in self.spaces.get(namespace, {}).items() if not filter or _matches(filter, about)]
        matches = [{"id": id, "score": 0.5} for id in found[:topK]]
        return 200, {"matches": matches, "namespace": namespace}, {"x-pinecone-lsn-reconciled": str(self.seen)}

    def _fetch(self, ids: list[str], namespace: str) -> tuple[int, Any, dict[str, str]]:
        self._see(1)
        space = self.spaces.get(namespace, {})
        found = {id: {"id": id, "values": [1.0] * self.dimension, "metadata": space[id]} for id in ids if id in space}
        return 200, {"vectors": found, "namespace": namespace}, {}


def _known(body: dict[str, Any], keys: set[str]) -> dict[str, Any]:
    if unknown := body.keys() - keys:
        raise Refused(400, f"unknown members {sorted(unknown)}")
    return body


def _matches(wanted: Any, metadata: dict[str, Any]) -> bool:
    if wanted.keys() == {"$and"}:
        return all(_matches(each, metadata) for each in wanted["$and"])
    ((name, condition),) = wanted.items()
    ((operator, values),) = condition.items()
    if operator not in {"$in", "$nin"} or not values:
        raise Refused(400, f"unknown filter {wanted}")
    return name in metadata and (metadata[name] in values) == (operator == "$in")
