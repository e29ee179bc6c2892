"""An OpenSearch that keeps the rules a sink meets: strict mappings, external versions, filtered aliases, bulk requests
that succeed in part, searches that see nothing before a refresh. What it does not know, it refuses."""

from __future__ import annotations

import base64
import copy
import json
import math
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from .http import HttpServer, Reply, Request
from .signed import is_signed


class Refused(Exception):
    def __init__(self, status: int, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.status, self.kind, self.reason = status, kind, reason


@dataclass
class Index:
    mapping: dict[str, Any]
    settings: dict[str, Any]
    #: Documents with their versions; and what searches see of them.
    documents: dict[str, tuple[int, dict[str, Any]]] = field(default_factory=dict)
    visible: dict[str, tuple[int, dict[str, Any]]] = field(default_factory=dict)


class FakeOpenSearch:
    """A cluster of one node.

    Args:
        user: of basic authentication; None where requests are signed, by ``keys``.
    """

    def __init__(self, user: tuple[str, str] | None, keys: tuple[str, str] = ("", ""), version: str = "2.19.1") -> None:
        self._user, self._keys, self.version = user, keys, version
        self._lock = threading.Lock()
        self.indexes: dict[str, Index] = {}
        self.aliases: dict[str, dict[str, Any]] = {}
        self.pipelines: dict[str, Any] = {}
        self.ingest_pipelines: dict[str, int] = {}
        self._scrolls: dict[str, list[list[Any]]] = {}
        self.calls: Counter[str] = Counter()
        self.searched: list[dict[str, Any]] = []
        self.complaints: list[str] = []
        #: Words that a mapping cannot take.
        self.poison = "unmappable"
        #: Requests to refuse as too many, and items of bulk requests.
        self.busy, self.busy_items = 0, 0
        self.server = HttpServer(self._answer)
        self.url = self.server.url

    def close(self) -> None:
        self.server.close()

    def _answer(self, request: Request) -> Reply:
        with self._lock:
            try:
                self._enter(request)
                return Reply(200, json.dumps(self._route(request)).encode())
            except Refused as refused:
                if refused.status == 400 and refused.kind == "complaint":
                    self.complaints.append(refused.reason)
                cause = {"type": refused.kind, "reason": refused.reason}
                body = {"error": {"root_cause": [cause], **cause}, "status": refused.status}
                return Reply(refused.status, json.dumps(body).encode())

    def _enter(self, request: Request) -> None:
        if self._user is None:
            if not is_signed(request, "es", *self._keys):
                raise Refused(403, "security_exception", "The request signature does not match.")
        elif (
            request.headers.get("authorization") != f"Basic {base64.b64encode(':'.join(self._user).encode()).decode()}"
        ):
            raise Refused(401, "security_exception", "Unauthorized")
        if self.busy:
            self.busy -= 1
            raise Refused(429, "circuit_breaking_exception", "Data too large")

    def _route(self, request: Request) -> Any:
        url = urlsplit(request.target)
        params = dict(parse_qsl(url.query, strict_parsing=bool(url.query)))
        parts = [unquote(part) for part in url.path.strip("/").split("/") if part]
        lines = request.body.decode().splitlines() if parts[-1:] == ["_bulk"] else []
        body = json.loads(request.body) if request.body and not lines else {}
        match request.method, parts:
            case "GET", []:
                answer: Any = {"version": {"number": self.version, "distribution": "opensearch"}}
            case "GET", ["_alias", name]:
                answer = self._get_alias(name)
            case "PUT", ["_search", "pipeline", name]:
                self.pipelines[name] = self._pipeline(body)
                answer = {"acknowledged": True}
            case "GET", ["_ingest", "pipeline", name]:
                if name not in self.ingest_pipelines:
                    raise Refused(404, "resource_not_found_exception", f"pipeline [{name}] is missing")
                answer = {name: {}}
            case "PUT", [name]:
                answer = self._create(name, body)
            case "DELETE", [name]:
                self.indexes.pop(name, None)
                params.pop("ignore_unavailable", None)
                for members in self.aliases.values():
                    members.pop(name, None)
                answer = {"acknowledged": True}
            case "PUT", [index, "_alias", name]:
                self._known(index)
                self.aliases.setdefault(name, {})[index] = body
                answer = {"acknowledged": True}
            case "POST", ["_aliases"]:
                answer = self._flip(body)
            case "POST", [name, "_refresh"]:
                for index in self._behind(name):
                    index.visible = copy.deepcopy(index.documents)
                answer = {"_shards": {"total": 1, "successful": 1, "failed": 0}}
            case (("GET" | "POST"), [name, "_mget"]):
                answer = self._mget(name, body, params)
            case (("POST" | "PUT"), [name, "_bulk"]):
                answer = self._bulk(name, lines, params)
            case (("GET" | "POST"), [name, "_search"]):
                answer = self._search(name, body, params)
            case "POST", ["_search", "scroll"]:
                answer = self._page(body["scroll_id"])
            case "DELETE", ["_search", "scroll"]:
                for name in body["scroll_id"]:
                    del self._scrolls[name]
                answer = {"succeeded": True}
            case _:
                raise Refused(400, "complaint", f"there is no {request.method} {url.path}")
        if params:
            raise Refused(400, "complaint", f"{url.path} has unknown parameters {sorted(params)}")
        self.calls[f"{request.method} {parts[-1] if parts else '/'}"] += 1
        return answer

    # --- indexes -----------------------------------------------------------------------------------------------------

    def _known(self, name: str) -> Index:
        if name not in self.indexes:
            raise Refused(404, "index_not_found_exception", f"no such index [{name}]")
        return self.indexes[name]

    def _behind(self, name: str) -> list[Index]:
        return [self._known(index) for index in self.aliases.get(name) or (name,)]

    def _get_alias(self, name: str) -> Any:
        if not self.aliases.get(name):
            raise Refused(404, "aliases_not_found_exception", f"alias [{name}] missing")
        return {index: {"aliases": {name: about}} for index, about in self.aliases[name].items()}

    def _create(self, name: str, body: Any) -> Any:
        if name in self.indexes or self.aliases.get(name):
            raise Refused(400, "resource_already_exists_exception", f"index [{name}] already exists")
        if unknown := body.keys() - {"settings", "mappings", "aliases"}:
            raise Refused(400, "complaint", f"unknown keys {sorted(unknown)}")
        types = {"keyword", "text", "flat_object", "boolean", "nested", "knn_vector"}
        fields = body["mappings"]["properties"]
        for about in (*fields.values(), *fields["passages"]["properties"].values()):
            if about["type"] not in types:
                raise Refused(400, "complaint", f"no type {about['type']}")
        settings = body["settings"]["index"]
        if ("vector" in fields["passages"]["properties"]) != settings.get("knn", False):
            raise Refused(400, "complaint", "index.knn and the mapping do not agree")
        self.indexes[name] = Index(body["mappings"], settings)
        for alias, about in body.get("aliases", {}).items():
            self.aliases.setdefault(alias, {})[name] = about
        return {"acknowledged": True, "shards_acknowledged": True, "index": name}

    def _flip(self, body: Any) -> Any:
        after = copy.deepcopy(self.aliases)
        for action in body["actions"]:
            ((kind, about),) = action.items()
            if kind == "add":
                self._known(about["index"])
                after.setdefault(about["alias"], {})[about["index"]] = {"filter": about["filter"]}
            elif after.get(about["alias"], {}).pop(about["index"], None) is None and about.get("must_exist", True):
                raise Refused(404, "aliases_not_found_exception", f"aliases [{about['alias']}] missing")
        self.aliases = after
        return {"acknowledged": True}

    # --- documents ---------------------------------------------------------------------------------------------------

    def _mget(self, name: str, body: Any, params: dict[str, str]) -> Any:
        (index,) = self._behind(name)
        wanted = params.pop("_source_includes").split(",")
        docs = []
        for id in body["ids"]:
            if id not in index.documents:
                docs.append({"_index": name, "_id": id, "found": False})
                continue
            version, source = index.documents[id]
            told = {key: source[key] for key in wanted if key in source}
            docs.append({"_index": name, "_id": id, "_version": version, "found": True, "_source": told})
        return {"docs": docs}

    def _bulk(self, name: str, lines: list[str], params: dict[str, str]) -> Any:
        if params.pop("require_alias", None) and not self.aliases.get(name):
            raise Refused(404, "index_not_found_exception", f"no such alias [{name}]")
        (index,) = self._behind(name)
        items = []
        for head, line in zip(lines[::2], lines[1::2], strict=True):
            ((kind, about),) = json.loads(head).items()
            if kind != "index" or about.keys() != {"_id", "version", "version_type"}:
                raise Refused(400, "complaint", f"unknown action {head}")
            source = json.loads(line)
            if self.busy_items:
                self.busy_items -= 1
                items.append(_item(about["_id"], 429, "rejected_execution_exception", "rejected execution"))
                continue
            known = index.documents.get(about["_id"])
            if known and known[0] > about["version"]:
                items.append(_item(about["_id"], 409, "version_conflict_engine_exception", "version conflict"))
            elif wrong := self._wrong(index, source):
                items.append(_item(about["_id"], 400, "mapper_parsing_exception", wrong))
            else:
                self._ingest(index, source)
                index.documents[about["_id"]] = (about["version"], source)
                items.append({"index": {"_id": about["_id"], "status": 200, "_version": about["version"]}})
        if params.pop("refresh", None) == "wait_for":
            index.visible = copy.deepcopy(index.documents)
        return {"took": 1, "errors": any("error" in item["index"] for item in items), "items": items}

    def _wrong(self, index: Index, source: dict[str, Any]) -> str:
        fields = index.mapping["properties"]
        if unknown := source.keys() - fields.keys():
            return f"mapping set to strict, dynamic introduction of {sorted(unknown)} is not allowed"
        inside = fields["passages"]["properties"]
        for passage in source.get("passages", []):
            if unknown := passage.keys() - inside.keys():
                return f"mapping set to strict, dynamic introduction of {sorted(unknown)} within [passages]"
            if "vector" in passage and len(passage["vector"]) != inside["vector"]["dimension"]:
                return f"Vector dimension mismatch. Expected: {inside['vector']['dimension']}"
            if self.poison in passage["text"]:
                return "failed to parse field [passages.text]"
        return ""

    def _ingest(self, index: Index, source: dict[str, Any]) -> None:
        if (name := index.settings.get("default_pipeline")) is not None:
            for passage in source.get("passages", []):
                passage["vector"] = [float(len(passage["text"]))] * self.ingest_pipelines[name]

    # --- searches ----------------------------------------------------------------------------------------------------

    def _search(self, name: str, body: Any, params: dict[str, str]) -> Any:
        if unknown := body.keys() - {"size", "query", "_source", "aggs", "version", "sort"}:
            raise Refused(400, "complaint", f"unknown keys {sorted(unknown)}")
        self.searched.append({**body, "params": dict(params)})
        hybrid = "hybrid" in body.get("query", {})
        if hybrid != (params.pop("search_pipeline", None) in self.pipelines):
            raise Refused(400, "complaint", "a hybrid query needs a pipeline that joins its scores")
        (index,) = self._behind(name)
        (about,) = self.aliases.get(name, {"": {}}).values()
        found = []
        for id, (version, source) in index.visible.items():
            seen = _score(about["filter"], source) if "filter" in about else 1.0
            score = _score(body["query"], source) if "query" in body else 1.0
            if seen is not None and score is not None:
                hit = {"_id": id, "_score": score, "_source": copy.deepcopy(source)}
                found.append(hit | ({"_version": version} if body.get("version") else {}))
        if "aggs" in body:
            passages = sum(len(hit["_source"].get("passages", [])) for hit in found)
            return {"hits": {"hits": []}, "aggregations": {"passages": {"doc_count": passages}}}
        found.sort(key=lambda hit: -hit["_score"])
        for hit in found if isinstance(body.get("_source"), dict) else ():
            for passage in hit["_source"].get("passages", []):
                passage.pop("vector", None)
        size = body.get("size", 10)
        if params.pop("scroll", None):
            id = f"scroll-{len(self._scrolls)}"
            self._scrolls[id] = [found[start : start + size] for start in range(0, len(found), size)]
            return self._page(id)
        return {"hits": {"hits": found[:size]}}

    def _page(self, id: str) -> Any:
        pages = self._scrolls[id]
        return {"_scroll_id": id, "hits": {"hits": pages.pop(0) if pages else []}}

    def _pipeline(self, body: Any) -> Any:
        (processor,) = body["phase_results_processors"]
        known = {"normalization-processor"}
        if tuple(map(int, self.version.split(".")[:2])) >= (2, 19):
            known.add("score-ranker-processor")
        if not processor.keys() <= known:
            raise Refused(400, "complaint", f"no such processor {sorted(processor)}")
        return body


def _basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def _item(id: str, status: int, kind: str, reason: str) -> Any:
    return {"index": {"_id": id, "status": status, "error": {"type": kind, "reason": reason}}}


def _score(query: Any, source: dict[str, Any]) -> float | None:
    """The score of a document, None where it does not match."""
    ((kind, about),) = query.items()
    match kind:
        case "match":
            ((field, asked),) = about.items()
            words = (asked["query"] if isinstance(asked, dict) else asked).lower().split()
            text = " ".join(_values(source, field)).lower()
            return float(sum(word in text for word in words)) or None
        case "term":
            ((field, value),) = about.items()
            return 1.0 if value in _values(source, field) else None
        case "terms":
            ((field, values),) = about.items()
            return 1.0 if set(values) & set(_values(source, field)) else None
        case "exists":
            return 1.0 if _values(source, about["field"]) else None
        case "nested":
            return _score(about["query"], source)
        case "knn":
            ((field, asked),) = about.items()
            if _score(asked["filter"], source) is None:
                return None
            near = [sum(a * b for a, b in zip(v, asked["vector"], strict=True)) for v in _values(source, field)]
            return 1 + max(near) / (1 + math.hypot(*asked["vector"])) if near else None
        case "neural":
            ((field, asked),) = about.items()
            return None if _score(asked["filter"], source) is None or not _values(source, field) else 1.0
        case "hybrid":
            found = [score for each in about["queries"] if (score := _score(each, source)) is not None]
            return sum(found) if found else None
        case "bool":
            if unknown := about.keys() - {"should", "filter", "must_not", "minimum_should_match"}:
                raise Refused(400, "complaint", f"unknown in bool: {sorted(unknown)}")
            if any(_score(each, source) is None for each in about.get("filter", ())):
                return None
            if "must_not" in about:
                return None if _score(about["must_not"], source) is not None else 1.0
            found = [score for each in about.get("should", ()) if (score := _score(each, source)) is not None]
            return (sum(found) if found else None) if "should" in about else 1.0
        case _:
            raise Refused(400, "complaint", f"unknown query [{kind}]")


def _values(source: Any, field: str) -> list[Any]:
    found: list[Any] = [source]
    for part in field.split("."):
        found = [one[part] for one in found if isinstance(one, dict) and part in one]
        if part != "vector":
            found = [item for one in found for item in (one if isinstance(one, list) else [one])]
    return found
