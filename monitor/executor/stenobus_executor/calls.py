"""The calls there are: a subset of the engine's, and the look at an approval. Whatever is not one of them, letter by
letter, does not exist.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl

from .approval import KIND, NAME
from .request import Refused, Request

_PATH: Final = re.compile(
    r"(?:/v1\.[0-9]{1,3})?/(?:(_ping|version|info|events|approvals(?:/check)?)"
    rf"|(containers)/json|containers/({NAME.pattern})/(json|logs|stats|restart|update))"
)
_NO, _YES, _ANY = (re.compile(word, re.I) for word in ("0|false", "1|true", "0|1|false|true"))
_TIME: Final = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?")
#: Filters that are passed on; others would tell whether a label or a mount has some value.
_FILTERS: Final = {"type", "event", "container", "name", "id", "status", "health"}
_UPDATE: Final = {"Memory", "MemorySwap", "NanoCpus"}


def _filters(text: str) -> bool:
    said = _json(text.encode())
    if not isinstance(said, dict) or not said.keys() <= _FILTERS:
        return False
    return all(
        isinstance(values, list) and len(values) <= 32 and all(isinstance(each, str) for each in values)
        for values in said.values()
    )


#: Parameters of each call; those with a star must be there. docker-py sends some that change nothing.
_PARAMETERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "_ping": {},
    "version": {},
    "info": {},
    "approvals": {},
    "approvals/check": {"kind*": KIND, "target*": NAME},
    "events": {"since": _TIME, "until": _TIME, "filters": _filters},
    "containers": {"all": _ANY, "filters": _filters, "limit": re.compile("-1"), "size": _NO, "trunc_cmd": _NO},
    "json": {},
    "logs": {
        **dict.fromkeys(("stdout", "stderr", "timestamps"), _ANY),
        "tail*": re.compile("[0-9]{1,4}"),
        "since": _TIME,
        "until": _TIME,
        "follow": _NO,
    },
    "stats": {"stream*": _NO, "one-shot": _YES},
    "restart": {"t": re.compile("[0-9]{1,2}|1[01][0-9]|120")},
    "update": {},
}
#: Those that change something, as approvals call them.
KINDS: Final = {"restart": "restart", "update": "limits"}


@dataclass(frozen=True, slots=True)
class Call:
    """One call that may be answered."""

    what: str
    #: Name or id of the container, empty where it is about all of them.
    name: str
    query: Mapping[str, str]
    #: Limits, of an update.
    body: Mapping[str, int]


def call(request: Request) -> Call:
    """The call that a request is. Raises Refused."""
    path, _, query = request.target.partition("?")
    found = _PATH.fullmatch(path)
    if found is None:
        raise Refused(403, "There is no such call here.")
    what, name = found[1] or found[2] or found[4], found[3] or ""
    method = "POST" if what in KINDS else "GET"
    if request.method != method:
        raise Refused(405, f"That is done by {method} alone.", {"Allow": method})
    if request.body and what != "update":
        raise Refused(400, "That takes no body.")
    return Call(what, name, _query(what, query), _limits(request.body) if what == "update" else {})


def _query(what: str, query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), errors="strict", max_num_fields=8)
    except ValueError as error:
        raise Refused(400, "The query is malformed.") from error
    parameters = _PARAMETERS[what]
    known = {name.rstrip("*"): pattern for name, pattern in parameters.items()}
    for name, value in pairs:
        allowed = known.get(name)
        if allowed is None or not (allowed(value) if callable(allowed) else allowed.fullmatch(value)):
            raise Refused(400, f"The parameter {name[:40]!r} does not exist here, or may not have that value.")
    if len(dict(pairs)) != len(pairs):
        raise Refused(400, "A parameter comes twice.")
    if missing := [name for name in parameters if name.endswith("*") and name.rstrip("*") not in dict(pairs)]:
        raise Refused(400, f"The parameter {missing[0].rstrip('*')!r} is missing.")
    return dict(pairs)


def _limits(body: bytes) -> dict[str, int]:
    said = _json(body)
    if not isinstance(said, dict) or said.keys() != _UPDATE or any(type(value) is not int for value in said.values()):
        raise Refused(400, f"An update says {', '.join(sorted(_UPDATE))}, whole numbers, and nothing else.")
    return said


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a name comes twice")
    return dict(pairs)


def _json(data: bytes) -> Any:
    """What JSON says; None for what is none."""
    try:
        return json.loads(data, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        return None
