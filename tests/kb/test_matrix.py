"""What is found by rounded vectors is what exact search finds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import pytest

from stenobus_kb.chunk import Chunk
from stenobus_kb.database import open_reader
from stenobus_kb.index import Index
from stenobus_kb.matrix import Matrix
from stenobus_kb.order import Order
from stenobus_kb.prepared import Prepared
from stenobus_kb.rough import estimates, rounded

from .conftest import document

DIMENSION = 24
CHUNKS = 3_000
DICE = np.random.default_rng(7)
#: Chunks of a document weigh this much, in turn.
WEIGHTS = (1.0, 0.5, 0.9)


def crowd(count: int, width: float) -> Any:
    """Vectors of length 1 around one centre: the narrower, the more of them rounding puts in another order."""
    points = np.ones(DIMENSION) + width * DICE.standard_normal((count, DIMENSION))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everybody's here, who only reads it."""
    return tmp_path_factory.mktemp("matrix") / "kb.sqlite"


@pytest.fixture(scope="module")
def vectors(path: Path) -> Iterator[Any]:
    """Those of the chunks of the index, by id; every third document is in the collection ``few``."""
    with closing(Index(path)) as index:
        yield filled(index)


def filled(index: Index) -> Any:
    vectors = crowd(CHUNKS, 0.05)
    generation = index.generation("given", DIMENSION)
    index.serve(generation)
    step = len(WEIGHTS)
    for place in range(0, CHUNKS, step):
        name = f"d{place}"
        chunks = [Chunk((), f"text {place + nth}", weight=weight) for nth, weight in enumerate(WEIGHTS)]
        prepared = Prepared(document(name, name), chunks)
        known = zip((digest for digest, _ in prepared.embedded), vectors[place : place + step], strict=True)
        order = Order(name, "few" if place % 9 == 0 else "many")
        index.stage(order, [prepared], generation, {digest: vector.tobytes() for digest, vector in known})
        index.flip(order, 1)
    return vectors


@pytest.fixture
def reader(vectors: Any, path: Path) -> Iterator[apsw.Connection]:
    with closing(open_reader(path)) as connection:
        yield connection


def best(scores: Any, most: int, floor: float) -> list[float]:
    return [score for score in sorted(map(float, scores), reverse=True)[:most] if score >= floor]


@pytest.mark.parametrize(
    ("collection", "most", "floor"),
    [
        (None, 10, 0.05),
        (None, 10, 0.9995),
        (None, CHUNKS * 2, 0.0),
        ("few", 10, 0.05),
        ("many", 20, 0.05),
        ("no", 9, 0),
    ],
)
def test_the_nearest_are_those_of_exact_search(
    reader: apsw.Connection, vectors: Any, collection: str | None, most: int, floor: float
) -> None:
    matrix = Matrix()
    matrix.follow(reader)
    documents = np.arange(CHUNKS) // len(WEIGHTS)
    inside = {"few": documents % 3 == 0, "many": documents % 3 != 0, "no": documents < 0, None: documents >= 0}
    allowed = None if collection is None else ("documents.live AND documents.collection = ?", [collection])
    weights = np.tile(WEIGHTS, CHUNKS // len(WEIGHTS))
    for question in crowd(20, 0.05):
        scores = (vectors.astype(float) @ question) * weights
        found = matrix.nearest(question, most, floor, allowed, reader)
        assert [each.score for each in found] == pytest.approx(best(scores[inside[collection]], most, floor), abs=2e-6)
        assert [scores[each.chunk - 1] for each in found] == pytest.approx([each.score for each in found], abs=2e-6)


@pytest.mark.parametrize("width", [0.0, 0.01, 1.0, 100.0])
def test_an_estimate_is_never_further_off_than_it_says(width: float) -> None:
    vectors = np.concatenate([crowd(500, width), np.zeros((1, DIMENSION), np.float32), 3 * crowd(5, width)])
    for question in crowd(50, width):
        guessed, error = estimates(rounded(vectors), question)
        off = np.abs(guessed - vectors.astype(float) @ question).max()
        assert 0 < off <= error < 0.2


def test_every_number_of_a_code_counts() -> None:
    """At whatever width the machine's instructions are: each place alone, from the smallest to the largest code."""
    for dimension in (1, 15, 31, 64, 65, 384):
        vectors = np.eye(dimension, dtype=np.float32)
        for question in (np.full(dimension, -1, np.float32), np.full(dimension, 1, np.float32)):
            guessed, _ = estimates(rounded(vectors), question)
            assert guessed == pytest.approx(vectors @ question)
