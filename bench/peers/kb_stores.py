"""LanceDB or Chroma with the material of bench/kb.py: ingest, queries, recall. Runs in the peers' environment."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from watch import Watch, row, spread

BATCH = 5_000


def lancedb(folder: Path, texts: list[str], vectors: Any) -> tuple[Callable[[str, Any], list[int]], ...]:
    """Vectors alone, and words with vectors under its reciprocal rank fusion; both exact, without a vector index."""
    import lancedb
    from lancedb.index import FTS
    from lancedb.rerankers import RRFReranker

    store = lancedb.connect(folder / "lancedb")
    table = None
    for start in range(0, len(texts), BATCH):
        part = slice(start, start + BATCH)
        rows = [
            {"id": start + number, "text": text, "vector": vector}
            for number, (text, vector) in enumerate(zip(texts[part], vectors[part], strict=True))
        ]
        if table is None:
            table = store.create_table("bench", rows)
        else:
            table.add(rows)
    assert table is not None
    table.create_index("text", config=FTS())
    table.wait_for_index(["text_idx"])
    fusion = RRFReranker()

    def near(text: str, vector: Any) -> list[int]:
        return [row["id"] for row in table.search(vector).distance_type("cosine").limit(10).to_list()]

    def hybrid(text: str, vector: Any) -> list[int]:
        found = table.search(query_type="hybrid").vector(vector).distance_type("cosine").text(text)
        return [row["id"] for row in found.rerank(fusion).limit(10).to_list()]

    return near, hybrid


def chroma(folder: Path, texts: list[str], vectors: Any) -> tuple[Callable[[str, Any], list[int]], ...]:
    """Vectors by HNSW as it comes; its local edition does not rank words."""
    import chromadb

    store = chromadb.PersistentClient(str(folder / "chroma"))
    collection = store.create_collection("bench", metadata={"hnsw:space": "cosine"}, embedding_function=None)
    for start in range(0, len(texts), BATCH):
        part = slice(start, start + BATCH)
        ids = [str(start + number) for number in range(len(texts[part]))]
        collection.add(ids=ids, documents=texts[part], embeddings=vectors[part])

    def near(text: str, vector: Any) -> list[int]:
        found = collection.query(query_embeddings=[vector], n_results=10, include=["documents"])
        return [int(name) for name in found["ids"][0]]

    return (near,)


def main(peer: str, folder: Path) -> None:
    material = np.load(folder / "material.npz")
    vectors, questions = material["vectors"], material["questions"]
    texts, asked = json.loads((folder / "texts.json").read_text()).values()
    watch = Watch()
    searches = {"lancedb": lancedb, "chroma": chroma}[peer](folder, texts, vectors)
    print(row(f"{peer} ingest and index", watch.rate(len(texts))), flush=True)
    for name, search in zip(("vectors", "hybrid"), searches, strict=False):
        times, right = [], 0
        for text, vector in zip(asked[:5], questions, strict=False):
            search(text, vector)
        for text, vector in zip(asked, questions, strict=True):
            watch = Watch()
            found = search(text, vector)
            times.append(watch.stop())
            if name == "vectors":
                right += len(set(found) & set(np.argpartition(-(vectors @ vector), 10)[:10].tolist()))
        exact = f"   recall@10 {right / 10 / len(asked):.4f}" if name == "vectors" else ""
        print(row(f"{peer} {name}", spread(times) + exact), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
