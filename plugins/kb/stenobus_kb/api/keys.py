"""API keys of the knowledge base: which collections they open, and for whom."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from stenobus_core.http import keys


class Key(keys.Key):
    """What is kept of a key, and what it opens."""

    #: None opens all of them.
    collections: tuple[str, ...] | None
    #: Who the holder is; None is the owner, who may find everything and ask for others.
    principals: tuple[str, ...] | None


class Keys(keys.Keys[Key]):
    """The keys in a file."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, Key, "STENOBUS_KB_API_KEYS")

    def add(
        self,
        name: str,
        collections: tuple[str, ...] | None,
        principals: tuple[str, ...] | None,
        per_minute: int,
        expires: datetime | None = None,
    ) -> str:
        """Make a key. It is returned here and nowhere else again."""
        return self.make(name, per_minute, expires, collections=collections, principals=principals)
