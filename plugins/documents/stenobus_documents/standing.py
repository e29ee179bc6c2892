"""What a statement stands on, and whether it says more than that."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from stenobus_contracts import Segment

from .claims import unsaid
from .said import Said

#: Why a text gives way to the words of the recording.
UNSAID = "a number, version, name or command in their text was not said there"
MISATTRIBUTED = "their text gave the words to another speaker"


def speakers(segments: Iterable[Segment]) -> frozenset[str]:
    """The labels of everybody who speaks."""
    return frozenset(segment.speaker for segment in segments if segment.speaker)


@dataclass(frozen=True, slots=True)
class Standing:
    """The words a statement may use, who said them, and who else speaks in the recording."""

    said: Said
    own: frozenset[str]
    everybody: frozenset[str]

    @property
    def others(self) -> frozenset[str]:
        """Who speaks in the recording, but not here."""
        return self.everybody - self.own

    def named(self, text: str) -> frozenset[str]:
        """The speakers whose labels stand in a text."""
        return frozenset(label for label in self.everybody if _names(text, label))

    def complaint(self, text: str) -> str | None:
        """Why a text, a sentence or several, does not stand on these words; None when it does."""
        named = self.named(text)
        if any(not self.said.mentions(label) for label in named & self.others):
            return MISATTRIBUTED
        for label in named:  # "spk_0" is a label here and no identifier
            text = text.replace(label, " ")
        return UNSAID if unsaid(text, self.said) else None


def _names(text: str, label: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(label)}(?!\w)", text) is not None
