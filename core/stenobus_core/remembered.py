"""What plugins remember beyond one event: JSON objects by name, shared by all their processes and kept for good."""

from __future__ import annotations

from typing import Final

from stenobus_bus import Bus
from stenobus_bus.cell import Cell
from stenobus_bus.envelope import token

BUCKET: Final = "stenobus_state"


def cell(bus: Bus, plugin: str, name: str) -> Cell:
    """A plugin's object of a name; names that are no key of a bucket are digested."""
    return Cell(bus, f"{plugin}.{token(name)}", BUCKET)
