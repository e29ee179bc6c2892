"""Questions to an index: by words and by vectors, with filters inside both, joined by rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from opensearchpy import OpenSearch

from .cluster import explained
from .indexes import FOUND

if TYPE_CHECKING:
    from .settings import Settings

#: Where reciprocal rank fusion begins, and its constant there.
_RRF: Final = (2, 19)
_RANK_CONSTANT: Final = 60
#: Weight of words and of vectors where scores are joined instead of ranks.
_WEIGHTS: Final = (0.5, 0.5)


@dataclass(frozen=True, slots=True)
class Hit:
    """A document that was found."""

    id: str
    title: str
    uri: str | None
    score: float
    #: Its best passage.
    text: str


def search(
    client: OpenSearch,
    settings: Settings,
    alias: str,
    text: str,
    vector: Sequence[float] | None = None,
    *,
    filters: Mapping[str, str] | None = None,
    principals: Sequence[str] | None = None,
    size: int = 10,
) -> list[Hit]:
    """Documents, best first.

    Args:
        vector: of the text, where an embeddings server makes vectors.
        filters: what metadata must be.
        principals: who asks; everybody's documents alone when empty, all when None.
    """
    wanted = query(settings, text, vector, conditions(filters or {}, principals), size)
    body = {"size": size, "query": wanted, "_source": ["document", "title", "uri", "passages.text"]}
    with explained(alias):
        params = {"search_pipeline": fusion(client, settings.prefix)} if "hybrid" in wanted else {}
        found = client.search(index=alias, body=body, params=params)
    return [_hit(hit) for hit in found["hits"]["hits"]]


def query(
    settings: Settings, text: str, vector: Sequence[float] | None, where: Sequence[dict[str, Any]], size: int
) -> dict[str, Any]:
    """The query: words alone, or both. A filter behind the nearest neighbours would leave too few of them."""
    named = {"inner_hits": {"size": 1, "_source": ["passages.text"]}}
    words: dict[str, Any] = {
        "bool": {
            "should": [
                {"match": {"title": {"query": text, "boost": 2}}},
                {
                    "nested": {
                        "path": "passages",
                        "score_mode": "max",
                        "query": {"match": {"passages.text": text}},
                        **named,
                    }
                },
            ],
            "minimum_should_match": 1,
            "filter": list(where),
        }
    }
    if settings.vectors == "none":
        return words
    inside = {"k": max(size, 50), "filter": {"bool": {"filter": list(where)}}}
    if vector is not None:
        near: dict[str, Any] = {"knn": {"passages.vector": {"vector": list(vector), **inside}}}
    else:
        asked = {"query_text": text, **({"model_id": settings.model_id} if settings.model_id else {})}
        near = {"neural": {"passages.vector": {**asked, **inside}}}
    return {"hybrid": {"queries": [words, {"nested": {"path": "passages", "score_mode": "max", "query": near}}]}}


def conditions(filters: Mapping[str, str], principals: Sequence[str] | None) -> list[dict[str, Any]]:
    """What every hit has to fulfil."""
    found: list[dict[str, Any]] = [FOUND, *({"term": {f"metadata.{name}": value}} for name, value in filters.items())]
    if principals is not None:
        everybody = {"bool": {"must_not": {"exists": {"field": "principals"}}}}
        found.append({"bool": {"should": [everybody, {"terms": {"principals": list(principals)}}]}})
    return found


def fusion(client: OpenSearch, prefix: str) -> str:
    """The name of the search pipeline that joins both, made as this cluster can: by rank from 2.19, else by score."""
    number = client.info()["version"]["number"]
    if tuple(int(part) for part in number.split(".")[:2]) >= _RRF:
        rank: dict[str, Any] = {"combination": {"technique": "rrf", "rank_constant": _RANK_CONSTANT}}
        name, processor = f"{prefix}rrf", {"score-ranker-processor": rank}
    else:
        mean: dict[str, Any] = {"technique": "arithmetic_mean", "parameters": {"weights": list(_WEIGHTS)}}
        joined: dict[str, Any] = {"normalization": {"technique": "min_max"}, "combination": mean}
        name, processor = f"{prefix}normalization", {"normalization-processor": joined}
    client.search_pipeline.put(id=name, body={"phase_results_processors": [processor]})
    return name


def _hit(hit: Any) -> Hit:
    source = hit["_source"]
    inner = hit.get("inner_hits", {}).get("passages", {}).get("hits", {}).get("hits", [])
    best = inner[0]["_source"] if inner else (source.get("passages") or [{}])[0]
    return Hit(source["document"], source["title"], source.get("uri"), float(hit["_score"]), best.get("text", ""))
