"""What was left out of a document, kept so that a person can look at it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from stenobus_contracts import Extraction, Item, Model

#: So many are kept; all of them are counted.
SHOWN = 1000


class Dropped(Model):
    """Something an answer brought that the recording does not bear out."""

    text: str
    quote: str
    segments: tuple[str, ...]
    reason: str

    @classmethod
    def of(cls, item: Item, reason: str) -> Dropped:
        """An item that is not kept."""
        return cls(
            text=item.text[:500], quote=item.evidence.quote[:500], segments=item.evidence.segments[:8], reason=reason
        )


class Sifted(Extraction):
    """The items that are kept, and those that are not."""

    dropped: tuple[Dropped, ...] = ()


def reasons(dropped: Iterable[Dropped]) -> Counter[str]:
    """How many went for which reason."""
    return Counter(each.reason for each in dropped)
