"""What is known of sources, and whether they can be read, for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from stenobus_bus import BlobNotFound, HandlerError
from stenobus_core import Check, CoreSettings
from stenobus_core.blobs import Blobs
from stenobus_core.cli.running import services

from .catalogue import Origin, Posts, Tree, reason
from .errors import SourceError
from .extraction import alone
from .records import Record
from .state import State
from .stored import read_state
from .wordpress.client import Client
from .wordpress.extract import FIELDS, site_zone


@dataclass(frozen=True, slots=True)
class Status:
    """One source, and what is known of it."""

    origin: Origin
    state: State

    @property
    def place(self) -> str:
        """Where it is."""
        if isinstance(self.origin, Tree):
            return self.origin.files.uri
        return f"{self.origin.site.url}/wp-json/wp/v2/{self.origin.type.type}"

    def document(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "source": self.origin.name,
            "collection": self.origin.collection,
            "place": self.place,
            "documents": len(self.state.known),
            "quarantined": len(self.state.refused),
            "version": self.state.version or None,
            "cursor": self.state.cursor,
        }

    def line(self) -> str:
        """For people."""
        known = f"{len(self.state.known)} documents, {len(self.state.refused)} in quarantine"
        seen = f"{known}, dataset {self.state.version}" if self.state.version else "not read yet"
        return f"{self.origin.name:<28} → {self.origin.collection:<20} {self.place}  {seen}"


async def statuses(settings: CoreSettings, known: Mapping[str, Origin]) -> list[Status]:
    """What is known of each source. Raises HandlerError when the output folder cannot be read."""
    async with services(settings) as (_, opened):
        return [Status(origin, await read_state(opened.blobs, origin)) for origin in known.values()]


async def checks(settings: CoreSettings, known: Mapping[str, Origin]) -> list[Check]:
    """Whether each source can be read, by reading a little of it."""
    async with services(settings) as (_, opened):
        return [await _checked(opened.blobs, origin) for origin in known.values()]


async def _checked(blobs: Blobs, origin: Origin) -> Check:
    try:
        detail = await (_files(blobs, origin) if isinstance(origin, Tree) else _posts(origin))
        await read_state(blobs, origin)
    except BlobNotFound as error:
        return Check(origin.name, False, f"{error}: check place of {origin.name}, and whether it is mounted.")
    except (SourceError, HandlerError) as error:
        return Check(origin.name, False, str(error))
    return Check(origin.name, True, detail)


async def _files(blobs: Blobs, origin: Tree) -> str:
    async for entry in blobs.walk(origin.files.uri):
        return f"{origin.files.uri} can be read, such as {entry.uri.removeprefix(origin.files.uri)}"
    return f"{origin.files.uri} can be read, and is empty"


async def _posts(origin: Posts) -> str:
    """The newest post, and what it becomes."""
    async with Client(origin.site, alone(origin.site.rate)) as client:
        zone = await site_zone(client, origin.site)
        answer = await client.get(f"/wp/v2/{origin.type.type}", {"per_page": 1, "_fields": FIELDS})
    posts = answer.value if isinstance(answer.value, list) else []
    total = answer.headers.get("x-wp-total", "an unknown number of")
    said = f"{total} posts, clock of {getattr(zone, 'key', zone)}"
    if not posts or not isinstance(posts[0], dict):
        return said
    try:
        page = origin.shape(Record(id=str(posts[0].get("id")), data=posts[0]))
    except ValidationError as error:
        return f"{said}; the newest would be in quarantine: {reason(error)}"
    filled = ", ".join(name for name, value in page.metadata().items() if value is not None)
    return f"{said}; the newest is “{page.title}”, with {filled or 'no further fields'}"
