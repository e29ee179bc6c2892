"""Old datasets go, the latest ones stay."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any, Final

from stenobus_bus import BlobNotFound, PermanentError
from stenobus_core import Context

from .catalogue import Origin
from .settings import Settings

_VERSION: Final = re.compile(r"\d{8}T\d{6}Z")


async def let_go(ctx: Context[Settings, Any], origin: Origin, keep: int) -> None:
    """Remove a source's datasets but the latest so many. One that cannot be removed is named in the run's record.

    Raises:
        RetryableError: the store is out of reach.
    """
    try:
        versions = await _versions(ctx, origin)
        for version in sorted(versions)[:-keep]:
            # The manifest first: where one lies, the other files do.
            for uri in sorted(versions[version], key=lambda uri: not uri.endswith("/manifest.json")):
                await ctx.remove(uri, within=origin.places.datasets)
    except PermanentError as error:  # what was sent has arrived: the run has done what it is for
        ctx.note(not_removed=str(error))
        ctx.log.warning("sources.datasets.not_removed", source=origin.name, reason=str(error))


async def _versions(ctx: Context[Settings, Any], origin: Origin) -> dict[str, list[str]]:
    """Addresses of the files of the source's datasets, by version."""
    found: dict[str, list[str]] = defaultdict(list)
    root = origin.places.datasets
    try:
        async for entry in ctx.walk(root):
            version = entry.uri.removeprefix(root).partition("/")[0]
            folder, _, name = entry.uri.rpartition("/")
            if name and _VERSION.fullmatch(version) and f"{folder}/" == origin.places.dataset(version):
                found[version].append(entry.uri)
    except BlobNotFound:  # a run that found nothing but bad records may be the first one
        return {}
    return found
