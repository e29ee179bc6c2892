"""Files of a folder, or objects under a prefix of a bucket."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Final, Protocol
from urllib.parse import unquote

from pydantic import JsonValue

from stenobus_bus import BlobNotFound, PermanentError
from stenobus_contracts import BlobRef, Media
from stenobus_core.blob_stores import Entry

from .errors import Misconfigured
from .html import one_line, tidy, to_text
from .records import Extraction, Record
from .settings import Files
from .state import State

_HTML: Final = {".html", ".htm", ".xhtml"}
_HEADING: Final = re.compile(r"\A\s*#[ \t]+(.+?)[ \t]*#*[ \t]*(?:\n|\Z)")
#: Characters of a file in which its title is looked for.
_HEAD: Final = 20_000
_TITLE: Final = re.compile(r"<(title|h1)\b[^<>]*>(.{0,2000}?)</\1\s{0,9}>", re.IGNORECASE | re.DOTALL)


class Store(Protocol):
    """What the files are read by: a handler's context, or a process's blob stores."""

    async def read(self, ref: BlobRef | Media, limit: int = ...) -> bytes:
        """The content of a file."""
        ...

    def walk(self, uri: str) -> AsyncIterator[Entry]:
        """Every file below an address."""
        ...


async def extract(
    store: Store,
    files: Files,
    state: State,
    *,
    everything: bool,
    most: int,
    progress: Callable[[float, str], Awaitable[None]],
) -> Extraction:
    """Read the files that are new or changed. The listing is complete: a folder is listed whole, or not at all.

    Args:
        everything: read those, too, whose version is the known one.
        most: bytes that may be read.

    Raises:
        Misconfigured: the folder is not there, or has more than it may.
        RetryableError: the store is out of reach.
    """
    found = Extraction()
    entries = await _entries(store, files)
    if len(entries) > files.max_files:
        raise Misconfigured(f"{files.uri} has more than {files.max_files} files: raise max_files of {files.name}.")
    listing, size = [], 0
    for number, (name, entry) in enumerate(entries.items()):
        known = state.known.get(name) or state.refused.get(name)
        if known is not None and known.digest and known.version == entry.version and not everything:
            listing.append(name)
            continue
        await progress(0.9 * number / len(entries), name)
        if entry.size > files.max_bytes:
            listing.append(name)
            found.failures.append(f"{name} is larger than {files.max_bytes} bytes")
            continue
        if (size := size + entry.size) > most:
            raise Misconfigured(f"{files.uri} holds more than {most} bytes: raise max_bytes in [sources].")
        try:
            content = await store.read(Media(uri=entry.uri), limit=files.max_bytes)
            found.requests += 1
        except BlobNotFound:
            continue  # it went while we read the others
        except PermanentError as error:
            if isinstance(error.__cause__, BlobNotFound):  # as a handler's context words it
                continue
            listing.append(name)
            found.failures.append(f"{name}: {error}")
            continue
        listing.append(name)
        try:
            data = await asyncio.to_thread(parse, name, content.decode("utf-8-sig"))
        except UnicodeDecodeError:
            found.failures.append(f"{name} is no UTF-8 text")
            continue
        found.records[name] = Record(id=name, version=entry.version, data={**data, "link": entry.uri})
    found.listing = listing
    found.complete = bool(listing) or files.may_be_empty
    found.doubt = "" if found.complete else "there are no files at all"
    return found


def parse(name: str, text: str) -> dict[str, JsonValue]:
    """Title and Markdown of a file. Without a title of its own it is called as the file is."""
    called = PurePosixPath(name).stem.replace("_", " ").replace("-", " ").strip() or name
    if PurePosixPath(name).suffix.lower() in _HTML:
        heading = _TITLE.search(text, 0, _HEAD)
        return {"title": one_line(heading[2] if heading else "")[:500] or called[:500], "body": to_text(text)}
    text = text.replace("\r\n", "\n").replace("\x00", "")
    if PurePosixPath(name).suffix.lower() == ".txt":
        return {"title": called[:500], "body": tidy(text)}
    heading = _HEADING.match(text)
    title = heading[1][:500] if heading else called[:500]
    return {"title": title, "body": text[heading.end() :].strip() if heading else text.strip()}


async def _entries(store: Store, files: Files) -> dict[str, Entry]:
    """The files that count, by their paths below the folder."""
    found = {}
    try:
        async for entry in store.walk(files.uri):
            path = entry.uri.removeprefix(files.uri)
            name = unquote(path) if entry.uri.startswith("file://") else path
            hidden = any(part.startswith(".") for part in name.split("/"))
            if not hidden and any(fnmatchcase(name.rpartition("/")[2].lower(), one) for one in files.patterns):
                found[name] = entry
                if len(found) > files.max_files:
                    break
    except BlobNotFound as error:
        raise Misconfigured(
            f"{files.uri} is not there: check place of {files.name}, and whether it is mounted."
        ) from error
    except PermanentError as error:
        raise Misconfigured(str(error)) from error
    return found
