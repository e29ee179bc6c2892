"""Causes that have a name: what each says, what to do about it, and which of them can be behind a kind of incident.

A diagnosis chooses among these and says nothing else: no text of a log can become a cause or an advice.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib.resources import files
from typing import Final


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A cause."""

    name: str
    says: str
    recommendation: str


_FILE: Final = tomllib.loads(files(__package__).joinpath("hypotheses.toml").read_text(encoding="utf-8"))
HYPOTHESES: Final = {name: Hypothesis(name, **said) for name, said in _FILE["causes"].items()}
_UNKNOWN: Final = HYPOTHESES["unknown"]


def possible(kind: str) -> tuple[Hypothesis, ...]:
    """What can be behind a kind of incident: the rule's own conclusion first, and that it is none of them last."""
    return (*(HYPOTHESES[name] for name in _FILE["kinds"].get(kind, ())), _UNKNOWN)
