"""What an event may cost before anybody has looked into it. Everything is checked before its body is parsed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

#: One that is never closed ends with the body: looking for its end from each quote in it would take for ever.
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\(?:.|\Z)[^"\\]*+)*+(?:"|\Z)', re.DOTALL)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
#: Both kinds of brackets as one: what matters here is how they nest, not whether they match.
_BRACKETS: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS: Final = bytes(sorted(set(range(256)) - set(b"[]{}")))


class TooMuch(ValueError):
    """An event exceeds a limit. Its text is one sentence for whoever published it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one event.

    Args:
        body: bytes of its JSON, after a claim check was fetched.
        depth: arrays and objects inside each other.
        values: elements of all its arrays and objects together; each costs some hundred bytes of memory.
        headers: headers of its message.
        header_bytes: names and values of all of them.
        attribute: characters of a CloudEvents attribute, such as its id.
    """

    body: int = 64 * 1024 * 1024
    depth: int = 64
    values: int = 1_000_000
    headers: int = 64
    header_bytes: int = 16 * 1024
    attribute: int = 1024

    def check_headers(self, headers: Mapping[str, str] | None) -> None:
        """Raises TooMuch when there are too many headers, or too long ones."""
        if not headers:
            return
        if len(headers) > self.headers:
            raise TooMuch(f"it has {len(headers)} headers; at most {self.headers} are taken")
        size = len("".join(headers)) + len("".join(headers.values()))
        if size > self.header_bytes:
            raise TooMuch(f"its headers have {size} characters; at most {self.header_bytes} are taken")

    def check_body(self, body: bytes) -> None:
        """Raises TooMuch when a body is too long, nested too deeply, or has too many values.

        Most bodies have fewer brackets than they may have levels, and fewer commas than values: two counts are enough.
        """
        if len(body) > self.body:
            raise TooMuch(f"its body has {len(body)} bytes; at most {self.body} are taken: send a BlobRef")
        opened = body.count(b"[") + body.count(b"{")
        if opened <= self.depth and len(body) <= self.values:
            return
        bare = _STRING.sub(b"", body)
        values = bare.count(b",") + bare.count(b"[") + bare.count(b"{")
        if values > self.values:
            raise TooMuch(f"it has some {values} values; at most {self.values} are taken: send a BlobRef")
        if opened > self.depth and _deeper(bare, self.depth):
            raise TooMuch(f"it is nested more than {self.depth} levels deep")

    def check_attributes(self, attributes: Mapping[str, str]) -> None:
        """Raises TooMuch when an attribute is too long, or holds what no header can."""
        together = "".join(attributes.values())
        if len(together) <= self.attribute and together.isprintable():
            return  # as nearly always
        for name, value in attributes.items():
            if len(value) > self.attribute:
                raise TooMuch(f"its attribute {name} has more than {self.attribute} characters")
            if _CONTROL.search(value):
                raise TooMuch(f"its attribute {name} holds a control character")


def _deeper(bare: bytes, depth: int) -> bool:
    """Whether brackets nest deeper than so many levels: each pass takes the innermost ones away. What is left then are
    more levels, or brackets that are never closed, and a few of those are the parser's to report."""
    left = bare.translate(_BRACKETS, _NO_BRACKETS)
    for _ in range(depth):
        left = left.replace(b"[]", b"")
    return b"[]" in left or left.count(b"[") > depth
