"""Find a quote in the words of a transcript: word for word, or as near as copying by hand comes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from rapidfuzz import fuzz
from rapidfuzz.distance import Levenshtein

from .numerals import readings

#: A quote of fewer words has to be exact.
SHORTEST = 5
#: One word in so many may differ.
WORDS_PER_SLIP = 6
_CUTOFF = 80
#: Words by which an alignment of letters may miss the ends, as where digits stand for words.
_BLUR = 3
_SPACELESS = r"\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
#: One word, its accents and apostrophes inside; each character of a script without spaces counts as a word.
_TOKEN = re.compile(rf"[{_SPACELESS}]|(?:(?![{_SPACELESS}])[^\W_][\u0300-\u036f]*(?:['\u2019](?=[^\W\d_]))?)+")
#: What somebody who copies speech leaves out or puts in without changing what was said.
_SLIGHT_WORDS = """um uh er erm ah hmm so well like just you know okay ok right and then the a an that percent
né tipo então assim aí e o os as uma por cento pues este bueno y el la los las un una entonces ciento"""
_SLIGHT = frozenset(_SLIGHT_WORDS.split())


class Token(NamedTuple):
    """A folded word and where it stands in the original text."""

    text: str
    start: int
    end: int


def fold(text: str) -> list[Token]:
    """Words without case, punctuation and width; a number keeps its digits, a word its letters."""
    return [Token(_folded(match[0]), *match.span()) for match in _TOKEN.finditer(text)]


def exact(quote: Sequence[str], words: Sequence[str]) -> range | None:
    """The words that are the quote, one by one."""
    haystack = f" {' '.join(words)} "
    at = haystack.find(f" {' '.join(quote)} ")
    if at < 0:
        return None
    first = haystack.count(" ", 0, at)
    return range(first, first + len(quote))


def nearly(quote: Sequence[str], words: Sequence[str]) -> range | None:
    """The words that the quote is a copy of, with a slip here and there.

    A slip is a filler or an article too many or too few, another ending of a word, or a spoken number in digits. A word
    that changes what is said is none: another number, a negation, another name.
    """
    if len(quote) < SHORTEST:
        return None
    return next((place for place in _aligned(quote, words) if _copied(quote, words[place.start : place.stop])), None)


def _aligned(quote: Sequence[str], words: Sequence[str]) -> list[range]:
    """The runs of words that look most like the quote, the likeliest first."""
    haystack = " ".join(words)
    alignment = fuzz.partial_ratio_alignment(" ".join(quote), haystack, score_cutoff=_CUTOFF)
    if alignment is None:
        return []
    first = haystack.count(" ", 0, alignment.dest_start)
    last = haystack.count(" ", 0, alignment.dest_end) + 1
    begins = range(max(0, first - _BLUR), min(len(words), first + _BLUR + 1))
    ends = range(max(0, last - _BLUR), min(len(words), last + _BLUR) + 1)
    places = [range(begin, end) for begin in begins for end in ends if begin < end]
    return sorted(places, key=lambda place: Levenshtein.distance(quote, words[place.start : place.stop]))


def _copied(quote: Sequence[str], said: Sequence[str]) -> bool:
    differences = list(_differences(quote, said))
    return len(differences) * WORDS_PER_SLIP <= max(len(quote), WORDS_PER_SLIP) and all(
        _slight(*difference) for difference in differences
    )


def _differences(quote: Sequence[str], said: Sequence[str]) -> Iterator[tuple[Sequence[str], Sequence[str]]]:
    """What the quote has, and what was said instead, wherever they are not the same."""
    edits = Levenshtein.opcodes(quote, said)
    for differs, run in groupby(edits, key=lambda edit: edit.tag != "equal"):
        if differs:
            first, *_, last = [*run] * 2
            yield quote[first.src_start : last.src_end], said[first.dest_start : last.dest_end]


def _slight(copied: Sequence[str], said: Sequence[str]) -> bool:
    if all(word in _SLIGHT for word in (*copied, *said)):
        return True
    if copied and all(map(str.isdecimal, copied)):
        return {*copied, "".join(copied)} & readings(
            [word for word in said if word not in {"percent", "cento"}]
        ) != set()
    return len(copied) == len(said) and all(map(_inflected, copied, said))


def _inflected(one: str, other: str) -> bool:
    """Whether two words differ in their ending alone: ``restart`` and ``restarted``."""
    longer = max(len(one), len(other))
    same = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return one.isalpha() and other.isalpha() and same >= 4 and same * 10 >= longer * 6


def _folded(word: str) -> str:
    plain = unicodedata.normalize("NFKC", word).casefold()
    return "".join(plain.replace("'", "").replace("\u2019", "").split())  # some ligatures fold into several words
