"""What a pass over one type of posts brings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import JsonValue, ValidationError

from ..errors import BadPage, Misconfigured, Unreachable
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
#: How often a listing is read again until two in a row agree.
PROOFS: Final = 3

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

    A listing of several pages is complete when it held together and another one, read right behind it, has the same
    ids: a post that comes while another one goes leaves the total as it was, and may slip between two pages unseen.

    Args:
        state: what is known of the source; everything is read when that is nothing.
        checkpoint: by the name of a reading, what keeps its pages.

    Raises:
        Unreachable: the site fails as a whole.
        Misconfigured: somebody has to change something first.
    """

    async def reading(stage: str, per_page: int = site.per_page, **parameters: str | int) -> Reading:
        async def told(count: int, total: int | None) -> None:
            await progress(0.9 * count / max(total or count, count, 1), f"{stage}: {count} of {total or '?'} posts")

        return await read(
            client,
            f"/wp/v2/{kind.type}",
            parameters,
            per_page=per_page,
            max_pages=site.max_pages,
            checkpoint=checkpoint(stage),
            progress=told,
        )

    async def more(numbers: Iterable[int]) -> None:
        wanted = sorted(numbers)
        for start in range(0, len(wanted), site.per_page):
            some = wanted[start : start + site.per_page]
            ids = ",".join(map(str, some))
            _take(found, await reading(f"more-{start}", len(some), _fields=FIELDS, include=ids))

    found = Extraction()
    if reads == "listing" and state.cursor is not None:
        first = await reading("listing", _fields=SLIM)
        last = await _prove(found, first, kind, reading)
        seen = state.seen
        await more(number for number, post in last.items() if _differs(seen, number, post))
    elif reads == "changes" and state.cursor is not None:
        zone = await site_zone(client, site)
        after = local(state.cursor - timedelta(hours=site.overlap), zone)
        changes = await reading("changes", _fields=FIELDS, modified_after=after)
        _take(found, changes)
        found.doubt, found.lacking = changes.doubt, not changes.whole  # the next pass has to ask for them again
    else:
        everything = await reading("full", _fields=FIELDS)
        _take(found, everything)
        last = await _prove(found, everything, kind, reading)
        found.failures.clear()  # what is missing is asked for once more, and by name
        await more(last.keys() - everything.posts.keys())
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
    try:
        about = (await client.get("/", {"_fields": "timezone_string,gmt_offset"})).value
    except BadPage as error:
        raise Unreachable(f"{error}.") from error
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
        try:
            found.records[str(number)] = Record(id=str(number), modified=_modified(post), data=_kept(post))
        except (ValidationError, RecursionError) as error:
            found.failures.append(f"post {number} is no record ({type(error).__name__})")
    found.failures += reading.failures


async def _prove(
    found: Extraction, reading: Reading, kind: PostType, again: Callable[..., Awaitable[Reading]]
) -> dict[int, Post]:
    """List until two readings in a row hold together and have the same ids; returns the posts that are there."""
    posts, proven = dict(reading.posts), reading.whole and reading.pages <= 1
    doubt = reading.doubt
    for number in range(1, 1 if proven else PROOFS + 1):
        other = await again(f"proof-{number}", _fields=SLIM)
        posts.update(other.posts)
        proven = reading.whole and other.whole and reading.posts.keys() == other.posts.keys()
        doubt = reading.doubt or other.doubt or "two listings, one right behind the other, differ"
        hopeless = not reading.whole and not other.whole and number > 1
        reading = other
        if proven or hopeless:
            break
    if proven and not reading.posts and not kind.may_be_empty:
        proven, doubt = False, "the site says that it has none at all"
    there = reading.posts if proven else posts
    found.complete, found.doubt = proven, "" if proven else doubt
    found.listing = [str(number) for number in sorted(there)]
    return there


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
