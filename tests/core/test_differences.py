"""Where two documents differ."""

from __future__ import annotations

from typing import Any

import pytest

from stenobus_core.differences import NOTHING, differences


def ref(text: str, **more: Any) -> dict[str, Any]:
    return {"uri": f"nats://b/{text}", "sha256": text * 64, "size": 1, "content_type": "text/plain", **more}


def found(original: Any, shadow: Any) -> list[tuple[str, Any, Any]]:
    return [(place.path, place.original, place.shadow) for place in differences(original, shadow)]


@pytest.mark.parametrize("document", [None, 1, "a", [], {}, {"a": [1, {"b": None}]}, {"ref": ref("a")}])
def test_equal_documents_have_no_difference(document: Any) -> None:
    assert found(document, document) == []


def test_each_difference_has_a_place() -> None:
    original = {"a": 1, "b": {"c": [1, 2, 3]}, "gone": None, "on": True}
    shadow = {"a": 2, "b": {"c": [1, 4]}, "new": [], "on": 1}
    assert found(original, shadow) == [
        ("a", 1, 2),
        ("b.c[1]", 2, 4),
        ("b.c[2]", 3, NOTHING),
        ("gone", None, NOTHING),
        ("on", True, 1),
        ("new", NOTHING, []),
    ]
    assert found([1], {"a": 1}) == [("", [1], {"a": 1})]


def test_content_counts_by_its_hash_wherever_it_lies() -> None:
    assert found({"r": ref("a")}, {"r": ref("a", uri="s3://bucket/a")}) == []
    assert found({"r": ref("a")}, {"r": ref("b")}) == [("r", ref("a"), ref("b"))]
    assert [path for path, *_ in found({"r": ref("a")}, {"r": {"uri": "nats://b/a"}})] == [
        "r.sha256",
        "r.size",
        "r.content_type",
    ]


def test_a_place_lies_below_its_path() -> None:
    (place,) = differences({"stages": [{"seconds": 1}]}, {"stages": [{"seconds": 2}]})
    for path in ("stages", "stages[0]", "stages[*]", "stages[*].seconds", "stages[0].seconds"):
        assert place.concerns(path)
    for path in ("stage", "stages[1]", "seconds", "stages[*].second"):
        assert not place.concerns(path)
