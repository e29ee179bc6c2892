"""How a DOCX is to look, and what a rendering answers: the port that every backend serves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from stenobus_contracts import NotCarried, OutputFormat

from ..images import Pictures
from ..manuscript import Manuscript

Page = Literal["A4", "Letter"]


@dataclass(frozen=True, slots=True)
class Look:
    """What a rendering takes beside the Markdown."""

    #: Paper, unless a template says it.
    page: Page = "A4"
    author: str = "Stenobus"
    #: A company's own DOCX or DOTX.
    template: bytes | None = None
    pictures: Pictures = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rendered:
    """A finished file."""

    docx: bytes
    #: What the Markdown has and the file has not.
    not_carried: tuple[NotCarried, ...] = ()
    #: Names of the styles that the template lacks.
    missing: tuple[str, ...] = ()


class Backend(Protocol):
    """Makes a DOCX."""

    def __call__(self, manuscript: Manuscript, look: Look) -> Rendered:
        """Render a document; equal arguments give equal bytes.

        Raises:
            TemplateError: the template cannot be used.
            InvalidDocument: what was made breaks a rule of the format.
        """
        ...


def losses(output: OutputFormat, lost: Mapping[tuple[str, str], int]) -> tuple[NotCarried, ...]:
    """What was counted, as it is told."""
    return tuple(
        NotCarried(output=output, feature=feature, count=count, reason=reason)
        for (feature, reason), count in sorted(Counter(lost).items())
    )
