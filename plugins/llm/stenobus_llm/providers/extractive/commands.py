"""Commands inside sentences, as they were written or spoken: ``systemctl restart nginx``, ``d f dash h``."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from .language import Language, fold

#: Words of a command, at most.
LONGEST = 14

_TOKEN = re.compile(r"\S+")
_QUOTED = re.compile(r"`([^`\s][^`]*)`")
_STRIP = "\"'`“”‘’«»()[]{},;:!?"
_ENDS = re.compile(r"""[,;:!?.]["'”’)\]]*$""")
#: A path, an option, a file, a setting, a machine (``/var -h pg_dump x=1 node-07``), and no "end-to-end".
_SHELL = re.compile(r"^(?:\.{0,2}/|~/|--?[a-z])|[a-z0-9][_.=/][a-z0-9]|[a-z]-\d|\d-[a-z]", re.IGNORECASE)


class Span(NamedTuple):
    """``text[start:end]`` is a command."""

    start: int
    end: int


class _Programs(NamedTuple):
    names: frozenset[str]
    words: frozenset[str]
    subcommands: frozenset[str]
    services: frozenset[str]
    statements: frozenset[str]


@cache
def _programs() -> _Programs:
    table = tomllib.loads((files(__package__) / "programs.toml").read_text(encoding="utf-8"))
    return _Programs(**{name: frozenset(words.split()) for name, words in table.items()})


class _Token(NamedTuple):
    start: int
    end: int
    folded: str
    #: Written in capitals, as statements of SQL are.
    loud: bool

    @property
    def shell(self) -> bool:
        """Whether no prose has such a word."""
        return any(map(str.isalpha, self.folded)) and _SHELL.search(self.folded) is not None


def find(text: str, language: Language) -> list[Span]:
    """Commands in a sentence, in order, not overlapping."""
    if "`" in text and (quoted := [Span(*match.span(1)) for match in _QUOTED.finditer(text)]):
        return quoted
    tokens = [
        _Token(*match.span(), fold(match[0]).strip(_STRIP).rstrip("."), match[0].isupper())
        for match in _TOKEN.finditer(text)
    ]
    spans: list[Span] = []
    index = 0
    while index < len(tokens):
        span_end = 0
        for start in _starts(tokens, index, text, language):
            span_end = _extent(tokens, start, text, language)
            if span_end:
                spans.append(_span(tokens, start, span_end, text))
                break
        index = span_end or index + 1
    return spans


def _starts(tokens: Sequence[_Token], index: int, text: str, language: Language) -> Iterator[int]:
    """Where a command may begin that is announced at ``index``, or that needs no announcement."""
    first, following = tokens[index].folded, tokens[index + 1].folded if index + 1 < len(tokens) else ""
    piped = following == "|" and tokens[index + 2 :][:1] and _program(tokens[index + 2])
    if piped or (tokens[index].loud and first in _programs().statements and following):
        yield index
        return
    if index and tokens[index - 1].folded in language.using and _used(tokens[index:][:2]):
        yield index
        return
    if not (first in _programs().names or language.verbs.opens(first) or language.nouns.opens(first)):
        return
    folded = [token.folded for token in tokens[index : index + 6]]
    verb = max((match.end for match in language.verbs.at(folded, 0)), default=0)
    # "run the command d f dash h": whatever follows both a verb and the noun is a command.
    noun = max((match.end for match in language.nouns.at(folded, verb)), default=0) if verb < len(folded) else 0
    if noun and index + noun < len(tokens):
        start = index + noun
        announced = (
            verb > 0
            or (index > 0 and tokens[index - 1].folded in language.using)
            or _ENDS.search(text[tokens[start - 1].start : tokens[start - 1].end])
        )
        if announced or _commandlike(tokens, start, language, verb=True):
            yield start
        return
    if verb and index + verb < len(tokens):
        start = index + verb
        if tokens[start].folded in language.articles and start + 1 < len(tokens):
            start += tokens[start + 1].folded in _programs().names
        if _commandlike(tokens, start, language, verb=True):
            yield start
    elif _commandlike(tokens, index, language, verb=False):
        yield index


def _used(tokens: Sequence[_Token]) -> bool:
    """Whether what stands behind "with" or "used" is a program and what it is given."""
    if len(tokens) < 2 or not tokens[1].shell:
        return False
    if tokens[1].folded.startswith("-") and tokens[0].folded.isalnum():
        return True
    return _program(tokens[0]) or "_" in tokens[0].folded


def _program(token: _Token) -> bool:
    return token.folded in _programs().names or token.folded in _programs().words


def _commandlike(tokens: Sequence[_Token], start: int, language: Language, *, verb: bool) -> bool:
    first = tokens[start].folded
    following = tokens[start + 1].folded if start + 1 < len(tokens) else ""
    if not first or first in language.stops:
        return False
    known = _programs()
    if not verb:
        given = start + 1 < len(tokens) and tokens[start + 1].shell
        return first in known.names and (following in known.subcommands | known.names or given)
    if first in known.names or first in known.words or tokens[start].shell:
        return True
    if following.startswith("-"):
        return True
    if len(first) == len(following) == 1 and first.isalpha():
        return True  # spelled: "d f", "l s"
    ahead = [token.folded for token in tokens[start + 1 : start + 5]]
    until = next((i for i, word in enumerate(ahead) if word in language.stops), len(ahead))
    return any(word in language.symbols for word in ahead[:until]) or any(
        token.shell for token in tokens[start + 1 : start + 1 + min(until, 2)]
    )


def _extent(tokens: Sequence[_Token], start: int, text: str, language: Language) -> int:
    """The index after the command's last token; 0 when nothing of a command is left."""
    index, quotes, loud = start, 0, tokens[start].loud
    while index < min(len(tokens), start + LONGEST):
        token = tokens[index]
        raw = text[token.start : token.end]
        # "dash a" is an option, whatever the word "a" means elsewhere, and whatever was heard in its place.
        option = index > start and tokens[index - 1].folded in language.symbols
        if quotes % 2 == 0 and token.folded in language.stops and not option and not (loud and token.loud):
            break
        quotes += raw.count('"')
        index += 1
        spelled = raw.endswith(",") and (len(token.folded) == 1 or token.folded in language.symbols)
        if quotes % 2 == 0 and _ENDS.search(raw) and not spelled:
            break
    alone = index == start + 1 and tokens[start].folded in _programs().services
    return index if index > start and not alone else 0


def _span(tokens: Sequence[_Token], start: int, end: int, text: str) -> Span:
    first, last = tokens[start], tokens[end - 1]
    raw = text[last.start : last.end]
    kept = raw.rstrip(".,;:!?")
    opening = len(text[first.start : first.end]) - len(text[first.start : first.end].lstrip("“‘«("))
    return Span(first.start + opening, last.start + len(kept) if kept else last.end)
