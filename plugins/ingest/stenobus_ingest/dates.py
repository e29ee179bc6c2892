"""Dates in a text: ISO, by numbers, and in words of English, Spanish and Portuguese."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from typing import Final

_MONTHS: Final = {
    name: number
    for number, names in enumerate(
        (
            "january jan enero ene janeiro",
            "february feb febrero fevereiro fev",
            "march mar marzo março marco",
            "april apr abril abr",
            "may mayo maio mai",
            "june jun junio junho",
            "july jul julio julho",
            "august aug agosto ago",
            "september sep sept septiembre setiembre setembro set",
            "october oct octubre outubro out",
            "november nov noviembre novembro",
            "december dec diciembre dic dezembro dez",
        ),
        start=1,
    )
    for name in names.split()
}
#: Short names mean other things as well, so they count beside a day only.
_LONG: Final = "|".join(sorted((name for name in _MONTHS if len(name) > 4), key=len, reverse=True))
_ANY: Final = "|".join(sorted(_MONTHS, key=len, reverse=True))
_YEAR: Final = r"(?:19|20)\d\d"
_SHAPES: Final = (
    re.compile(rf"(?<![\w/.-])(?P<y>{_YEAR})-(?P<m>\d\d)-(?P<d>\d\d)(?!\d)"),
    re.compile(rf"(?<![\w/.-])(?P<a>\d{{1,2}})(?P<s>[/.-])(?P<b>\d{{1,2}})(?P=s)(?P<y>{_YEAR})(?![\w/-])"),
    re.compile(
        rf"(?<!\w)(?P<d>\d{{1,2}})(?:st|nd|rd|th|º|°)?\s+(?:de\s+|of\s+)?(?P<n>{_ANY})\.?,?\s+(?:del?\s+)?(?P<y>{_YEAR})\b",
        re.IGNORECASE,
    ),
    re.compile(rf"\b(?P<n>{_ANY})\.?\s+(?P<d>\d{{1,2}})(?:st|nd|rd|th)?,?\s+(?P<y>{_YEAR})\b", re.IGNORECASE),
    re.compile(rf"\b(?P<n>{_LONG})\s+(?:del?\s+|of\s+)?(?P<y>{_YEAR})\b", re.IGNORECASE),
)


def find(text: str, most: int) -> list[tuple[str, str]]:
    """Dates in the order they stand in, as ISO 8601 and as written, each once.

    Where two numbers could both be the month, the day comes first, as everywhere but in the United States.
    """
    found: dict[str, tuple[int, str]] = {}
    taken: list[tuple[int, int]] = []
    for shape in _SHAPES:
        for match in shape.finditer(text):
            start, end = match.span()
            if any(start < other_end and other_start < end for other_start, other_end in taken):
                continue
            for iso in _iso(match):
                taken.append((start, end))
                known = found.get(iso)
                if known is None or start < known[0]:
                    found[iso] = (start, " ".join(match[0].split()))
            if len(taken) >= 20 * most:
                break
    ordered = sorted(found.items(), key=lambda item: item[1][0])
    return [(iso, quote) for iso, (_, quote) in ordered[:most]]


def _iso(match: re.Match[str]) -> Iterator[str]:
    """The date of a match; nothing when there is no such day."""
    parts = match.groupdict()
    year = int(parts["y"])
    if parts.get("a"):
        first, second = int(parts["a"]), int(parts["b"])
        day, month = (first, second) if second <= 12 else (second, first)
    else:
        month = _MONTHS[parts["n"].lower()] if parts.get("n") else int(parts["m"])
        if parts.get("d") is None:
            yield f"{year}-{month:02d}"
            return
        day = int(parts["d"])
    try:
        yield date(year, month, day).isoformat()
    except ValueError:
        return
