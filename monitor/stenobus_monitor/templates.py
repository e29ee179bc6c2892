"""Many lines of a log as few templates: Drain's fixed-depth tree over words whose variable parts have a type.

A template says what kind of line it is, how often it came, and shows its first and its last line. What varies in it is
replaced by the name of its type: whoever can make a program log a text of his choice gets no word of it into a template
that others share.

He, P. et al., "Drain: An Online Log Parsing Approach with Fixed Depth Tree", ICWS 2017.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from operator import eq
from typing import Final

#: What stands for words that differ and have no type.
ANY: Final = "<*>"
#: Characters of a line that count; the rest is cut off.
_LONGEST: Final = 1000
#: Words of a line by which it is told from others; all behind them are one.
_WORDS: Final = 60
#: Part of the words that must be equal for a line to belong to a template.
_ALIKE: Final = 0.5
#: Words that a level of the tree tells apart; all others share one branch.
_BRANCHES: Final = 100
#: Templates; further lines count as other.
_MOST: Final = 2000
#: Words and lines whose form is remembered.
_KNOWN: Final = 50_000

_DIGITS: Final = {ord(digit): "0" for digit in "123456789"}
_RUN: Final = re.compile("00+")
#: Forms of a word, in which every run of digits is a single 0. The first that fits is its type.
_TYPES: Final = re.compile(
    r"\W*(?:"
    r"(?P<ip>/?0\.0\.0\.0(?::0)?(?:/0)?)"
    r"|(?P<num>[-+]?0(?:[.,]0)*)"
    r"|(?P<time>(?:0-0-0T?)?0:0(?::0)?(?:[.,]0)?(?:Z|[+-]0:0)?|0[-/]0[-/]0)"
    r"|(?P<size>0(?:[.,]0)?(?:B|[KMGT]i?B|[mun]?s|secs?|min|[hm%kK]))"
    r"|(?P<hex>0x[0a-fA-F]+|(?=[^0]*0)(?=0*[a-fA-F])[0a-fA-F]{6,})"
    r"|(?P<uuid>[0a-fA-F]+(?:-[0a-fA-F]+){4})"
    r")\W*"
    r"|\W*(?P<path>(?:[A-Za-z]:)?[\\/][\w.@+~#-]*[\\/]\S*|\w+://\S+)"
)


@dataclass(slots=True)
class Template:
    """Lines of one kind."""

    words: list[str]
    count: int
    #: As they were written, the ends of long ones cut off.
    first: str
    last: str

    def __str__(self) -> str:
        return " ".join(self.words)


class Templates:
    """Sorts lines as they come. Memory is bounded, whatever the lines are."""

    def __init__(self) -> None:
        self.all: list[Template] = []
        #: Lines that found no place any more.
        self.other = 0
        self._tree: dict[tuple[int, str, str], list[Template]] = {}
        self._heads: dict[int, set[str]] = {}
        self._words: dict[str, str] = {}
        #: Templates by a line's form, and by its words' types.
        self._lines: dict[str, Template] = {}
        self._forms: dict[str, Template] = {}

    def add_all(self, lines: Iterable[str]) -> None:
        """Sort many lines."""
        for line in lines:
            self.add(line)

    def add(self, line: str) -> Template | None:
        """Sort one line.

        Returns:
            Its template; None when there are too many.
        """
        if len(line) > _LONGEST:
            line = line[:_LONGEST]
        form = _RUN.sub("0", line.translate(_DIGITS))
        template = self._lines.get(form)
        if template is None:
            template = self._place(form, line)
            if template is None:
                self.other += 1
                return None
            if len(self._lines) >= _KNOWN:
                self._lines.clear()
            self._lines[form] = template
        template.count += 1
        template.last = line
        return template

    def _place(self, form: str, line: str) -> Template | None:
        """The template of a form that was not seen before: one that is alike enough, or a new one."""
        words = [self._words.get(word) or self._type(word) for word in form.split()]
        if len(words) > _WORDS:
            words[_WORDS:] = [ANY]
        known = self._forms.get(typed := " ".join(words))
        if known is None and (known := self._nearest(words, line)) is not None:
            if len(self._forms) >= _KNOWN:
                self._forms.clear()
            self._forms[typed] = known
        return known

    def _nearest(self, words: list[str], line: str) -> Template | None:
        """The template that most of the words are equal to, or a new one."""
        branch = self._tree.setdefault(self._key(words), [])
        best, most = None, 0.0
        for template in branch:
            alike = _alike(template.words, words)
            if alike > most:
                best, most = template, alike
        if best is not None and most >= _ALIKE:
            for place, word in enumerate(words):
                if best.words[place] != word:
                    best.words[place] = ANY
            return best
        if len(self.all) >= _MOST:
            return None
        new = Template(words, 0, line, line)
        branch.append(new)
        self.all.append(new)
        return new

    def _key(self, words: list[str]) -> tuple[int, str, str]:
        """Where in the tree: the number of words and the first two of them that are no variables."""
        size = len(words)
        return size, self._branch(size, words[0]) if words else "", self._branch(-size, words[1]) if size > 1 else ""

    def _branch(self, level: int, word: str) -> str:
        if "<" in word:
            return ANY
        heads = self._heads.setdefault(level, set())
        if word not in heads:
            if len(heads) >= _BRANCHES:
                return ANY
            heads.add(word)
        return word

    def _type(self, word: str) -> str:
        """A word, with what varies in it replaced by its type."""
        found = word
        if not word.isalpha():
            match = _TYPES.fullmatch(word)
            found = f"<{match.lastgroup}>" if match else word.replace("0", "<num>")
        if len(self._words) >= _KNOWN:
            self._words.clear()
        self._words[word] = found
        return found


def _alike(template: list[str], words: list[str]) -> float:
    """Part of the words that are equal; variables count as nothing."""
    return sum(map(eq, template, words)) / len(words) if words else 1.0
