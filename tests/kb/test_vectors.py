"""Each text is embedded once, and what is searched by vectors is exactly what is there."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from stenobus_kb.chunk import Chunk
from stenobus_kb.embedders.hashed import HashedEmbedder
from stenobus_kb.errors import EmbedderUnavailable
from stenobus_kb.excerpt import excerpt
from stenobus_kb.fusion import Candidate, Ranking, fused
from stenobus_kb.index import Index
from stenobus_kb.library import BATCH, Library
from stenobus_kb.order import Order
from stenobus_kb.prepared import Prepared
from stenobus_kb.search import Page, Query, Searcher, Shared

from .conftest import document

if TYPE_CHECKING:
    from stenobus_kb.embedders import Role, Vectors

ORDER = Order("1", "documents")
#: Of the vector of "The disk was full, ñandú.", as the first release made it: indexes exist that hold it.
FIRST_PLACES = [15, 20, 28, 42, 60, 62]
FIRST_VALUES = [0.162156, 0.162156, 0.162156, -0.173739, 0.173739, 0.173739]


class Points:
    """Embeds a text `x y more words` as the point (x, y), and remembers what it was asked."""

    def __init__(self, model: str = "points", dimension: int = 2) -> None:
        self.model, self.dimension = model, dimension
        self.asked: list[str] = []
        self.failing = False

    def embed(self, texts: Sequence[str], role: Role = "passage") -> Vectors:
        if self.failing:
            raise EmbedderUnavailable("The points are away: try again.")
        self.asked += texts
        found = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in enumerate(texts):
            found[row, :2] = [float(word) for word in text.split("\n")[-1].split()[:2]]
        found /= np.linalg.norm(found, axis=1, keepdims=True)
        return found


@pytest.fixture
def points() -> Points:
    return Points()


def sync(library: Library, event: str, delete: Sequence[str] = (), collection: str = "documents", **texts: str) -> None:
    order = Order(event, collection)
    prepared = [Prepared(document(name, text), [Chunk((), text)]) for name, text in texts.items()]
    library.stage(order, prepared)
    library.flip(order, len(prepared), delete)


def near(searcher: Searcher, text: str, **restrictions: Any) -> list[str]:
    page = searcher.search(Query(text, mode="vectors", **restrictions))
    assert page.note is None
    return [hit.document for hit in page.hits]


@pytest.fixture
def library(index: Index, points: Points) -> Library:
    library = Library(index, points)
    library.catch_up()
    return library


def test_the_nearest_come_first_and_what_points_elsewhere_not_at_all(library: Library, path: Path) -> None:
    sync(library, "1", north="0 1", east="1 0", northeast="1 1", south="0 -1")
    with closing(Searcher(path, Points())) as searcher:
        assert near(searcher, "0.1 1") == ["north", "northeast", "east"]
        [hit, *_] = searcher.search(Query("0.1 1", mode="vectors")).hits
        assert hit.legs["vectors"].score == pytest.approx(0.995, abs=1e-3) and hit.snippet == "0 1"


def test_an_open_search_follows_every_sync(library: Library, path: Path) -> None:
    with closing(Searcher(path, Points())) as searcher:
        assert near(searcher, "0 1") == []
        for number in range(60):
            sync(library, f"{number}", **{f"d{number}": f"{number + 1} 100"})
        assert near(searcher, "0 1")[:2] == ["d0", "d1"]
        sync(library, "moved", ["d0"], d1="0.5 100", d30="-1 0")
        assert near(searcher, "0 1")[:2] == ["d1", "d2"] and "d30" not in near(searcher, "0 1", limit=100)
        sync(library, "most of them go", [f"d{number}" for number in range(2, 60)])
        assert near(searcher, "0 1") == ["d1"]
        sync(library, "new", d99="0 1")
        assert near(searcher, "0 1") == ["d99", "d1"]


def test_searchers_share_their_vectors_and_each_sees_whole_syncs(library: Library, path: Path) -> None:
    shared, problems = Shared(), list[str]()
    sync(library, "0", a="0 1", b="1 10")

    def ask(done: threading.Event) -> None:
        with closing(Searcher(path, Points(), shared=shared)) as searcher:
            while not done.is_set():
                found = sorted(hit.snippet for hit in searcher.search(Query("0 1")).hits)
                if len(found) != 2 or len({text.partition(" v")[2] for text in found}) != 1:
                    problems.append(str(found))

    done = threading.Event()
    readers = [threading.Thread(target=ask, args=(done,)) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(60):
        sync(library, f"v{number}", a=f"0 1 v{number}", b=f"1 10 v{number}")
    done.set()
    for reader in readers:
        reader.join()
    assert problems == []


def test_a_search_that_is_far_behind_begins_anew(library: Library, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stenobus_kb.revision.REVISIONS_KEPT", 3)
    sync(library, "0", a="0 1", gone="1 1")
    with closing(Searcher(path, Points())) as searcher:
        assert near(searcher, "0 1") == ["a", "gone"]
        sync(library, "1", ["gone"])
        for number in range(10):
            sync(library, f"more{number}", b=f"{number} 1")
        assert near(searcher, "0 1") == ["a", "b"]


def test_filters_hold_inside_the_search(library: Library, path: Path) -> None:
    sync(library, "1", **{f"d{number}": f"{number} 1000" for number in range(500)})
    sync(library, "2", collection="rare", far="1 1", farther="2 1")
    with closing(Searcher(path, Points(), Ranking(depth=10))) as searcher:
        assert near(searcher, "0 1", collections=("rare",)) == ["far", "farther"]
        assert near(searcher, "0 1", collections=("documents",), limit=3) == ["d0", "d1", "d2"]
        assert near(searcher, "1 1", limit=1) == ["far"]
        assert near(searcher, "1 1", collections=("documents",), limit=1) == ["d499"]
        assert near(searcher, "0 1", collections=()) == []
        sync(library, "3", ["far"], collection="rare")
        assert near(searcher, "0 1", collections=("rare",)) == ["farther"]


def test_a_text_is_embedded_once_whatever_becomes_of_its_documents(library: Library, points: Points) -> None:
    sync(library, "1", a="0 1", b="0 2")
    assert len(points.asked) == 2
    sync(library, "2", ["b"])
    library.stage(Order("3", "documents"), [Prepared(document("b", "0 2"), [Chunk((), "0 2")])])
    changed = document("a", "0 1", metadata={"year": 2026})
    library.stage(Order("4", "documents"), [Prepared(changed, [Chunk((), "0 1")] * 2)])
    assert len(points.asked) == 2


def test_another_model_takes_over_at_once_and_the_old_one_serves_until_then(index: Index, path: Path) -> None:
    old = Points("old")
    library = Library(index, old)
    library.catch_up()
    sync(library, "1", **{f"d{number}": f"{number} 1" for number in range(BATCH + 20)})

    new = Points("new", dimension=3)
    changed = Library(index, new)
    stop = threading.Event()
    asked = new.embed

    def once(texts: Sequence[str], role: Role = "passage") -> Vectors:
        stop.set()
        return asked(texts, role)

    new.embed = once  # type: ignore[method-assign]
    changed.catch_up(stop)
    assert len(new.asked) == BATCH

    with closing(Searcher(path, old)) as before, closing(Searcher(path, Points("new", 3))) as after:
        assert near(before, "0 1", limit=1) == ["d0"]
        page = after.search(Query("d7 1"))
        assert page.note and "of old and new is set up" in page.note and page.model is None
        assert changed.catch_up() == 20  # goes on where it was stopped
        assert near(after, "0 1", limit=1) == ["d0"]
        page = before.search(Query("d7 1"))
        assert page.note and "of new and old is set up" in page.note
    [(models, vectors)] = index.connection.execute(
        "SELECT group_concat(model), (SELECT count(*) FROM vectors) FROM generations"
    )
    assert (models, vectors) == ("new", BATCH + 20)


def test_what_one_model_staged_has_vectors_of_the_one_that_flips_it(index: Index, path: Path) -> None:
    old, new = Library(index, Points("old")), Library(index, Points("new"))
    old.catch_up()
    old.stage(ORDER, [Prepared(document("a", "0 1"), [Chunk((), "0 1")])])
    new.catch_up()
    new.flip(ORDER, 1)
    with closing(Searcher(path, Points("new"))) as searcher:
        assert near(searcher, "0 1") == ["a"]


def test_a_model_that_is_away_stages_nothing_and_leaves_the_words_to_be_searched(
    library: Library, points: Points, index: Index, path: Path
) -> None:
    sync(library, "1", a="0 1 whale")
    points.failing = True
    with pytest.raises(EmbedderUnavailable):
        sync(library, "2", b="1 1 whale")
    assert index.compare(Order("2", "documents"), [document("b", "1 1 whale")]).staged == set()
    with closing(Searcher(path, points)) as searcher:
        page: Page = searcher.search(Query("whale"))
        assert [hit.document for hit in page.hits] == ["a"]
        assert page.note == "Only words were searched: The points are away: try again."


def test_a_passage_in_both_legs_comes_before_one_in_one() -> None:
    def candidates(*chunks: int) -> list[Candidate]:
        return [Candidate(chunk, chunk // 10, 1.0) for chunk in chunks]

    best = fused({"words": candidates(10, 20, 30), "vectors": candidates(40, 30)}, Ranking(k=20), 3, 9)
    assert [each.chunk for each in best] == [30, 10, 40, 20]
    assert best[0].score == pytest.approx(1 / 23 + 1 / 22, abs=1e-6)
    assert {leg: place.rank for leg, place in best[0].legs.items()} == {"words": 3, "vectors": 2}

    heavier = fused({"words": candidates(10), "vectors": candidates(20)}, Ranking(vectors=2.0), 3, 9)
    assert [each.chunk for each in heavier] == [20, 10]
    words = {"words": candidates(11, 12, 13, 14, 21)}
    assert [each.chunk for each in fused(words, Ranking(), 3, 9)] == [11, 12, 13, 21]
    assert [each.chunk for each in fused(words, Ranking(), 3, 2)] == [11, 12]


@pytest.mark.parametrize(
    ("body", "question", "shown", "marked"),
    [
        ("Los certificados\nvencieron.", "certificado vencido", "Los certificados vencieron.", ["certificados"]),
        ("", "x", "", []),
        ("no word of it", "the of", "no word of it", []),
    ],
)
def test_an_excerpt_shows_the_words_of_the_question(body: str, question: str, shown: str, marked: list[str]) -> None:
    text, marks = excerpt(body, question)
    assert text == shown and [text[start:end] for start, end in marks] == marked


def test_an_excerpt_of_a_long_passage_is_where_the_words_are() -> None:
    text, marks = excerpt(
        " ".join(f"w{n}" for n in range(100)) + " whales " + " ".join(f"v{n}" for n in range(100)), "whale"
    )
    assert text.startswith("…w92 ") and text.endswith("v22…") and [text[a:b] for a, b in marks] == ["whales"]


@pytest.fixture(scope="module")
def hashed() -> HashedEmbedder:
    return HashedEmbedder()


@pytest.mark.parametrize(
    ("text", "close", "far"),
    [
        ("los certificados vencidos", "certificado vencido", "perros y gatos"),
        ("exposición en Ñuñoa", "exposicion nunoa", "carros usados"),
        ("restaurante vegano", "restaurantes veganas", "estacionamiento"),
        ("informação", "información", "impressora"),
        ("kubernetes deployment", "kubernets deploymnt", "database index"),
    ],
)
def test_hashed_vectors_are_near_by_words_stems_and_letters(
    hashed: HashedEmbedder, text: str, close: str, far: str
) -> None:
    vector, near, away = hashed.embed([text, close, far])
    assert vector @ near > 0.35 > 0.2 > vector @ away


def test_hashed_vectors_are_the_same_everywhere(hashed: HashedEmbedder) -> None:
    [vector] = hashed.embed(["The disk was full, ñandú."])
    assert vector.dtype == np.float32 and vector.shape == (384,) and np.linalg.norm(vector) == pytest.approx(1)
    assert np.flatnonzero(vector)[:6].tolist() == FIRST_PLACES
    assert vector[FIRST_PLACES].tolist() == pytest.approx(FIRST_VALUES, abs=1e-6)


def test_hashed_vectors_of_no_words_are_zero_and_of_stop_words_are_not(hashed: HashedEmbedder) -> None:
    nothing, stop = hashed.embed([" -- ", "to be or not to be"])
    assert not nothing.any() and np.linalg.norm(stop) == pytest.approx(1)
    assert hashed.embed([]).shape == (0, 384)
    assert np.isfinite(hashed.embed(["x" * 1_000_000])).all()
