"""The knowledge base's index: ingest, hybrid queries and how exact they are, beside LanceDB and Chroma.

    python bench/kb.py                      # 100,000 chunks of 384 dimensions; the peers after bench/peers/setup.sh
    python bench/kb.py --chunks 10000 --peers none

Vectors are given, so that no embedder is measured. They lie around 2,000 centres, as texts of some subjects do; words
follow Zipf's law. All engines see the same documents and questions, one question at a time. Beside every figure of the
clock stands the processors', of all threads: it tells more on a machine that others use as well.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from peers.watch import Watch, load, row, spread

from stenobus_contracts import BlobRef, KbDocument
from stenobus_kb.chunk import Chunk
from stenobus_kb.fusion import Ranking
from stenobus_kb.index import Index
from stenobus_kb.order import Order
from stenobus_kb.prepared import Prepared
from stenobus_kb.search import Query, Searcher

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event

    from numpy.typing import NDArray

DIMENSION = 384
CENTRES = 2_000
CHUNKS_PER_DOCUMENT = 5
WORDS_PER_CHUNK = 40
VOCABULARY = 30_000
SEED = 20_260_101
PEERS = Path(__file__).parent.parent / ".venv-peers-kb" / "bin" / "python"


class Given:
    """Embeds a question as the vector it was given."""

    model, dimension = "given", DIMENSION

    def __init__(self, questions: dict[str, Any]) -> None:
        self._questions = questions

    def embed(self, texts: Sequence[str], role: str = "query") -> Any:
        return np.stack([self._questions[text] for text in texts])


def material(chunks: int, queries: int) -> tuple[list[str], NDArray[np.float32], list[str], NDArray[np.float32]]:
    """Texts and vectors of chunks and of questions."""
    dice = np.random.default_rng(SEED)
    centres = dice.standard_normal((CENTRES, DIMENSION), dtype=np.float32)

    def around(count: int) -> NDArray[np.float32]:
        near = centres[dice.integers(0, CENTRES, count)]
        points = near + 0.6 * dice.standard_normal((count, DIMENSION), dtype=np.float32)
        return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)

    share = 1 / np.arange(1, VOCABULARY + 1)
    drawn = dice.choice(VOCABULARY, size=(chunks, WORDS_PER_CHUNK), p=share / share.sum())
    words = np.array([f"w{number:x}z" for number in range(VOCABULARY)])
    texts = [f"{' '.join(words[row])} n{number}" for number, row in enumerate(drawn)]
    # A question has three words of some passage, not of the thirty commonest: those are what stop words are.
    asked = []
    for number, places in enumerate(drawn[dice.integers(0, chunks, queries)]):
        telling = places[places >= 30]
        asked.append(" ".join(words[dice.choice(telling, min(3, len(telling)), replace=False)]) + f" q{number}")
    return texts, around(chunks), asked, around(queries)


def prepared(texts: Sequence[str], vectors: NDArray[np.float32], name: str) -> tuple[Prepared, dict[bytes, bytes]]:
    """A document of some chunks."""
    content = BlobRef(uri=f"bench://{name}", sha256="0" * 64, size=1)
    document = Prepared(
        KbDocument(id=name, title=f"Document {name}", content=content), [Chunk((), text) for text in texts]
    )
    return document, {digest: row.tobytes() for (digest, _), row in zip(document.embedded, vectors, strict=True)}


def ingest(index: Index, texts: Sequence[str], vectors: NDArray[np.float32], batch: int, name: str) -> str:
    """Chunks a second: staged in transactions of so many documents, and flipped by sync of as many."""
    generation = index.generation("given", DIMENSION)
    index.serve(generation)
    watch = Watch()
    step = batch * CHUNKS_PER_DOCUMENT
    for start in range(0, len(texts), step):
        documents, known = [], dict[bytes, bytes]()
        for place in range(start, min(start + step, len(texts)), CHUNKS_PER_DOCUMENT):
            part = slice(place, place + CHUNKS_PER_DOCUMENT)
            document, made = prepared(texts[part], vectors[part], f"{name}{place}")
            documents.append(document)
            known |= made
        order = Order(f"{name}{start}", "bench")
        index.stage(order, documents, generation, known)
        index.flip(order, len(documents))
    return watch.rate(len(texts))


def read(path: Path, questions: dict[str, Any], stop: Event, ready: Event) -> None:
    """A reader process: asks all the time."""
    with closing(Searcher(path, Given(questions))) as searcher:
        while not stop.is_set():
            for text in questions:
                searcher.search(Query(text))
                ready.set()
                if stop.is_set():
                    break


def beside_readers(path: Path, texts: Sequence[str], vectors: Any, questions: dict[str, Any]) -> str:
    """Chunks a second that one writer adds while two processes search."""
    context = multiprocessing.get_context("spawn")
    stop, ready = context.Event(), [context.Event(), context.Event()]
    readers = [context.Process(target=read, args=(path, questions, stop, each)) for each in ready]
    for reader in readers:
        reader.start()
    for each in ready:
        each.wait(120)
    try:
        with closing(Index(path)) as index:
            return ingest(index, texts, vectors, 100, "beside")
    finally:
        stop.set()
        for reader in readers:
            reader.join()


def asked(path: Path, questions: dict[str, Any], mode: Any) -> str:
    """Milliseconds of every question, in one process, embedding excluded."""
    with closing(Searcher(path, Given(questions), Ranking())) as searcher:
        for text in list(questions)[:5]:
            searcher.search(Query(text, mode=mode))
        watches = []
        for text in questions:
            watch = Watch()
            searcher.search(Query(text, mode=mode, limit=10))
            watches.append(watch.stop())
    return spread(watches)


def recall(path: Path, vectors: NDArray[np.float32], questions: dict[str, Any]) -> float:
    """Share of the true ten nearest that the vectors leg finds, of one passage per document."""
    hits, wanted = 0, 0
    with closing(Searcher(path, Given(questions), Ranking(min_similarity=-1))) as searcher:
        for text, vector in questions.items():
            scores = vectors @ vector
            tenth = np.partition(scores, -10)[-10]
            found = searcher.search(Query(text, mode="vectors", limit=10)).hits
            hits += sum(hit.legs["vectors"].score >= tenth - 1e-5 for hit in found)
            wanted += 10
    return hits / wanted


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--chunks", type=int, default=100_000)
    options.add_argument("--queries", type=int, default=200)
    options.add_argument("--peers", default="lancedb,chroma", help="none, or some of lancedb,chroma")
    given = options.parse_args()
    texts, vectors, asking, questions = material(given.chunks, given.queries)
    known = dict(zip(asking, questions, strict=True))
    more = max(5_000, given.chunks // 10)
    print(f"{given.chunks} chunks of {DIMENSION} dimensions, {given.queries} questions; machine's load {load()}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kb.sqlite"
        with closing(Index(path)) as index:
            print(row("stenobus bulk ingest", ingest(index, texts, vectors, 1_000, "bulk")))
        for mode in ("words", "vectors", "hybrid"):
            exact = f"   recall@10 {recall(path, vectors, known):.4f}" if mode == "vectors" else ""
            print(row(f"stenobus {mode}", asked(path, known, mode) + exact))
        print(row("stenobus disk", f"{path.stat().st_size / 1e6:8.0f} MB"))
        extra, points, _, _ = material(more, 1)
        texts_beside = [f"{text} beside" for text in extra]
        print(row("stenobus beside two readers", beside_readers(path, texts_beside, points, known)))
        if given.peers != "none":
            np.savez(Path(folder) / "material.npz", vectors=vectors, questions=questions)
            (Path(folder) / "texts.json").write_text(json.dumps({"texts": texts, "asked": asking}))
            if not PEERS.exists():
                raise SystemExit("The peers are not installed: bash bench/peers/setup.sh, or --peers none.")
            for peer in given.peers.split(","):
                subprocess.run([PEERS, Path(__file__).parent / "peers" / "kb_stores.py", peer, folder], check=True)
    print(f"machine's load at the end {load()}")


if __name__ == "__main__":
    main()
