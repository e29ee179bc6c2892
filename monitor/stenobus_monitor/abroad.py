"""What a model elsewhere may read of a text: ordinary words, small figures, names that code chose, and nothing else.

A list of what is forbidden always has holes; this is a list of what is allowed. Whatever is not on it becomes a
placeholder such as ``[word-1]``, ``[hex-2]`` or ``[number-3]``, the same for the same value, so that a model can still
say that the key of one line is the key of another. There is no way back, and no need of one: an answer names lines by
their ids and proves them by quotes of what it was shown.

A run is what stands between spaces, quotes and brackets; its fields, what stands between ``/``, ``:`` and the like. A
run is judged as a whole: the pieces of a generator's output are words now and then, all of them never.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from stenobus_core.sensitive import Kind, masked

from . import announced
from .vocabulary import known, numbered, telling

_MASKED: Final[tuple[Kind, ...]] = ("secret", "account", "email")
#: Between runs, and between the fields of a run.
_RUNS: Final = re.compile(r"([\s\"'`()\[\]{}<>,;|&?=…×→←«»“”‘’„–—•·]+)")
_FIELDS: Final = re.compile(r"([/\\:@$#+~%*!^]+)")
_PIECES: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W_]|[^\w._-]|[^\x00-\x7f]")
#: What is no word and says nothing about anybody: small numbers with units, times, addresses, versions, error codes.
_DAY: Final = r"(?:0[1-9]|[12][0-9]|3[01])"
_MONTH: Final = r"(?:0[1-9]|1[0-2])"
_DATE: Final = (
    rf"(?:(?:19|20)?[0-9]{{2}}[-/.]{_MONTH}[-/.]{_DAY}|{_DAY}[-/.]{_MONTH}(?:[-/.](?:19|20)?[0-9]{{2}})?"
    rf"|{_MONTH}[-/.]{_DAY})"
)
_TIME: Final = r"(?:[01]?[0-9]|2[0-3])[:.][0-5][0-9](?:[:.][0-5][0-9])?(?:[.:][0-9]{1,9})?"
_ZONE: Final = r"(?:Z|[-+][01][0-9]:?[0-5][0-9])?"
_FIGURE: Final = re.compile(
    rf"{_DATE}(?:[T_:-]?{_TIME})?{_ZONE}[-.:]*|{_TIME}{_ZONE}[-.:]*|[-+~±#]?(?:"
    r"[0-9]{1,5}(?:\.[0-9]{1,6})?(?:%|x|[kKMGT]i?B?|B|[µmun]?s|ms|secs?|mins?|[hdm])?"
    r"|/?(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?::[0-9]{1,5})?(?:/[0-9]{1,2})?"
    r"|v?[0-9]{1,3}(?:\.[0-9]{1,4}){1,3}"
    r"|[KMGT]i?B|0x[0-9a-fA-F]{1,8}|[0-9]{1,3}/[0-9]{1,3}|[0-9]{1,2}[hm](?:[0-9]{1,2}[ms])?(?:[0-9]{1,2}s)?"
    r")[-.:!/*#]*"
)
_ADDRESS: Final = re.compile(r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}")
_PORT: Final = re.compile(r"[0-9]{1,5}")
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_HEX: Final = re.compile(r"(?=[^0-9]*[0-9])(?:0x)?(?:[0-9a-f]{7,}|[0-9A-F]{7,})")
_NUMBER: Final = re.compile(r"[-+]?[0-9.]+")
#: So that nobody can write what stands for another value.
_PLACEHOLDER: Final = re.compile(r"(?:word|hex|uuid|number)-[0-9]+")
_CHOSEN: Final = frozenset({"container", "handler", "plugin", "consumer", "stream", "service", "network", "disk"})
#: A name that code chose is no longer than this, nor are its parts: of letters, and of letters and digits.
_NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,79}")
_LETTERS, _MIXED = 24, 11
#: Letters and digits in pieces that anything might have, as long as words do not outweigh them.
_WEAK: Final = 5
#: What it weighs where letters touch digits, and where a small piece touches another only by its case; and the most.
_DIGIT_TOUCH, _CASE_TOUCH, _TOUCHES = 2, 1, 4
#: A chunk without spaces of this length needs words for this part of it, or loses every piece that is none.
_CHUNK, _PART = 10, 1 / 3
#: Runs of digits, or of letters and digits, next to each other; and characters of those that are too many.
_ROW, _ROW_LENGTH = 3, 12


class _Weight(NamedTuple):
    """What a field, or a run, consists of."""

    #: Letters in words that speak for themselves.
    words: int = 0
    #: Letters and digits in pieces that anything might have.
    weak: int = 0
    #: How often pieces of different kinds touch, weighted.
    touches: int = 0
    #: Whether there is anything else.
    strange: bool = False

    @property
    def ordinary(self) -> bool:
        """Whether it may pass."""
        light = self.weak <= _WEAK or self.weak <= self.words
        return light and self.touches <= _TOUCHES and not self.strange


def _together(weights: Sequence[_Weight]) -> _Weight:
    if len(weights) == 1:
        return weights[0]
    words, weak, touches, strange = zip(*weights, strict=True)
    return _Weight(sum(words), sum(weak), max(touches), any(strange))


class Abroad:
    """Rewrites the texts of one request.

    Args:
        names: components, such as ``container:asr``; their fields pass, unless they look as if a generator had made
            them, or are what publishers of events choose.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = {field for name in names if _chosen(name) for field in _FIELDS.split(name) if _plain(field)}
        self._stand: dict[str, str] = {}
        self._count: dict[str, int] = {}

    def __call__(self, text: str) -> str:
        """The text as it may leave."""
        parts = _RUNS.split(announced.hidden(masked(text, _MASKED)))
        bare = self._rows(parts) | self._chunks(parts)
        for at in range(0, len(parts), 2):
            if parts[at]:
                parts[at] = self._run(parts[at], bare=at in bare)
        return "".join(parts)

    def _rows(self, parts: list[str]) -> set[int]:
        """Places of runs that are figures in a row, such as a card number or a recovery code in groups."""
        found: set[int] = set()
        row: list[int] = []
        for at in range(0, len(parts) + 2, 2):
            run = parts[at] if at < len(parts) else ""
            if len(run) >= _ROW and run.isalnum() and not run.isalpha() and self._weigh(run).words == 0:
                row.append(at)
            else:
                if len(row) >= _ROW and sum(len(parts[each]) for each in row) >= _ROW_LENGTH:
                    found.update(row)
                row = []
            if at + 1 < len(parts) and len(parts[at + 1]) > 1:
                row = []
        return found

    def _chunks(self, parts: list[str]) -> set[int]:
        """Places of runs between which are signs and no spaces, and which hardly hold a word or are beside a secret."""
        found: set[int] = set()
        chunk: list[int] = []
        for at in range(0, len(parts), 2):
            chunk.append(at)
            if at + 2 < len(parts) and not any(map(str.isspace, parts[at + 1])):
                continue
            text = "".join(parts[chunk[0] : at + 1])
            if len(text) < _CHUNK or text.isalpha():
                chunk = []
                continue
            runs = [parts[each] for each in chunk if not _figure(parts[each])]
            if any(map(str.isalnum, "".join(runs))):
                words = sum(self._weigh(field).words for run in runs for field in _FIELDS.split(run)[::2])
                if words < _PART * len(text) or announced.HIDDEN[:-1] in text:
                    found.update(chunk)
            chunk = []
        return found

    def _run(self, run: str, *, bare: bool) -> str:
        """What may stay of a run; of one that is ``bare`` only what speaks for itself."""
        if _figure(run) and not bare:
            return run
        fields = _FIELDS.split(run)
        weights = [self._weigh(field) for field in fields[::2]]
        spoofed = any(map(_PLACEHOLDER.fullmatch, fields[::2]))
        if _together(weights).ordinary and not spoofed and not bare:
            return run
        for at, weight in enumerate(weights):
            field = fields[2 * at]
            if not field.strip("._-") or (weight.ordinary and 2 * weight.weak <= weight.words and not spoofed):
                continue
            port = at > 0 and fields[2 * at - 1] == ":" and _PORT.fullmatch(field)
            if not port and not _ADDRESS.fullmatch(field):
                fields[2 * at] = self._placeholder(field)
        return "".join(fields)

    def _weigh(self, field: str) -> _Weight:
        return _Weight(words=len(field)) if field.strip("._-") in self._names else _weigh(field)

    def _placeholder(self, value: str) -> str:
        core = value.strip("._-") or value
        stand = self._stand.get(core)
        if stand is None:
            kind = _kind(core)
            self._count[kind] = self._count.get(kind, 0) + 1
            stand = self._stand[core] = f"[{kind}-{self._count[kind]}]"
        return stand


@lru_cache(maxsize=50_000)
def _figure(run: str) -> bool:
    return bool(_FIGURE.fullmatch(run))


@lru_cache(maxsize=50_000)
def _weigh(field: str) -> _Weight:
    words = weak = touches = 0
    behind, end = "", -1
    for found in _PIECES.finditer(field):
        piece = found[0]
        if piece.isascii() and piece.isdigit():
            if len(piece) > _WEAK:
                return _Weight(strange=True)
            weak += len(piece)
        elif piece.isascii() and piece.isalpha() and known(piece.lower()):
            if telling(piece.lower()):
                words += len(piece)
            else:
                weak += len(piece)
        else:
            return _Weight(strange=True)
        if found.start() == end:
            digits = piece.isdigit() + behind.isdigit()
            if piece.isdigit() and telling(behind.lower()) and not numbered(behind.lower()):
                return _Weight(strange=True)
            small = not (telling(piece.lower()) and telling(behind.lower()))
            touches += _DIGIT_TOUCH if digits == 1 else _CASE_TOUCH if small else 0
        behind, end = piece, found.end()
    return _Weight(words, weak, touches)


def _chosen(name: str) -> bool:
    """Whether a component got its name from code or from an operator, not from whoever publishes an event."""
    kind, _, rest = name.partition(":")
    return kind in _CHOSEN and bool(rest)


def _plain(name: str) -> bool:
    """Whether a name of a component may pass as it is."""
    chunks = re.findall(r"[A-Za-z0-9]+", name)
    made = any(len(each) > (_LETTERS if each.isalpha() else _MIXED) for each in chunks)
    return bool(_NAME.fullmatch(name)) and not made and not _UUID.search(name)


def _kind(value: str) -> str:
    if _UUID.fullmatch(value):
        return "uuid"
    if _NUMBER.fullmatch(value):
        return "number"
    return "hex" if _HEX.fullmatch(value) else "word"
