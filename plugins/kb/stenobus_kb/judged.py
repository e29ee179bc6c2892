"""Judged queries: what people ask, and which documents answer it, in the files that test collections come in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stenobus_contracts import BlobRef, KbDocument

from .chunk import chunks
from .errors import KbError
from .index import Index
from .library import Library

if TYPE_CHECKING:
    from .embedders import Embedder

#: Query id → document id → relevance; 0 is judged and not relevant.
Qrels = dict[str, dict[str, int]]


def read_queries(path: Path) -> dict[str, str]:
    """Queries by id: lines ``id<TAB>text``, or JSON lines with ``_id`` and ``text`` as BEIR has them.

    Raises:
        KbError: the file cannot be read, or is neither.
    """
    found = {}
    for number, line in _lines(path):
        if path.suffix == ".jsonl":
            fields = _json(path, number, line)
            name, text = str(fields.get("_id", "")), str(fields.get("text", ""))
        else:
            name, _, text = line.partition("\t")
        if not name.strip() or not text.strip():
            raise KbError(f"{path}, line {number}: expected an id, a tab and a query.")
        found[name.strip()] = text.strip()
    return found


def read_qrels(path: Path) -> Qrels:
    """Judgements: TREC's ``query 0 document relevance``, or BEIR's three columns under a head line.

    Raises:
        KbError: the file cannot be read, or is neither.
    """
    found: Qrels = {}
    for number, line in _lines(path):
        fields = line.split()
        if number == 1 and fields[-1] == "score":
            continue  # BEIR's head line
        if len(fields) not in {3, 4} or not fields[-1].lstrip("-").isdigit():
            raise KbError(f"{path}, line {number}: expected `query 0 document relevance`.")
        found.setdefault(fields[0], {})[fields[-2]] = int(fields[-1])
    return found


def read_corpus(path: Path) -> Iterator[tuple[str, str, str]]:
    """Id, title and text of every document: a folder of Markdown or text files, or BEIR's ``corpus.jsonl``.

    Raises:
        KbError: there is neither, or a document is damaged.
    """
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix in {".md", ".txt"})
        if not files:
            raise KbError(f"{path} holds no .md or .txt file.")
        for file in files:
            text = _text(file)
            first = text.lstrip().partition("\n")[0]
            title = first.removeprefix("# ") if first.startswith("# ") else file.stem
            yield str(file.relative_to(path).with_suffix("")), title, text
        return
    for number, line in _lines(path):
        fields = _json(path, number, line)
        if "_id" not in fields or "text" not in fields:
            raise KbError(f"{path}, line {number}: expected the fields _id and text.")
        yield str(fields["_id"]), str(fields.get("title", "")), str(fields["text"])


def fill(index: Index, collection: str, corpus: Path, embedder: Embedder | None) -> int:
    """Put a corpus into an index; returns the number of documents. Raises as :func:`read_corpus` does."""
    count = 0
    for name, title, text in read_corpus(corpus):
        body = text.encode()
        content = BlobRef(uri=f"corpus://document/{count}", sha256=hashlib.sha256(body).hexdigest(), size=len(body))
        index.put(collection, KbDocument(id=name, title=title, content=content), chunks(text, title))
        count += 1
    Library(index, embedder).catch_up()
    return count


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise KbError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise KbError(f"{path} is no UTF-8 text.") from error


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    return ((number, line) for number, line in enumerate(_text(path).splitlines(), 1) if line.strip())


def _json(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        fields = json.loads(line)
    except ValueError as error:
        raise KbError(f"{path}, line {number}: no JSON ({error}).") from error
    if not isinstance(fields, dict):
        raise KbError(f"{path}, line {number}: expected a JSON object.")
    return fields
