"""What some segments say, as the things that a document can get wrong: numbers, names, commands."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

from rapidfuzz import fuzz

from stenobus_contracts import Segment

from .numerals import ORDINALS, WRITTEN, counts, groups, native, readings, runs, spellings

#: Signs by their spoken names. A name is no part of what is written: ``d f dash h`` is ``df -h``.
_SIGNS = {
    "|": "pipe pipes tubería tuberia",
    "<": "less menor from",
    ">": "greater redirect maior mayor into",
    "&": "ampersand background",
    ";": "semicolon",
    "*": "star asterisk asterisco",
}
_SILENT_WORDS = """dash minus hyphen slash backslash underscore pipe dot point equals colon tilde asterisk star
ampersand semicolon at traço traco hífen hifen menos barra ponto igual sublinhado arroba guion guión punto subrayado
tubería tuberia asterisco"""
_SILENT = frozenset(_SILENT_WORDS.split())
#: Names that recognisers spell as they sound.
_HEARD = {
    ("system", "control"): "systemctl",
    ("system", "ctl"): "systemctl",
    ("system", "c", "t", "l"): "systemctl",
    ("journal", "control"): "journalctl",
    ("journal", "ctl"): "journalctl",
    ("cube", "control"): "kubectl",
    ("cube", "cuddle"): "kubectl",
    ("kube", "control"): "kubectl",
    ("kube", "cuttle"): "kubectl",
    ("kube", "ctl"): "kubectl",
    ("engine", "x"): "nginx",
    ("my", "sequel"): "mysql",
    ("post", "gres"): "postgres",
    ("pseudo",): "sudo",
    ("cert", "bot"): "certbot",
}
_LONGEST_HEARD = max(map(len, _HEARD))
_HEARD_FIRST = frozenset(name[0] for name in _HEARD)
#: Scripts without spaces: each of their characters stands for itself.
_SPACELESS = r"\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_LETTER = rf"(?:(?![{_SPACELESS}])[^\W_])"
_WORD = re.compile(rf"\d+(?:[.,:]\d+)+(?!{_LETTER})|[{_SPACELESS}]|{_LETTER}+(?:['\u2019](?=[^\W\d_]){_LETTER}+)?")
#: Letters of a word from which it says something by itself, and those that count of it, in whatever form it stands.
_LONGER, _STEM = 4, 5
#: How alike a product's name and what was heard have to be: PostgreSQL and postgres are.
_ALIKE = 80


def words(text: str) -> list[str]:
    """Words and written numbers, folded; signs are left out, and with them what separates ``sda1`` from ``/dev``."""
    return _WORD.findall(_folded(text))


def stems(folded: Iterable[str]) -> frozenset[str]:
    """Beginnings of the longer words; every character of a script without spaces."""
    return frozenset(word[:_STEM] for word in folded if len(word) >= _LONGER or re.fullmatch(f"[{_SPACELESS}]", word))


class Said:
    """The words of some segments, in the spellings that they may have in a document."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._text = _folded("\n".join(texts))
        self._words = native(_WORD.findall(self._text))

    @classmethod
    def of(cls, segments: Iterable[Segment]) -> Said:
        """What these segments say."""
        return cls(segment.text for segment in segments)

    def number(self, number: str) -> bool:
        """Whether a number was said, in digits or in words. A time of day may be said in parts."""
        number = _folded(number)
        if spellings(number) & self._numbers:
            return True
        parts = number.split(":")
        if not 2 <= len(parts) <= 3 or not all(part.isdigit() for part in parts):
            return False
        first, *rest = (str(int(part)) for part in parts)
        return all(part in self._numbers for part in (first, *(each for each in rest if each != "0")))

    def phrase(self, phrase: Sequence[str]) -> bool:
        """Whether these words, folded, were said one after the other."""
        return f" {' '.join(phrase)} " in self._line

    def name(self, name: str) -> bool:
        """Whether an identifier, a path or a command was said: the same letters and digits between word ends."""
        wanted = _bare(name)
        if not wanted or wanted in self._vocabulary:
            return True
        return self._spoken.holds(wanted) or self._typed.holds(wanted)

    def sign(self, sign: str) -> bool:
        """Whether a sign that changes what a command does was said, as itself or by its name."""
        return sign in self._text or any(each in self._vocabulary for each in _SIGNS.get(sign, "").split())

    def resembles(self, name: str) -> bool:
        """Whether a name of letters alone was said, or something close: a recogniser knows no trademarks."""
        wanted = _bare(name)
        return self.name(name) or any(fuzz.ratio(wanted, word) >= _ALIKE for word in self._vocabulary if len(word) > 3)

    def mentions(self, label: str) -> bool:
        """Whether a speaker's label or name occurs among the words."""
        return all(word in self._vocabulary for word in words(label))

    def share(self, text: str) -> float:
        """Share of the longer words of a text that were said, in whatever form; 1 where it has not even two."""
        longer = stems(words(text))
        return len(longer & self._stems) / len(longer) if len(longer) > 1 else 1.0

    @cached_property
    def _stems(self) -> frozenset[str]:
        return stems(self._words)

    @cached_property
    def _line(self) -> str:
        return f" {' '.join(self._words)} "

    @cached_property
    def _vocabulary(self) -> frozenset[str]:
        return frozenset(self._words)

    @cached_property
    def _numbers(self) -> frozenset[str]:
        written = {match[0] for match in WRITTEN.finditer(self._text)}
        found = {spelling for number in written for spelling in spellings(number)}
        found |= {str(ORDINALS[word]) for word in self._vocabulary & ORDINALS.keys()}
        for first, last in runs(self._words):
            found |= readings(self._words[first:last])
        return frozenset(found)

    @cached_property
    def _spoken(self) -> _Stream:
        return _Stream(self._words)

    @cached_property
    def _typed(self) -> _Stream:
        return _Stream(_written(self._words))


class _Stream:
    """Folded words run together, with the places where one begins or ends."""

    def __init__(self, words: Iterable[str]) -> None:
        self._ends = [0]
        parts: list[str] = []
        for word in words:
            bare = word if word.isalnum() else _bare(word)
            if bare:
                parts.append(bare)
                self._ends.append(self._ends[-1] + len(bare))
        self._text = "".join(parts)

    def holds(self, wanted: str) -> bool:
        """Whether the letters occur, from where a word begins to where one ends."""
        at = self._text.find(wanted)
        while at >= 0:
            if self._is_end(at) and self._is_end(at + len(wanted)):
                return True
            at = self._text.find(wanted, at + 1)
        return False

    def _is_end(self, place: int) -> bool:
        index = bisect_left(self._ends, place)
        return index < len(self._ends) and self._ends[index] == place


def _written(words: list[str]) -> Iterator[str]:
    """The words as somebody would type them: numbers as digits, signs without their names, names that were heard."""
    numbers = dict(runs(words))
    index = 0
    while index < len(words):
        if index in numbers:
            last = numbers[index]
            yield from groups([word for word in words[index:last] if counts(word)])
            index = last
            continue
        length = 0
        if words[index] in _HEARD_FIRST:
            length = next((n for n in range(_LONGEST_HEARD, 0, -1) if tuple(words[index : index + n]) in _HEARD), 0)
        if length:
            yield _HEARD[tuple(words[index : index + length])]
        elif words[index] not in _SILENT:
            yield words[index]
        index += length or 1


def _bare(text: str) -> str:
    """Letters and digits alone, folded."""
    return "".join(letter for letter in _folded(text) if letter.isalnum())


def _folded(text: str) -> str:
    """One case, one width, one set of digits."""
    if text.isascii():
        return text.lower()
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(str(unicodedata.decimal(each)) if each.isdecimal() else each for each in folded)
