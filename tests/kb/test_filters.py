"""Who may find what: restrictions hold inside the search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stenobus_kb.search import Query
from stenobus_kb.search import search as find

from .conftest import Put, search


def names(path: Path, **restrictions: Any) -> list[str]:
    return sorted(hit.document for hit in search(path, "whale", **restrictions))


def test_who_asks_finds_what_is_for_everybody_and_what_is_for_them(put: Put, path: Path) -> None:
    put("public", "whale")
    put("support", "whale", principals=("group:support", "user:ana"))
    put("board", "whale", principals=("group:board",))

    assert names(path) == ["board", "public", "support"]
    assert names(path, principals=()) == ["public"]
    assert names(path, principals=("group:support",)) == ["public", "support"]
    assert names(path, principals=("user:ana", "group:board")) == ["board", "public", "support"]
    assert names(path, principals=("group:suppor", "%", '"')) == ["public"]


def test_metadata_is_compared_by_value_and_lists_by_their_items(put: Put, path: Path) -> None:
    put("a", "whale", metadata={"lang": "es", "year": 2026, "draft": False, "tags": ["sea", "big"], 'od"d.key': 1})
    put("b", "whale", metadata={"lang": "en", "year": 2026, "draft": True, "tags": ["sea"]})
    put("c", "whale")

    assert names(path, metadata={"lang": "es"}) == ["a"]
    assert names(path, metadata={"year": 2026}) == ["a", "b"]
    assert names(path, metadata={"year": "2026"}) == []
    assert names(path, metadata={"year": 2026, "draft": True}) == ["b"]
    assert names(path, metadata={"tags": "sea"}) == ["a", "b"]
    assert names(path, metadata={"tags": "big"}) == ["a"]
    assert names(path, metadata={'od"d.key': 1}) == ["a"]
    assert names(path, metadata={"": "es"}) == []


def test_several_collections_or_none_at_all(put: Put, path: Path) -> None:
    for name in "abc":
        put(name, "whale", collection=name)

    assert names(path, collections=("a", "c")) == ["a", "c"]
    assert names(path, collections=()) == []


def test_a_rare_document_is_found_behind_a_thousand_better_ones(put: Put, path: Path) -> None:
    for number in range(1_000):
        put(f"common{number}", "whale whale whale", title="whale")
    put("rare", "The whale is mentioned only once in this rather long text about something else.", metadata={"x": 1})

    assert names(path, metadata={"x": 1}) == ["rare"]


def test_pages_follow_each_other_without_gap_or_repetition(put: Put, path: Path) -> None:
    for number in range(25):
        put(f"{number:02}", "whale " * (number + 1))

    pages = [find(path, Query("whale", limit=10, offset=offset)) for offset in (0, 10, 20, 30)]

    assert [len(page.hits) for page in pages] == [10, 10, 5, 0]
    assert [page.more for page in pages] == [True, True, False, False]
    whole = [hit.document for page in pages for hit in page.hits]
    assert whole == [hit.document for hit in search(path, "whale", limit=100)] and len(set(whole)) == 25


@pytest.mark.parametrize(("limit", "offset"), [(0, 0), (1, -1), (1_001, 0), (500, 501)])
def test_a_page_has_bounds(limit: int, offset: int) -> None:
    with pytest.raises(ValueError, match="at most 1000"):
        Query("whale", limit=limit, offset=offset)
