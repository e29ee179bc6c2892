"""What in a text is nobody else's business: secrets, e-mail and IP addresses, account numbers.

Each finder looks for something cheap that its kind always has (an ``@``, a literal prefix, a keyword) and reads around
that, so that the time grows with the text and no faster.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Iterator
from typing import Final, Literal, NamedTuple

from . import unmarked

Kind = Literal["secret", "email", "ip", "account"]


class Span(NamedTuple):
    """Where something lies in a text."""

    start: int
    end: int
    kind: str


# --- secrets ---------------------------------------------------------------------------------------------------------

_KEY_BEGINS: Final = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_KEY_ENDS: Final = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
#: Characters of the longest key.
_KEY_LENGTH: Final = 20_000
#: What is left of a key that is cut off.
_KEY_BODY: Final = re.compile(r"(?:\\[nr]|[A-Za-z0-9+/=\s])*")

#: Literal beginnings of issuers' tokens, and what follows them.
_ISSUED: Final = tuple(
    (prefix, re.compile(re.escape(prefix) + rest))
    for prefix, rest in (
        ("AKIA", r"[A-Z0-9]{16}"),
        ("ASIA", r"[A-Z0-9]{16}"),
        ("ghp_", r"[A-Za-z0-9]{20,255}"),
        ("gho_", r"[A-Za-z0-9]{20,255}"),
        ("ghu_", r"[A-Za-z0-9]{20,255}"),
        ("ghs_", r"[A-Za-z0-9]{20,255}"),
        ("ghr_", r"[A-Za-z0-9]{20,255}"),
        ("github_pat_", r"\w{20,255}"),
        ("glpat-", r"[\w-]{16,255}"),
        ("xox", r"[abeoprs]-[A-Za-z0-9-]{10,255}"),
        ("sk-", r"(?=[A-Za-z_-]{0,64}\d)[A-Za-z0-9_-]{16,255}"),
        ("sk_", r"(?:live|test)_\w{10,255}"),
        ("rk_", r"(?:live|test)_\w{10,255}"),
        ("AIza", r"[\w-]{30,255}"),
        ("ya29.", r"[\w-]{20,2000}"),
        ("hf_", r"[A-Za-z0-9]{20,255}"),
        ("npm_", r"[A-Za-z0-9]{20,255}"),
        ("pypi-", r"[\w-]{50,2000}"),
        ("SG.", r"[\w-]{16,64}\.[\w-]{16,64}"),
        ("dop_v1_", r"[a-f0-9]{40,80}"),
        ("nvapi-", r"[\w-]{20,255}"),
        ("AGE-SECRET-KEY-1", r"[A-Z0-9]{20,80}"),
        ("hooks.slack.com/services/", r"[A-Z0-9]{5,20}/[A-Z0-9]{5,20}/[A-Za-z0-9]{10,40}"),
        ("eyJ", r"[\w-]{5,1000}+\.[\w-]{5,8000}+\.?[\w-]{0,8000}+(?:\.[\w-]{1,8000}+){0,2}"),  # JWS, JWE
    )
)
#: Seeds of nkeys, which NATS users sign in with.
_NKEY: Final = re.compile(r"\bS[UAOCNX][A-Z2-7]{56}\b")
_NKEY_PREFIXES: Final = ("SU", "SA", "SO", "SC", "SN", "SX")

_URL_USER: Final = re.compile(r"://([^\s/@:\"'<>]{0,256})(?::([^\s/\"'<>]{1,512}))?@")
_BEARER: Final = re.compile(r"(?:earer|EARER|asic|ASIC)[ \t]+([A-Za-z0-9._~+/-]{16,8000}={0,2})")

#: Words that say what comes next, in lower case, with what they may be part of.
_KEYWORDS: Final = (
    "passw", "passphrase", "pwd", "secret", "token", "api", "access", "private", "signing", "encryption", "accountkey",
    "credential", "passcode",
)  # fmt: skip
_ASSIGNED: Final = re.compile(
    r"(?:(?P<open>passw(?:or)?d|passphrase|passcode|pwd)"
    r"|(?:secret[_ -]?)?access[_ -]?key(?![_ -]?id)|secret[_ -]?key|(?:client[_ -]?)?secret|(?:api|access)[_ -]?token"
    r"|token|api[_ -]?key|private[_ -]?key|signing[_ -]?key|encryption[_ -]?key|accountkey|credential)"
    r"[\"'\]]{0,2}"
    r"(?:[ \t]{0,8}(?P<sign>:=|=>|==?|:)[ \t]{0,8}|[ \t]{1,8}(?P<word>is|was)[ \t]{1,8}|(?P<gap>[ \t]{1,8}))"
    r"(?:(?P<quote>[\"'`])(?P<quoted>[^\"'`\r\n]{4,512})(?P=quote)|(?P<bare>[^\s\"'`,;<>(){}\[\]]{4,512}))"
)
#: Values that stand for a secret, and are none.
_STANDS_FOR: Final = re.compile(
    r"[<{]|[$%][A-Za-z_({]|[*.\u2022-]{3}|x{3,}\Z|--|env[:.]|os\.|process\.|self\.|args\.|settings\.|config\."
    r"|(?:none|null|true|false|undefined|required|optional|string|redacted|hidden)\Z|(?:your|my)[_-]",
    re.IGNORECASE,
)
_NAME: Final = re.compile(r"[A-Za-z_]+(?:[._-][A-Za-z_]+)*")


def secrets(text: str) -> Iterator[Span]:
    """Private keys, tokens that issuers mark, JWTs, passwords in URLs, what is assigned to a telling name, and what no
    issuer marks but looks as if a generator had made it."""
    yield from _private_keys(text)
    for prefix, shape in _ISSUED:
        for at in places(text, prefix):
            if not _within(text, at) and (found := shape.match(text, at)):
                yield Span(at, found.end(), "secret")
    if any(prefix in text for prefix in _NKEY_PREFIXES):
        yield from (Span(*found.span(), "secret") for found in _NKEY.finditer(text))
    yield from (Span(start, end, "secret") for start, end in _in_urls(text))
    if any(word in text for word in ("earer", "EARER", "asic", "ASIC")):
        yield from (Span(*found.span(1), "secret") for found in _BEARER.finditer(text) if _varied(found[1]))
    yield from _assigned(text)
    yield from (Span(start, end, "secret") for start, end in unmarked.spans(text))


def _in_urls(text: str) -> Iterator[tuple[int, int]]:
    """Passwords in URLs, and tokens in place of the user."""
    if "@" in text:
        for found in _URL_USER.finditer(text):
            if found[2] and not _STANDS_FOR.match(found[2]):
                yield found.span(2)
            elif not found[2] and len(found[1]) >= 16:
                yield found.span(1)


def _private_keys(text: str) -> Iterator[Span]:
    at = 0
    while begin := _KEY_BEGINS.search(text, at):
        end = _KEY_ENDS.search(text, begin.end(), begin.end() + _KEY_LENGTH) or _KEY_BODY.match(text, begin.end())
        assert end is not None  # the body may be empty
        at = end.end()
        yield Span(begin.start(), at, "secret")


def _assigned(text: str) -> Iterator[Span]:
    lowered = lower(text)
    seen = 0
    for at in sorted({at for keyword in _KEYWORDS for at in places(lowered, keyword)}):
        if at < seen or not (found := _ASSIGNED.match(lowered, at)):
            continue
        group = "quoted" if found["quoted"] else "bare"
        start, end = found.span(group)
        value = text[start:end]
        if group == "bare":
            value = value.rstrip(".:!?")
            end = start + len(value)
        if _told(found, value, lowered[end : end + 1]):
            seen = end
            yield Span(start, end, "secret")


def _told(found: re.Match[str], value: str, after: str) -> bool:
    """Whether what follows a telling name is a secret, and not a word of prose or code."""
    if len(value) < 4 or _STANDS_FOR.match(value) or after in {"(", "["}:  # a call, an index
        return False
    if found["word"] or found["gap"]:  # prose, or an option of a command: only what nobody would say
        return len(value) >= 6 and _varied(value)
    if found["open"]:  # a password may be any word
        return "." not in value or not _NAME.fullmatch(value)
    if value.isdigit():
        return len(value) >= 16
    return len(value) >= 6 and _varied(value)


def _varied(value: str) -> bool:
    """Whether it mixes letters with digits or signs, as no word does."""
    letters = sum(map(str.isalpha, value))
    plain = all(each.isalpha() or each in "-_./" for each in value)
    return 0 < letters < len(value) and not plain


# --- addresses -------------------------------------------------------------------------------------------------------

_LOCAL_SIGNS: Final = frozenset("._%+-")
_DOMAIN: Final = re.compile(r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}[^\W\d_]{2,24}")


def emails(text: str) -> Iterator[Span]:
    """E-mail addresses. ``git@`` stays: it names a service."""
    of_urls = {end for _, end in _in_urls(text)}
    at = text.find("@")
    while at >= 0:
        if at not in of_urls and (domain := _DOMAIN.match(text, at + 1)):
            start = at
            while start > max(0, at - 64) and (text[start - 1].isalnum() or text[start - 1] in _LOCAL_SIGNS):
                start -= 1
            while start < at and text[start] in ".-%":
                start += 1
            if start < at and text[start:at] != "git":
                yield Span(start, domain.end(), "email")
        at = text.find("@", at + 1)


_QUAD: Final = re.compile(r"[0-9][0-9]{0,2}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}(?!\w|\.[0-9])")
#: Words before a number of four parts that make it a version, and what does as well.
_VERSIONS: Final = (
    "version",
    "versions",
    "release",
    "releases",
    "build",
    "firmware",
    "driver",
    "ver",
    "rev",
    "revision",
)
_COMPARISONS: Final = ("==", ">=", "<=", "~=", "!=", "^", "~")
#: They say nothing about anybody: this host, any host, masks.
_PLAIN: Final = re.compile(r"127\.|0\.|255\.255\.")
_COLONS: Final = re.compile(r":[0-9A-Fa-f]{0,4}:")
_HEX: Final = frozenset("0123456789abcdefABCDEF:.")


def addresses(text: str) -> Iterator[Span]:
    """IPv4 and IPv6 addresses.

    Four numbers up to 255 are an address, unless something says that they are a version: the word before them
    (``version``, ``release``, ``build``, …), a comparison (``==10.2.0.1``), a letter before or behind them
    (``v10.2.0.1``, ``driver-10.2.0.1``, ``10.2.0.1-rc2``). Loopback addresses, those that begin with 0, and network
    masks stay.
    """
    for quad in _QUAD.finditer(text):
        start, end = quad.span()
        before = text[max(0, start - 2) : start]
        if before[-1:].isalnum() or (before[-1:] in {"-", "_"} and before[:1].isalpha()):
            continue
        if before[-1:] == "." and before[:1].isalnum():  # five parts
            continue
        parts = quad[0].split(".")
        if any(int(part) > 255 or (part[0] == "0" and len(part) > 1) for part in parts) or _PLAIN.match(quad[0]):
            continue
        if text[end : end + 1] in {"-", "+"} and text[end + 1 : end + 2].isalpha():  # 10.2.0.1-rc2
            continue
        if not _version(text[max(0, start - 24) : start]):
            yield Span(start, end, "ip")
    if ":" in text:
        yield from _sixes(text)


def _version(before: str) -> bool:
    """Whether what stands before a number of four parts makes it a version."""
    before = before.rstrip(" \t")
    if before.endswith(_COMPARISONS):
        return True
    before = before.rstrip(" \t\"':=").lower()
    word = next((word for word in _VERSIONS if before.endswith(word)), None)
    return word is not None and not _within(before, len(before) - len(word))


def _sixes(text: str) -> Iterator[Span]:
    at = 0
    while colons := _COLONS.search(text, at):
        start, end = colons.start(), colons.end()
        while start > max(at, colons.start() - 5) and text[start - 1] in _HEX:
            start -= 1
        while end < min(len(text), start + 46) and text[end] in _HEX:
            end += 1
        at = end
        run = text[start:end].rstrip(".:") + ("::" if text[start:end].endswith("::") else "")
        if _attached(text, start, start + len(run)) or not _is_six(run):
            continue
        yield Span(start, start + len(run), "ip")


def _is_six(run: str) -> bool:
    if "::" not in run and run.count(":") != (6 if "." in run else 7):
        return False  # a time, most of all
    try:
        address = ipaddress.IPv6Address(run)
    except ValueError:
        return False
    groups = sum(map(bool, run.split(":")))
    # Slices such as 1::2 have its form. Addresses in use begin with 2, 3, fc, fd, fe or ff.
    return not (address.is_loopback or address.is_unspecified) and (groups >= 4 or (run[0] in "23fF" and groups >= 2))


# --- account numbers -------------------------------------------------------------------------------------------------

_IBAN: Final = re.compile(r"[A-Z][A-Z][0-9][0-9](?:[ -]?[A-Z0-9]){11,38}")
_IBAN_COUNTRIES: Final = {
    15: "NO", 16: "BE", 18: "DK FI FK FO GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU MN XK", 21: "CH HR LI LV",
    22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL", 24: "AD CZ ES MD PK RO SA SE SK TN VG",
    25: "LY PT ST", 26: "IS TR", 27: "BI DJ FR GR IT MC MR SM", 28: "AL AZ BY CY DO GT HN HU LB NI PL SV",
    29: "BR EG PS QA UA", 30: "JO KW MU YE", 31: "MT SC", 32: "LC", 33: "RU",
}  # fmt: skip
_IBAN_LENGTHS: Final = {
    country: length for length, countries in _IBAN_COUNTRIES.items() for country in countries.split()
}
_CARD: Final = re.compile(
    r"[2-6](?:\d{12,18}|\d{3}([ -])\d{4}\1\d{4}\1\d{1,7}|\d{3}([ -])\d{6}\2\d{4,5})(?![\w]|[.-]\d)"
)
_NUMBER: Final = re.compile(r"[0-9](?:[ -]?[0-9]){5,33}(?!\w|[.-][0-9])")
_DATE: Final = re.compile(r"(?:19|20)\d\d-?[01]\d-?[0-3]\d(?:[ -]|\Z)")
#: What announces the number of an account, right before it.
_ANNOUNCED: Final = re.compile(
    r"(?:account|acct|konto|iban|routing|sort code|ssn|social security|passport|tax id|card|customer|policy|cuenta"
    r"|conta|compte)[a-z]{0,12}[ \t_.-]{0,4}"
    r"(?:(?:number|nummer|num|no|nr|id|code|security|número|numéro)[.]?[ \t]{0,4})?"
    r"(?:[:=#-]|is|was|ist|es|est)?[ \t]{0,4}[\"'#]?\Z",
    re.IGNORECASE,
)


def accounts(text: str) -> Iterator[Span]:
    """IBANs with a valid checksum, card numbers with one, and numbers of six digits or more that a word announces."""
    for found in _IBAN.finditer(text):
        if not _within(text, found.start()) and (end := _iban_end(found)) and not text[end : end + 1].isalnum():
            yield Span(found.start(), end, "account")
    for found in _CARD.finditer(text):
        start = found.start()
        if not _within(text, start) and text[start - 1 : start] not in {".", "-"} and _luhn(found[0]):
            yield Span(start, found.end(), "account")
    for found in _NUMBER.finditer(text):
        start = found.start()
        if _within(text, start) or _DATE.match(found[0]):
            continue
        if _ANNOUNCED.search(text[max(0, start - 48) : start]):
            yield Span(start, found.end(), "account")


def _iban_end(found: re.Match[str]) -> int | None:
    """Where a valid IBAN ends that begins with the match."""
    wanted = _IBAN_LENGTHS.get(found[0][:2])
    if wanted is None:
        return None
    taken = 0
    for offset, each in enumerate(found[0]):
        taken += each.isalnum()
        if taken == wanted:
            plain = "".join(filter(str.isalnum, found[0][: offset + 1]))
            digits = "".join(str(int(sign, 36)) for sign in plain[4:] + plain[:4])
            return found.start() + offset + 1 if int(digits) % 97 == 1 else None
    return None


def _luhn(number: str) -> bool:
    digits = [int(each) for each in reversed(number) if each.isdigit()]
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[1::2])
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0 and len(set(digits)) > 1


#: What finds each kind.
FINDERS: Final[dict[Kind, Callable[[str], Iterator[Span]]]] = {
    "secret": secrets,
    "email": emails,
    "ip": addresses,
    "account": accounts,
}


def masked(text: str, kinds: Collection[Kind] = ("secret", "email", "ip", "account")) -> str:
    """The text with a name of its kind, such as ``[secret]``, in place of each value; there is no way back."""
    found = sorted(span for kind in kinds for span in FINDERS[kind](text))
    parts, at = [], 0
    for span in found:
        if span.start >= at:
            parts += [text[at : span.start], f"[{span.kind}]"]
        at = max(at, span.end)
    return "".join(parts) + text[at:]


def lower(text: str) -> str:
    """The text in lower case, every character in its place: İ alone would become two."""
    return text.replace("\u0130", "i").lower()


def places(text: str, word: str) -> Iterator[int]:
    """Where a word begins, as often as it is there."""
    at = text.find(word)
    while at >= 0:
        yield at
        at = text.find(word, at + len(word))


def _within(text: str, start: int) -> bool:
    """Whether it begins in the middle of a word."""
    return start > 0 and (text[start - 1].isalnum() or text[start - 1] == "_")


def _attached(text: str, start: int, end: int) -> bool:
    return _within(text, start) or text[end : end + 1].isalnum() or text[end : end + 1] == "_"
