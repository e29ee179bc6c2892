"""Answers from the knowledge base: a model says what the best passages say, and code checks every quote."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from stenobus_contracts import LlmDone, LlmRequest, Message
from stenobus_core.foreign import DATA_RULE, delimited

from . import catalogue
from .search import Hit, Query, Searcher

#: Of the words of the prompt; part of the task's name, so that accounting tells versions apart.
VERSION: Final = 1
#: Characters of one source, and of all of them.
_LONGEST: Final = 4_000
_MOST: Final = 24_000
_BLANK: Final = re.compile(r"\s+")

_SYSTEM: Final = """\
You answer a question from numbered sources, and from nothing else. Answer with one JSON object that fits the schema.

- statements: what the sources say to the question, most important first, in the language of the question. Each one
  stands on one source: its number, and a quote copied letter by letter from it that says so. What has no such quote is
  left out; a statement whose quote is not in its source is thrown away.
- answered: false when the sources do not say it. Then there are no statements."""


class _Statement(BaseModel):
    model_config = ConfigDict(extra="forbid")

    text: str = Field(description="one sentence, or two")
    source: int = Field(description="the number of the source that says so")
    quote: str = Field(description="its words, copied letter by letter")


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    answered: bool
    statements: list[_Statement]


@dataclass(frozen=True, slots=True)
class Source:
    """A passage that may hold the answer."""

    number: int
    hit: Hit
    text: str


@dataclass(frozen=True, slots=True)
class Statement:
    """Something that a source says, in its own words beside the model's."""

    text: str
    source: Source
    quote: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a question."""

    statements: tuple[Statement, ...]
    #: Statements that were thrown away: their quotes are in no source that they name.
    ungrounded: int


def sources(searcher: Searcher, query: Query) -> list[Source]:
    """The passages that answer a query best, whole.

    Raises:
        IndexUnusable: the index is unreadable, damaged, foreign or of another schema.
    """
    found: list[Source] = []
    left = _MOST
    for hit in searcher.search(query).hits:
        text = _text(searcher.path, query, hit)[: min(_LONGEST, left)]
        if text and all(text != source.text for source in found):
            found.append(Source(len(found) + 1, hit, text))
            left -= len(text)
    return found


def request(question: str, given: Sequence[Source], **options: Any) -> LlmRequest:
    """What a model is asked. Equal arguments give an equal request, which is paid for once.

    Args:
        question: of the person.
        given: the sources; they are data, and no instructions.
        options: more fields of the request.
    """
    texts = {"question": question}
    texts |= {f"source-{source.number}": f"{_name(source.hit)}\n\n{source.text}" for source in given}
    return LlmRequest(
        task=f"kb.ask.{VERSION}",
        messages=(
            Message(role="system", content=f"{_SYSTEM}\n\n{DATA_RULE}"),
            Message(role="user", content="\n\n".join(delimited(texts).values())),
        ),
        response_schema=_Answer.model_json_schema(),
        **options,
    )


def read(done: LlmDone, given: Sequence[Source]) -> Answer:
    """The answer, without what no source says.

    Raises:
        ValueError: it is of another shape.
    """
    answer = _Answer.model_validate(done.data)
    by_number = {source.number: source for source in given}
    statements = []
    for said in answer.statements if answer.answered else ():
        source = by_number.get(said.source)
        if source is not None and (quote := _found(said.quote, source.text)):
            statements.append(Statement(" ".join(said.text.split()), source, quote))
    thrown = len(answer.statements) - len(statements) if answer.answered else 0
    return Answer(tuple(statements), thrown)


def _text(path: Path, query: Query, hit: Hit) -> str:
    """The whole section that a hit is of."""
    visible = replace(query.filter, metadata={})
    found = catalogue.document(path, visible, hit.collection, hit.document)
    passages = found[1] if found else []
    return "\n\n".join(passage.text for passage in passages if passage.heading == hit.heading)


def _name(hit: Hit) -> str:
    return " › ".join(filter(None, (hit.title, hit.heading)))


def _found(quote: str, text: str) -> str:
    """The words of the text that a quote copies, whatever blanks are between them; nothing when it does not."""
    words = quote.split()
    if not words:
        return ""
    match = re.search(r"\s+".join(map(re.escape, words)), text, re.IGNORECASE)
    return _BLANK.sub(" ", match[0]) if match else ""
