"""Numbers as they are written and as they are spoken, in English, Portuguese and Spanish.

``five oh two``, ``502``; ``eighty eighty``, ``8080``; ``três ponto onze``, ``3.11``; ``forty thousand``, ``40,000``.
A run of spoken numbers has several readings, and each of them counts as said.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import accumulate

#: Digits with separators inside: a count, a decimal, a version, an address, a time of day.
WRITTEN = re.compile(r"\d+(?:[.,:]\d+)*")
#: A longer run of spoken numbers is a list: its numbers count, their joints do not.
_LONGEST_RUN = 12

_UNITS = """zero 0 oh 0 one 1 two 2 three 3 four 4 five 5 six 6 seven 7 eight 8 nine 9 ten 10 eleven 11 twelve 12
thirteen 13 fourteen 14 fifteen 15 sixteen 16 seventeen 17 eighteen 18 nineteen 19 twenty 20 thirty 30 forty 40 fifty 50
sixty 60 seventy 70 eighty 80 ninety 90
um 1 uma 1 dois 2 duas 2 três 3 tres 3 quatro 4 cinco 5 seis 6 sete 7 oito 8 nove 9 dez 10 onze 11 doze 12 treze 13
quatorze 14 catorze 14 quinze 15 dezesseis 16 dezassete 17 dezessete 17 dezoito 18 dezenove 19 vinte 20 trinta 30
quarenta 40 cinquenta 50 sessenta 60 setenta 70 oitenta 80 noventa 90 cento 100 duzentos 200 duzentas 200 trezentos 300
trezentas 300 quatrocentos 400 quatrocentas 400 quinhentos 500 quinhentas 500 seiscentos 600 setecentos 700
oitocentos 800 novecentos 900
cero 0 uno 1 una 1 un 1 dos 2 cuatro 4 siete 7 ocho 8 nueve 9 diez 10 once 11 doce 12 trece 13 catorce 14 quince 15
dieciséis 16 dieciseis 16 diecisiete 17 dieciocho 18 diecinueve 19 veinte 20 veintiuno 21 veintidós 22 veintidos 22
veintitrés 23 veintitres 23 veinticuatro 24 veinticinco 25 veintiséis 26 veintiseis 26 veintisiete 27 veintiocho 28
veintinueve 29 treinta 30 cuarenta 40 cincuenta 50 sesenta 60 ochenta 80 noventa 90 ciento 100 cien 100 doscientos 200
doscientas 200 trescientos 300 trescientas 300 cuatrocientos 400 quinientos 500 quinientas 500 seiscientos 600
setecientos 700 ochocientos 800 novecientos 900"""
_SCALES = """
hundred 100 thousand 1000 million 1000000 billion 1000000000 cem 100 mil 1000 milhão 1000000 milhões 1000000
bilhão 1000000000 millón 1000000 millones 1000000"""
#: Said where digits would do; never asked for, since "second" and "first" are ordinary words.
_ORDINALS = """
first 1 second 2 third 3 fourth 4 fifth 5 sixth 6 seventh 7 eighth 8 ninth 9 tenth 10 primeiro 1 primeira 1
segundo 2 segunda 2 terceiro 3 terceira 3 quarto 4 quinto 5 primero 1 primer 1 primera 1 tercero 3 tercer 3 tercera 3"""
_AND = frozenset({"and", "e", "y"})
_POINT = frozenset({"point", "dot", "ponto", "punto", "vírgula", "virgula", "coma"})


def _table(text: str) -> dict[str, int]:
    words = text.split()
    return dict(zip(words[::2], map(int, words[1::2]), strict=True))


UNITS, SCALES, ORDINALS = _table(_UNITS), _table(_SCALES), _table(_ORDINALS)
#: Words that are something else as often as a number: no text is held to them.
DOUBTFUL = frozenset({"one", "oh", "um", "uma", "un", "una", "uno", "once", "dos"})
#: Numbers in Spanish alone: "dos" is no number in Lisbon, and "once" is none in London.
_SPANISH = frozenset({"once", "dos"})
_SPANISH_SIGNS = frozenset({"el", "los", "las", "del", "y", "para", "con", "veces", "minutos", "segundos", "horas"})
_PORTUGUESE_SIGNS = frozenset({"os", "em", "uma", "não", "nao", "da", "na", "das", "nas", "ao", "foi"})


def spellings(number: str) -> frozenset[str]:
    """The numbers that a written number may stand for: ``1,000`` is 1000 and, in Lisbon, 1.000."""
    whole = number.rstrip(".,:")
    found = {whole, whole.replace(",", ".")} if whole.count(",") == 1 else {whole}
    for mark in ",.":
        head, *groups = whole.split(mark)
        if groups and 1 <= len(head) <= 3 and all(len(group) == 3 for group in groups):
            found.add(head + "".join(groups))
    return frozenset(found)


def counts(word: str) -> bool:
    """Whether the word is a number, written or spoken."""
    return word in UNITS or word in SCALES or WRITTEN.fullmatch(word) is not None


def runs(words: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Where words of a number follow each other: ``[first, behind the last)``, connecting words only inside."""
    first = None
    last = -1
    for index, word in enumerate(words):
        if counts(word):
            first, last = index if first is None else first, index
        elif first is not None and not (word in _AND or word in _POINT):
            yield first, last + 1
            first = None
    if first is not None:
        yield first, last + 1


def readings(run: Sequence[str]) -> set[str]:
    """Every number that a run of words may mean: its groups, their joints, and decimals at each spoken point."""
    parts: list[list[str]] = [[]]
    for word in run:
        if word in _POINT:
            parts.append([])
        else:
            parts[-1].append(word)
    grouped = [groups(part) for part in parts]
    found: set[str] = set()
    for index, part in enumerate(grouped):
        whole = part[index > 0 : len(part) - (index < len(grouped) - 1)]  # beside a point a number goes on
        found.update(whole)
        if len(whole) <= _LONGEST_RUN:
            found.update("".join(each) for each in _chains(whole))
    if 1 < len(grouped) <= _LONGEST_RUN and all(grouped):
        middle = ["".join(part) for part in grouped[1:-1]]
        ends = ["".join(grouped[0][i:]) for i in range(len(grouped[0]))]
        starts = list(accumulate(grouped[-1]))
        found.update(".".join((end, *middle, start)) for end in ends for start in starts)
    return {spelling for number in found for spelling in spellings(number)}


def native(words: Sequence[str]) -> list[str]:
    """The words without those that only look like Spanish numbers."""
    if not _SPANISH_SIGNS.isdisjoint(words) and _PORTUGUESE_SIGNS.isdisjoint(words):
        return list(words)
    return [word for word in words if word not in _SPANISH]


def groups(words: Sequence[str]) -> list[str]:
    """The numbers of a run, read by the grammar: ``two thousand and five`` is one, ``eighty eighty`` are two."""
    found: list[str] = []
    total = current = 0
    last: int | None = None  # the smallest step taken in the group that is open; None when none is

    def close() -> None:
        nonlocal total, current, last
        if last is not None:
            found.append(str(total + current))
        total = current = 0
        last = None

    for word in words:
        if word in SCALES and last is not None:
            scale = SCALES[word]
            if scale == 100:
                current = (current or 1) * 100
            else:
                total, current = total + (current or 1) * scale, 0
            last = scale
        elif word in SCALES:
            total, current, last = (0, 100, 100) if SCALES[word] == 100 else (SCALES[word], 0, SCALES[word])
        elif word in UNITS:
            number = UNITS[word]
            step = 100 if number >= 100 else 10 if number >= 20 else 1
            if last is not None and (step >= last or number == 0 or (step == 1 and number >= 10 and last == 10)):
                close()
            current, last = current + number, step
        elif word not in _AND:
            close()
            whole = spellings(word)
            plain = next((each for each in whole if each.isdigit()), None)
            if plain is None or (len(plain) > 1 and plain.startswith("0")) or len(plain) > 12:
                found.append(word)
            else:
                current, last = int(plain), 1
    close()
    return found


def _chains(parts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Every run of numbers in a row that is at least two long."""
    for i in range(len(parts)):
        for j in range(i + 2, len(parts) + 1):
            yield parts[i:j]
