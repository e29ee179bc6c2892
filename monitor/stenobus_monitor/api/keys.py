"""API keys of the monitor: what each may do."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Literal

from stenobus_core.http import keys

#: read: see all of it. label: say what was right. silence: ask for silences and holds. approve: allow actions, end
#: holds.
Scope = Literal["read", "label", "silence", "approve"]


class Key(keys.Key):
    """What is kept of a key, and what it opens."""

    scopes: tuple[Scope, ...]


class Keys(keys.Keys[Key]):
    """The keys in a file."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, Key, "STENOBUS_MONITOR_API_KEYS")

    def add(self, name: str, scopes: tuple[Scope, ...], per_minute: int, expires: datetime | None = None) -> str:
        """Make a key. It is returned here and nowhere else again."""
        return self.make(name, per_minute, expires, scopes=scopes)
