"""Patterns of the settings for what must not leave: few, short, and given up on when they take too long."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any, Final

import regex

from stenobus_core.sensitive import FINDERS, Span

from .failures import Failure

#: How many there may be, and characters of the longest.
MOST: Final = 20
LONGEST: Final = 500
#: Seconds that all of them may take for one request.
PATIENCE: Final = 0.1

#: Their names become the first word of placeholders.
_NAME: Final = re.compile(r"[a-z]{2,20}")
#: What patterns that backtrack without end do so on.
_PROBES: Final = tuple(
    each * 2000 + "!" for each in ("a", "A", "1", " ", "-", ".", "a1", "A1-", "a ", "1 ", "a.", "@a")
)


class Patterns:
    """Regular expressions by name; a group called ``value`` limits what is hidden to it.

    Args:
        patterns: as in the settings.

    Raises:
        ValueError: one of them is not to be had: a sentence that says which, and why.
    """

    def __init__(self, patterns: Mapping[str, str]) -> None:
        if len(patterns) > MOST:
            raise ValueError(f"there are {len(patterns)} redact_patterns; at most {MOST} are taken")
        self._compiled = {name: _compiled(name, pattern) for name, pattern in patterns.items()}

    def find(self, found: Mapping[str, list[Span]]) -> None:
        """Add what they find in each text.

        Raises:
            Failure: unsupported, when they take too long: nothing may leave unseen.
        """
        left = PATIENCE
        for name, compiled in self._compiled.items():
            group = "value" if "value" in compiled.groupindex else 0
            for text, spans in found.items():
                began = time.perf_counter()
                try:
                    hits = list(compiled.finditer(text, timeout=max(left, 0.001)))
                except TimeoutError as error:
                    raise Failure(
                        "unsupported",
                        f"The redact_patterns take longer than {PATIENCE:g} s on this prompt, which must not leave "
                        f"without them; make {name} simpler.",
                    ) from error
                left -= time.perf_counter() - began
                spans += (
                    Span(hit.start(group), hit.end(group), name) for hit in hits if hit.end(group) > hit.start(group)
                )


def _compiled(name: str, pattern: str) -> Any:
    if not _NAME.fullmatch(name) or name in FINDERS:
        raise ValueError(
            f"redact_patterns: {name!r} is no name for a pattern; take 2 to 20 small letters, no kind's name"
        )
    if len(pattern) > LONGEST:
        raise ValueError(f"redact_patterns: {name} has {len(pattern)} characters; at most {LONGEST} are taken")
    try:
        compiled = regex.compile(pattern)
    except regex.error as error:
        raise ValueError(f"redact_patterns: {name} is no regular expression: {error}") from error
    if compiled.search("") is not None:
        raise ValueError(f"redact_patterns: {name} fits an empty text, and so everything")
    try:
        for probe in _PROBES:
            for _ in compiled.finditer(probe, timeout=PATIENCE):
                pass
    except TimeoutError as error:
        raise ValueError(f"redact_patterns: {name} takes too long on some texts; nest no repetitions") from error
    return compiled
