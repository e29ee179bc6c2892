"""Every post of a type, page by page, from a site that changes meanwhile and may not tell the truth."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from ..errors import BadPage, PastTheEnd, Unreachable
from .client import Client

#: How often a listing is read from its beginning until one holds together.
ROUNDS: Final = 4
#: Requests of one reading that may fail for good. A site that fails on more is ill as a whole.
MOST_FAILURES: Final = 20
#: Tries of the parts of a page that failed as a whole.
_PART_ATTEMPTS: Final = 2

Post = dict[str, Any]


class Page(BaseModel):
    """One answer, or what of it could be read part by part."""

    model_config = ConfigDict(frozen=True)

    posts: tuple[Post, ...] = ()
    total: int | None = Field(default=None, description="X-WP-Total; None when the site does not say")
    pages: int | None = Field(default=None, description="X-WP-TotalPages")
    failures: tuple[str, ...] = ()
    past_the_end: bool = Field(default=False, description="the site says that it has no such page")


#: Fetches a page, or knows it from an attempt before: (round, number, fetch) → page.
Checkpoint = Callable[[int, int, Callable[[], Awaitable[Page]]], Awaitable[Page]]


async def unkept(_: int, __: int, fetch: Callable[[], Awaitable[Page]]) -> Page:
    """Keeps nothing."""
    return await fetch()


@dataclass(slots=True)
class Reading:
    """The posts of a listing."""

    posts: dict[int, Post] = field(default_factory=dict)
    #: The last round held together and had no failures: one total, as many distinct ids, every page read.
    whole: bool = False
    #: Why it did not hold together.
    doubt: str = ""
    failures: list[str] = field(default_factory=list)
    #: Pages of the last round; a listing on a single page cannot have changed between two.
    pages: int = 0
    rounds: int = 0


async def read(
    client: Client,
    path: str,
    parameters: Mapping[str, str | int],
    *,
    per_page: int,
    max_pages: int,
    checkpoint: Checkpoint = unkept,
    progress: Callable[[int, int | None], Awaitable[None]] | None = None,
) -> Reading:
    """Read a listing until it holds together, at most :data:`ROUNDS` times.

    Posts are asked for by id: dates are equal, change, and let posts slip from page to page. Ids only move when
    posts come or go, which shows in the total, in a page that is no longer there, or in an id that comes twice.

    Args:
        progress: told how many posts there are, and how many there should be.

    Raises:
        Unreachable: the site fails as a whole.
        Misconfigured: somebody has to change something first.
    """
    wanted = {**parameters, "orderby": "id", "order": "asc"}
    found = Reading()
    moved = True
    while moved and found.rounds < ROUNDS:
        found.rounds += 1
        one = await _round(client, path, wanted, found.rounds, per_page, max_pages, checkpoint, progress)
        found.posts.update(one.posts)  # what an earlier round saw is no lie, and the later one is newer
        found.doubt, found.pages, found.failures = one.doubt, one.pages, one.failures
        moved = bool(one.doubt)
    found.whole = not moved and not found.failures
    if not moved:
        found.posts = one.posts
    return found


async def _round(
    client: Client,
    path: str,
    parameters: Mapping[str, str | int],
    round: int,
    per_page: int,
    max_pages: int,
    checkpoint: Checkpoint,
    progress: Callable[[int, int | None], Awaitable[None]] | None,
) -> Reading:
    found, totals, doubts = Reading(), set[int | None](), list[str]()
    number = 0
    while True:
        number += 1

        async def fetch(number: int = number) -> Page:
            return await _page(client, path, parameters, number, per_page, [])

        page = await checkpoint(round, number, fetch)
        if page.past_the_end:
            if totals or number == 1:  # where nobody said how many pages there are, this is how they end
                doubts.append(f"page {number} is gone: the listing shrank while it was read")
            break
        found.pages = number
        found.failures += page.failures
        if len(found.failures) > MOST_FAILURES:
            raise Unreachable(f"The site fails on too many requests, such as: {found.failures[0]}.")
        if page.total is not None or not page.failures:
            totals.add(page.total)
        fresh = 0
        for post in page.posts:
            identity = post.get("id")
            if not isinstance(identity, int) or isinstance(identity, bool):
                found.failures.append(f"page {number} has a post without an id")
                continue
            if identity in found.posts:
                doubts.append(f"post {identity} came twice")
            else:
                fresh += 1
            found.posts[identity] = post
        if progress is not None:
            await progress(len(found.posts), page.total)
        if len(page.posts) > per_page:
            doubts.append(f"page {number} has more than the {per_page} posts that were asked for")
        if page.pages is not None and number >= page.pages:
            break
        if page.pages is None and len(page.posts) + len(page.failures) < per_page:
            break
        if not fresh and not page.failures:
            doubts.append(f"page {number} of {page.pages} brings nothing new")
            break
        if number >= max_pages:
            doubts.append(f"there are more than {max_pages} pages")
            break
    if None in totals:
        doubts.append("the site does not say how many posts there are (X-WP-Total)")
    elif len(totals) > 1:
        doubts.append(
            f"the total changed while it was read: {', '.join(map(str, sorted(t for t in totals if t is not None)))}"
        )
    elif totals and totals != {len(found.posts) + len(found.failures)}:
        doubts.append(f"the site says {totals.pop()} posts and gives {len(found.posts)}")
    found.doubt = doubts[0] if doubts else ""
    return found


async def _page(
    client: Client,
    path: str,
    parameters: Mapping[str, str | int],
    number: int,
    per_page: int,
    failures: list[str],
    attempts: int | None = None,
) -> Page:
    """A page; where the site fails on it, its parts, down to the single post that it fails on."""
    try:
        answer = await client.get(path, {**parameters, "page": number, "per_page": per_page}, attempts)
        if not isinstance(answer.value, list) or not all(isinstance(post, dict) for post in answer.value):
            raise BadPage(f"page {number} of {path} is no list of posts")
    except PastTheEnd:
        return Page(past_the_end=True)
    except BadPage as error:
        if per_page == 1:
            failures.append(str(error))
            return Page(failures=(str(error),))
        if len(failures) >= MOST_FAILURES:
            raise Unreachable(f"The site fails on too many requests, such as: {failures[0]}.") from error
        return await _parts(client, path, parameters, number, per_page, failures)
    return Page(
        posts=tuple(answer.value),
        total=_count(answer.headers.get("x-wp-total")),
        pages=_count(answer.headers.get("x-wp-totalpages")),
    )


async def _parts(
    client: Client,
    path: str,
    parameters: Mapping[str, str | int],
    number: int,
    per_page: int,
    failures: list[str],
) -> Page:
    parts = next(divisor for divisor in range(2, per_page + 1) if per_page % divisor == 0)
    posts: list[Post] = []
    failed: list[str] = []
    total: int | None = None
    for part in range(parts):
        page = await _page(
            client,
            path,
            parameters,
            (number - 1) * parts + part + 1,
            per_page // parts,
            failures,
            _PART_ATTEMPTS,
        )
        if page.past_the_end:
            if part == 0 and not posts:
                return page
            break
        posts += page.posts
        failed += page.failures
        total = page.total if page.total is not None else total
    pages = -(-total // per_page) if total is not None else None
    return Page(posts=tuple(posts), total=total, pages=pages, failures=tuple(failed))


def _count(value: str | None) -> int | None:
    return int(value) if value is not None and len(value) < 10 and value.strip().isdecimal() else None
