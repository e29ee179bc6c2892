"""What the provider knows about a language: read from ``languages/<code>.toml``, one file per language."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from stenobus_contracts import ItemKind

from .phrases import Phrases

CODES = ("en", "pt", "es")
#: Stands before the first word of a sentence, so that a phrase can ask for its place: "^ never".
START = "^"
#: What a cue of each strength adds to its kind: one strong cue or two weak ones make a sentence an item.
WEIGHTS = {"strong": 3, "weak": 1, "against": -3}
_WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")


@dataclass(frozen=True)
class Language:
    """Words and phrases of one language, folded: lower case, without accents."""

    code: str
    stopwords: frozenset[str]
    unfinished: frozenset[str]
    leaning: frozenset[str]
    openers: Phrases[None]
    continues: Phrases[None]
    chatter: Phrases[None]
    agreement: Phrases[None]
    topics: Phrases[None]
    turns: Phrases[None]
    announcements: Phrases[ItemKind]
    cues: Phrases[tuple[ItemKind, int]]
    verbs: Phrases[None]
    using: frozenset[str]
    nouns: Phrases[None]
    symbols: frozenset[str]
    articles: frozenset[str]
    stops: frozenset[str]
    headings: dict[str, str]

    def leans(self, words: Sequence[str]) -> bool:
        """Whether a sentence needs the one before it to be understood."""
        return bool(words) and words[0] in self.leaning


def fold(text: str) -> str:
    """Lower case, without accents, with straight apostrophes: how phrases are compared."""
    if not text.isascii():
        decomposed = unicodedata.normalize("NFKD", text.replace("\u2019", "'"))
        text = "".join(character for character in decomposed if not unicodedata.combining(character))
    return text.casefold()


def words(text: str) -> tuple[str, ...]:
    """The folded words of a text."""
    return tuple(_WORD.findall(fold(text)))


@cache
def load(code: str) -> Language:
    """A language by its code, one of :data:`CODES`."""
    table = tomllib.loads((files(__package__) / "languages" / f"{code}.toml").read_text(encoding="utf-8"))
    commands: dict[str, str] = table["commands"]
    return Language(
        code=code,
        stopwords=frozenset(_split(table["stopwords"])),
        unfinished=frozenset(_split(table["unfinished"])),
        leaning=frozenset(_split(table["leaning"])),
        openers=_phrases(table["openers"]),
        continues=_phrases(table["continues"]),
        chatter=_phrases(table["chatter"]),
        agreement=_phrases(table["agreement"]),
        topics=_phrases(table["topics"]),
        turns=_phrases(table["turns"]),
        announcements=Phrases(
            (phrase, kind) for kind, phrases in table["announcements"].items() for phrase in _split(phrases)
        ),
        cues=Phrases(_cues(table["cues"])),
        verbs=_phrases(commands["verbs"]),
        using=frozenset(_split(commands["using"])),
        nouns=_phrases(commands["nouns"]),
        symbols=frozenset(_split(commands["symbols"])),
        articles=frozenset(_split(commands["articles"])),
        stops=frozenset(_split(commands["stops"])),
        headings=table["headings"],
    )


def choose(tag: str | None, texts: Iterable[str]) -> Language:
    """The language of a BCP 47 tag; without a known one, the language whose function words occur most."""
    code = (tag or "").partition("-")[0].casefold()
    if code in CODES:
        return load(code)
    counted = [word for text in texts for word in words(text)]
    # max keeps the first of equals, so that text without any function word is read as English.
    return max(map(load, CODES), key=lambda language: sum(word in language.stopwords for word in counted))


def _split(text: str) -> list[str]:
    return [" ".join(phrase.split()) for phrase in text.split(",")]


def _phrases(text: str) -> Phrases[None]:
    return Phrases((phrase, None) for phrase in _split(text))


def _cues(table: dict[ItemKind, dict[str, Any]]) -> Iterable[tuple[str, tuple[ItemKind, int]]]:
    for kind, strengths in table.items():
        for strength, phrases in strengths.items():
            for phrase in _split(phrases):
                yield phrase, (kind, WEIGHTS[strength])
