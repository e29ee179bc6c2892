"""What a pass over one type of posts brings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import JsonValue

from ..errors import Misconfigured
from ..events import Pass
from ..records import Extraction, Record
from ..settings import PostType, WordPress
from ..state import State
from .client import Client
from .pager import Checkpoint, Post, Reading, read, unkept

#: All that is read of a post in a pass over its content.
FIELDS: Final = "id,date,date_gmt,modified,modified_gmt,slug,status,link,title,content,excerpt,acf,meta,categories,tags"
#: What is read where only the ids count.
SLIM: Final = "id,modified_gmt"

Progress = Callable[[float, str], Awaitable[None]]


async def extract(
    client: Client,
    site: WordPress,
    kind: PostType,
    reads: Pass,
    state: State,
    *,
    checkpoint: Callable[[str], Checkpoint] = lambda stage: unkept,
    progress: Progress,
) -> Extraction:
    """Read one type of posts.

    A pass over changes asks for what the site says was modified; one over the listing finds, by the way, what another
    pass missed: posts that nobody has read yet, or whose time of modification is another one.

    A listing of several pages is complete when it held together and a second one, read right behind it, has the same
    ids: a post that comes while another one goes leaves the total as it was, and may slip between two pages unseen.

    Args:
        state: what is known of the source; everything is read when that is nothing.
        checkpoint: by the name of a reading, what keeps its pages.

    Raises:
        Unreachable: the site fails as a whole.
        Misconfigured: somebody has to change something first.
    """

    async def reading(stage: str, **parameters: str | int) -> Reading:
        async def told(count: int, total: int | None) -> None:
            await progress(0.9 * count / max(total or count, count, 1), f"{stage}: {count} of {total or '?'} posts")

        return await read(
            client,
            f"/wp/v2/{kind.type}",
            parameters,
            per_page=site.per_page,
            max_pages=site.max_pages,
            checkpoint=checkpoint(stage),
            progress=told,
        )

    found = Extraction()
    if reads == "listing" and state.cursor is not None:
        first = await reading("listing", _fields=SLIM)
        await _prove(found, first, kind, reading)
        seen = state.seen
        behind = [number for number, post in first.posts.items() if _differs(seen, number, post)]
        for start in range(0, len(behind), site.per_page):
            some = ",".join(map(str, behind[start : start + site.per_page]))
            _take(found, await reading(f"behind-{start}", _fields=FIELDS, include=some))
    elif reads == "changes" and state.cursor is not None:
        zone = await site_zone(client, site)
        after = local(state.cursor - timedelta(hours=site.overlap), zone)
        changes = await reading("changes", _fields=FIELDS, modified_after=after)
        _take(found, changes)
    else:
        everything = await reading("full", _fields=FIELDS)
        _take(found, everything)
        await _prove(found, everything, kind, reading)
    found.requests = client.requests
    return found


def local(instant: datetime, zone: tzinfo) -> str:
    """An instant as the site's own clock shows it, which is what ``modified_after`` is compared with."""
    return instant.astimezone(zone).replace(tzinfo=None).isoformat(timespec="seconds")


async def site_zone(client: Client, site: WordPress) -> tzinfo:
    """The zone of the site's clock: that of the settings, or what the site says about itself.

    Raises:
        Misconfigured: neither says.
    """
    if site.timezone is not None:
        return ZoneInfo(site.timezone)
    about = (await client.get("/", {"_fields": "timezone_string,gmt_offset"})).value
    name = about.get("timezone_string") if isinstance(about, dict) else None
    offset = about.get("gmt_offset") if isinstance(about, dict) else None
    try:
        if name and isinstance(name, str):
            return ZoneInfo(name)
        # A number, or a text that holds one, where somebody chose UTC-3 instead of a city.
        return timezone(timedelta(hours=float("" if offset is None else offset)))
    except (TypeError, ValueError, ZoneInfoNotFoundError, OSError) as error:
        raise Misconfigured(
            f"{site.url}/wp-json/ does not say the site's time zone: set timezone of {site.name}."
        ) from error


def _differs(seen: Mapping[str, datetime | None], number: int, post: Post) -> bool:
    return str(number) not in seen or seen[str(number)] != _modified(post)


def _take(found: Extraction, reading: Reading) -> None:
    for number, post in reading.posts.items():
        found.records[str(number)] = Record(id=str(number), modified=_modified(post), data=_kept(post))
    found.failures += reading.failures


async def _prove(found: Extraction, first: Reading, kind: PostType, again: Callable[..., Awaitable[Reading]]) -> None:
    ids, second = set(first.posts), first
    if first.pages > 1:
        second = await again("proof", _fields=SLIM)
    found.doubt = first.doubt or second.doubt
    if not found.doubt and set(second.posts) != ids:
        found.doubt = "two listings, one right behind the other, differ"
    if not found.doubt and not ids and not kind.may_be_empty:
        found.doubt = "the site says that it has none at all"
    found.complete = not found.doubt
    found.listing = [str(number) for number in sorted(ids | set(second.posts))]


def _kept(post: Post) -> dict[str, JsonValue]:
    """Without what changes by itself, or says nothing about the content."""
    return {
        name: value
        for name, value in post.items()
        if name in FIELDS.split(",") and name not in {"id", "modified", "modified_gmt"}
    }


def _modified(post: Post) -> datetime | None:
    """``modified_gmt``, which has no zone on the wire; None where it makes no sense."""
    value: Any = post.get("modified_gmt")
    try:
        found = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
