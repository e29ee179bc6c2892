"""The run record in a DynamoDB table, where it outlives the bus."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stenobus_core import CoreSettings
    from stenobus_core.run_stores import Copies

__all__ = ["run_store"]


def run_store(settings: CoreSettings) -> Copies | None:
    """The store, or None when no table is named; the entry point that the host calls."""
    from .settings import Settings

    found = Settings.load("dynamodb")
    if found.table is None:
        return None
    from .store import DynamoStore  # boto3 takes a third of a second to import

    return DynamoStore(found, found.table)
