"""Where two JSON documents differ, in words a person can follow."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from stenobus_contracts import BlobRef


class _Nothing:
    """There is nothing at this place, which is not the same as null."""

    def __repr__(self) -> str:
        return "nothing"


NOTHING: Final = _Nothing()
_INDEX: Final = re.compile(r"\[\d+\]")


@dataclass(frozen=True, slots=True)
class Difference:
    """One place and what is there on either side."""

    path: str
    #: NOTHING where a side has nothing.
    original: Any
    shadow: Any
    #: Unified diff of two texts that the sides refer to.
    text: str | None = None

    def concerns(self, path: str) -> bool:
        """Whether the place is the path, or lies below it. ``[*]`` stands for any index."""
        return any(
            found == path or found.startswith((f"{path}.", f"{path}["))
            for found in (self.path, _INDEX.sub("[*]", self.path))
        )


def differences(original: Any, shadow: Any, path: str = "") -> Iterator[Difference]:
    """Every place where two documents differ, in the order of the first one.

    References to content count by that content's hash, wherever it lies.
    """
    if isinstance(original, dict) and isinstance(shadow, dict):
        if (ref := blob(original)) and (other := blob(shadow)):
            if ref.sha256 != other.sha256:
                yield Difference(path, original, shadow)
            return
        for name in [*original, *(name for name in shadow if name not in original)]:
            inner = f"{path}.{name}" if path else name
            yield from differences(original.get(name, NOTHING), shadow.get(name, NOTHING), inner)
    elif isinstance(original, list) and isinstance(shadow, list):
        for index in range(max(len(original), len(shadow))):
            before, after = (side[index] if index < len(side) else NOTHING for side in (original, shadow))
            yield from differences(before, after, f"{path}[{index}]")
    elif original != shadow or isinstance(original, bool) != isinstance(shadow, bool):
        yield Difference(path, original, shadow)


def blob(value: Any) -> BlobRef | None:
    """A reference to content, if it is one."""
    if not (isinstance(value, dict) and {"uri", "sha256", "size"} <= value.keys()):
        return None
    try:
        return BlobRef.model_validate(value)
    except ValidationError:
        return None
