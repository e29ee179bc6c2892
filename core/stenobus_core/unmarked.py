"""Secrets that no issuer marks: found by their shape, which is random, and by where they stand.

A word of any language, a path, a name and a version change between small letters, capitals and digits now and then;
what a generator made does so all the time. Digests and identifiers in hexadecimal stay readable, unless a name or a
prefix says that they are keys.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

#: Characters of the longest value that is judged; what is longer is judged by its beginning.
_LONGEST: Final = 4000
#: Where a value without spaces begins and ends.
_RUN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9+_~-]{15,}={0,2}")
_BASE64: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9+/]{30,}={0,2}")
_BEFORE: Final = re.compile(r"(?:[A-Za-z0-9_-]{0,40}[0-9A-Z][A-Za-z0-9_-]{0,40}\.){1,3}\Z")
_BEHIND: Final = re.compile(r"(?:\.[A-Za-z0-9_-]{5,}){1,4}")
_WORD: Final = re.compile(r"[a-z]{4,}")
_PIECE: Final = re.compile(r"[A-Za-z0-9]+")
_DIGITS: Final = re.compile(r"[0-9]+")
_HEX: Final = re.compile(r"[0-9a-f-]+|[0-9A-F-]+")
#: Hexadecimal digits behind letters that are none of them: ``SK…``, ``key-…``, ``shpat_…``.
_MARKED_HEX: Final = re.compile(
    r"(?<![A-Za-z0-9])(?P<mark>[A-Za-z0-9]{0,12}[g-zG-Z][A-Za-z]{0,12}?[_-]?|0x)(?:[0-9a-f]{24,}|[0-9A-F]{24,})(?![A-Za-z0-9])"
)
#: What hexadecimal digits are called where they are no secret.
_PLAIN: Final = re.compile(
    r"(?:sha-?\d*|md5|blake\w*|crc\w*|hash|digest|etag|checksum|commit|rev|revision|ref|tree|version|image|layer|build|blob"
    r"|run|trace|span|parent|traceparent|tracestate|event|incident|request|correlation|causation|container|id|uuid|guid"
    r"|node|pod|name|file|path|uri|url|object|version|inbox|subject|consumer|stream|bucket|model)[_-]?(?:id|sum|hash)?[_-]?\Z",
    re.IGNORECASE,
)
_TELLING: Final = re.compile(
    r"key|secret|token|pass|pwd|cred|auth|sess|sid\b|cookie|csrf|sig\b|signature|jwt|pin\b|salt|seed|otp", re.IGNORECASE
)
_NAMED: Final = re.compile(
    r"(?P<name>[A-Za-z][A-Za-z0-9_.-]{0,60})[\"'\] \t]{0,4}(?::{1,3}=?|=>|={1,3}|\|\||\?=|>|,(?=[\"'`]))[\"'`= \t]{0,5}"
    r"(?P<value>[A-Za-z0-9+/_~.!#%*^$@=-]{10,})"
)
_DOTTED: Final = re.compile(r"[A-Za-z_][\w-]*(?:\.[A-Za-z_][\w-]*)+")
#: Places where the next word is a secret whatever its name, and how it has to look.
_PLACES: Final = (
    re.compile(r"(?<=[ \t])--?[a-z-]{0,20}(?:key|auth|token|secret|pass|pwd)[a-z-]{0,20}[= \t][ \t]?(\S{6,256})"),
    re.compile(r"(?<=[ \t])-p[ \t]?([A-Za-z0-9!#%*+][^\s/:]{5,128})"),
    re.compile(r"(?<=[ \t])(?:-u|--user)[ \t]?[^\s:]{1,64}:([^\s/][^\s]{3,128})"),
    re.compile(r"\b(?:PASS[ \t]+|[Pp]ass[ \t]?[=:][ \t]?)(\S{4,128})"),
    re.compile(r"(?<=[:@/ \t])[A-Za-z_]\w{0,30}/([^\s/@]{4,64})@(?=/{0,2}[\w.-]{1,100}[:/])"),
    re.compile(
        r"(?<![\w.-])(?=[\w.*-]{0,60}[A-Za-z*])[\w.*-]{1,60}:(?:\d{2,5}|\*):[\w*-]{1,60}:[\w*-]{1,60}:(\S{4,128})"
    ),
)
_HEADERS: Final = re.compile(
    r"\b(?:Proxy-)?Authorization[\"']?:[ \t]{0,4}[\"']?(?:[A-Za-z0-9-]{2,20}[ \t]+)?(?:\w{2,20}=)?[\"']?"
    r"([^\s\"',]{8,4000})",
    re.IGNORECASE,
)
_COOKIES: Final = re.compile(r"\bcookie[\"']?:[ \t]{0,4}([^\r\n]{4,4000})", re.IGNORECASE)
_COOKIE: Final = re.compile(r"[\w.-]{1,80}=([^\s;,\"']{8,})")


def spans(text: str) -> Iterator[tuple[int, int]]:
    """Where they lie; spans may overlap."""
    for found in _RUN.finditer(text):
        before = _BEFORE.search(text, max(0, found.start() - 130), found.start())
        if is_random(found[0][:_LONGEST]) or (before and len(found[0]) >= 32 and _HEX.fullmatch(found[0])):
            behind = _BEHIND.match(text, found.end())
            yield before.start() if before else found.start(), behind.end() if behind else found.end()
    for found in _BASE64.finditer(text):
        path = len(found[0]) < 60 and _WORD.search(found[0])
        if "/" in found[0] and not path and _mixed(found[0][:_LONGEST], 0.42):
            yield found.span()
    for found in _MARKED_HEX.finditer(text):
        if not _PLAIN.match(found["mark"]) and any(map(str.isdigit, found[0])):
            rest = re.compile(r"(?:[_-][A-Za-z0-9]{8,})*").match(text, found.end())
            yield found.start(), rest.end() if rest else found.end()
    yield from _by_name(text)
    for place in _PLACES:
        yield from (found.span(1) for found in place.finditer(text) if _varied(found[1]))
    yield from (found.span(1) for found in _HEADERS.finditer(text) if _varied(found[1]))
    for header in _COOKIES.finditer(text):
        for found in _COOKIE.finditer(header[1]):
            if _varied(found[1]):
                yield header.start(1) + found.start(1), header.start(1) + found.end(1)


def is_random(value: str) -> bool:
    """Whether a value of sixteen characters or more looks as if a generator had made it."""
    if _HEX.fullmatch(value):
        return False  # a digest or an identifier, as far as anybody can tell
    if _mixed(value, 0.36):
        return True
    return any(_flat(piece) for piece in _PIECE.findall(value))


def _mixed(value: str, least: float) -> bool:
    """Small letters, capitals and digits in a wild order."""
    signs = [each for each in value if each.isalnum()]
    kinds = [_kind(each) for each in signs]
    if len(signs) < 18 or min(kinds.count("a"), kinds.count("A")) < 2:
        return False
    changes = _part(kinds)
    groups = len(_DIGITS.findall(value))
    if not groups:
        return len(signs) >= 24 and changes >= 0.42
    return (groups >= 2 and changes >= least) or changes >= 0.48


def _flat(piece: str) -> bool:
    """Letters of one case and digits in a wild order, and no hexadecimal number."""
    if len(piece) < 20 or _HEX.fullmatch(piece):
        return False
    kinds = [_kind(each) for each in piece]
    if len({*kinds} - {"0"}) != 1 or min(kinds.count("0"), len(kinds) - kinds.count("0")) < 3:
        return False
    return _part(kinds) >= 0.2 and len(_DIGITS.findall(piece)) >= 3


def _by_name(text: str) -> Iterator[tuple[int, int]]:
    """What is assigned to a name: any random value, and any that is no word where the name tells of a secret."""
    for found in _NAMED.finditer(text):
        name, value = found["name"], found["value"][:_LONGEST]
        if _DOTTED.fullmatch(value) or "//" in value or name.lower().endswith(("cookie", "authorization")):
            continue
        if _TELLING.search(name):
            if _varied(value) and sum(map(str.isdigit, value)) >= 2:
                yield found.span("value")
        elif not _PLAIN.search(re.split(r"[._-](?=[^._-]*\Z)", name)[-1]) and not _PLAIN.search(name):
            signs = [_kind(each) for each in value if each.isalnum()]
            wild = len(signs) >= 16 and signs.count("0") >= 3 and signs.count("0") < len(signs) - 2
            if wild and _part(signs) >= 0.25 and value.count("/") <= len(value) // 16:
                yield found.span("value")


def _kind(sign: str) -> str:
    return "0" if sign.isdigit() else "a" if sign.islower() else "A"


def _part(kinds: list[str]) -> float:
    """Part of the neighbours that are of different kinds."""
    return sum(one != other for one, other in pairwise(kinds)) / max(1, len(kinds) - 1)


def _varied(value: str) -> bool:
    letters = sum(map(str.isalpha, value))
    plain = all(each.isalpha() or each in "-_./" for each in value)
    return 0 < letters < len(value) and not plain
