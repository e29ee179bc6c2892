"""What the doctor looks at: whether the index lets us in."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from stenobus_bus.errors import HandlerError
from stenobus_core import Check

if TYPE_CHECKING:
    from .settings import Settings


def checks(settings: Settings) -> list[Check]:
    """The package, the key, the index with its dimension."""
    if find_spec("pinecone") is None:
        return [Check("pinecone", False, "is not installed: pip install 'stenobus-sinks[pinecone]'")]
    if settings.host is None:
        return [Check("index", False, "none is named: set STENOBUS_KB_PINECONE_HOST")]
    from .index import connected, explained

    try:
        index = connected(settings.model_copy(update={"timeout": min(settings.timeout, 5.0)}))
        with explained(settings.host):
            stats = index.describe_index_stats()
        index.close()
    except HandlerError as error:
        return [Check("index", False, str(error))]
    dense = stats.dimension is not None
    detail = f"{settings.host}: {stats.dimension} dimensions, {stats.total_vector_count} records, {settings.vectors}"
    return [Check("index", dense, detail if dense else f"{settings.host} has no dense vectors")]
