"""What a text claims that has to be checked: numbers, versions, names as programs write them, commands."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .numerals import DOUBTFUL, SCALES, WRITTEN, groups, readings, runs
from .said import Said, words

_CODE = re.compile(r"(`+)(?!`)(.+?)(?<!`)\1(?!`)")
_LINK = re.compile(r"\[[^\]]*\]\([^)\s]*\)")
_CITED = re.compile(r"\[I\d{3,}(?:\s*[,;]\s*I\d{3,})*\]|[\[(]\d{2,}:\d{2}:\d{2}[\])]|\[\^[^\]]+\]")
_ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")
#: What Markdown or a writer counts by itself: list numbers, "Step 2", "Table 1".
_COUNTED = re.compile(
    r"(?im)^\s*(?:>\s*)*(?:\d{1,3}[.)]\s)|\b(?:step|passo|paso|part|parte|table|tabela|tabla|figure|figura|section"
    r"|seção|sección|problem|problema|option|opção|opción)\s+\d{1,2}\b(?!\s*[%.:]\d)"
)
_TOKEN = re.compile(r"\S+")
_EDGES = "\"'“”‘’«»()[]{}<>,;:!?*_~|…。，、"
_NUMBER = re.compile(
    r"[~≈+±$€£#-]{0,2}v?(?P<number>\d+(?:[.,:]\d+)*)"
    r"(?:[%°ªº×x]|st|nd|rd|th|[kKmMgGtT](?:i?[bB])?(?:/s)?|bytes?|bits?|ms|us|ns|s|min|h|d|px|fps|rps|[kMG]?Hz)?"
)
_INNER_CAPITAL = re.compile(r"[a-zß-ÿ][A-Z]|[A-Z]{2,}[a-z]")
_TECHNICAL = re.compile(r"[^\W_][_\\=@][^\W_]|^--?[a-z]|^[~.]{0,2}/\w|\w/\w|\w\.\w|\w::\w|^\$\w|^[A-Z]+_")
_PLAIN_SLASH = re.compile(r"[^\W\d_]+(?:/[^\W\d_]+)+")
_ABBREVIATED = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]?|[ap]\.?m\.?|p\.ex", re.IGNORECASE)
_PLACEHOLDER = re.compile(r"<[\w -]{1,40}>|\$\{\w+\}|\{\{?\s*\w+\s*\}?\}")
_SIGNS = re.compile(r"[|<>&;*]")


def unsaid(text: str, said: Said) -> list[str]:
    """The claims of a text, one sentence or several, that were never said; empty when all were.

    Args:
        text: Markdown; citations such as ``[I012]`` and links are no claims.
        said: what it has to stand on.
    """
    found: list[str] = []
    prose = text
    for match in _CODE.finditer(text):
        if not (command(match[2], said) or setting(match[2], said)):
            found.append(match[2])
    prose = _CODE.sub(" ", prose)
    prose = _ESCAPED.sub(r"\1", _CITED.sub(" ", _LINK.sub(" ", prose)))
    prose = _COUNTED.sub(" ", prose)
    found += (claim for claim, holds in _claims(prose, said) if not holds)
    return list(dict.fromkeys(found))


def command(text: str, said: Said) -> bool:
    """Whether a command, a path or a setting was said as a whole, its signs included."""
    written = _PLACEHOLDER.sub(" ", text)
    if text.strip().isalpha() and text == text.lower() and said.resembles(text):
        return True
    if not all(said.sign(sign) for sign in set(_SIGNS.findall(written))):
        return False
    parts = [part.strip() for part in _PLACEHOLDER.split(text) if any(map(str.isalnum, part))]
    return all(_number(part, said) if _NUMBER.fullmatch(part) else said.name(part) for part in parts)


def setting(text: str, said: Said) -> bool:
    """Whether a line such as ``max_connections: 200`` has a name and a value that were both said."""
    name, mark, content = text.partition("=") if "=" in text else text.partition(":")
    return bool(mark and name.strip()) and all(
        command(part.strip(" \"',"), said) for part in (name, content) if part.strip(" \"',")
    )


def _claims(prose: str, said: Said) -> Iterator[tuple[str, bool]]:
    """Each claim of running text, and whether it was said."""
    yield from _spelled(words(prose), said)
    for match in _TOKEN.finditer(prose):
        token = match[0].lstrip(_EDGES).rstrip(_EDGES + ".")
        if not token or _ABBREVIATED.fullmatch(token):
            continue
        if number := _NUMBER.fullmatch(token):
            yield token, said.number(number["number"]) or _scaled(number["number"], prose[match.end() :], said)
        elif any(map(str.isdigit, token)):
            yield token, _range(token, said) or said.name(token)
        elif _TECHNICAL.search(token) and not _PLAIN_SLASH.fullmatch(token):
            yield token, said.name(token)
        elif _INNER_CAPITAL.search(token):
            yield token, said.resembles(token)


def _spelled(prose: list[str], said: Said) -> Iterator[tuple[str, bool]]:
    """Numbers in words: "two hundred" has to be said, "one of them" is no number."""
    for first, last in runs(prose):
        run = prose[first:last]
        if any(map(WRITTEN.fullmatch, run)) or all(word in DOUBTFUL for word in run):
            continue
        if len(run) > 1 and said.phrase(run):
            continue  # one word alone may have been the rest of another number: "three" of "three dot eleven"
        read = readings(run)
        yield " ".join(run), any(map(said.number, read)) if len(read) == 1 else all(map(said.number, groups(run)))


def _scaled(number: str, behind: str, said: Said) -> bool:
    """Whether the number is the first half of ``5 million``, which was said."""
    following = next(iter(words(behind[:24])), "")
    return following in SCALES and any(map(said.number, groups([number, following])))


def _number(token: str, said: Said) -> bool:
    """Whether the token is a number, perhaps with a unit behind it, that was said."""
    match = _NUMBER.fullmatch(token)
    return match is not None and said.number(match["number"])


def _range(token: str, said: Said) -> bool:
    """``5-10``, ``5–10``, ``80%/90%``: a number on either side."""
    parts = [part for part in re.split(r"[-–—/]", token) if part]
    return len(parts) > 1 and all(_number(part, said) for part in parts)
