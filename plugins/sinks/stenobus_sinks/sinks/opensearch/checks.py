"""What the doctor looks at: whether the cluster lets us in."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from stenobus_bus.errors import HandlerError
from stenobus_core import Check

if TYPE_CHECKING:
    from .settings import Settings


def checks(settings: Settings) -> list[Check]:
    """The package, the cluster with its version, the ingest pipeline."""
    if find_spec("opensearchpy") is None:
        return [Check("opensearch-py", False, "is not installed: pip install 'stenobus-sinks[opensearch]'")]
    if settings.url is None:
        return [Check("cluster", False, "none is named: set STENOBUS_KB_OPENSEARCH_URL")]
    from .cluster import connected, explained

    try:
        client = connected(settings.model_copy(update={"timeout": min(settings.timeout, 5.0)}))
        with explained(settings.url):
            number = client.info()["version"]["number"]
            found = [Check("cluster", True, f"{settings.url}: OpenSearch {number}, vectors: {settings.vectors}")]
            if settings.vectors == "pipeline":
                client.ingest.get_pipeline(id=settings.pipeline)
                found.append(Check("pipeline", True, str(settings.pipeline)))
        return found
    except HandlerError as error:
        return [Check("cluster", False, str(error))]
