"""A site that answers as WordPress' REST API does, strictly; and that moves, throttles, fails and lies on request.

It refuses what WordPress 6 refuses: unknown orders, more than a hundred posts a page, pages past the end. It keeps
times of modification by its own clock beside GMT, and compares ``modified_after`` with the former.
"""

from __future__ import annotations

import asyncio
import base64
import inspect
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from zoneinfo import ZoneInfo

PARAMETERS = {
    "_fields", "page", "per_page", "orderby", "order", "include", "modified_after", "status", "offset", "search",
    "exclude", "slug", "context",
}  # fmt: skip
ORDERS = {"author", "date", "id", "include", "modified", "parent", "relevance", "slug", "title"}
_WHEN = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:Z|[+-]\d{2}:?\d{2})?")


@dataclass
class Post:
    id: int
    title: str
    content: str
    modified: datetime
    fields: dict[str, Any] = field(default_factory=dict)
    status: str = "publish"


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    path: str
    parameters: dict[str, str]
    headers: dict[str, str]

    @property
    def page(self) -> int:
        return int(self.parameters.get("page", "1"))

    @property
    def slim(self) -> bool:
        return "content" not in self.parameters.get("_fields", "content")


class Reply(Exception):
    """What the site answers instead of what it would."""

    def __init__(self, status: int, body: Any = b"", **headers: str) -> None:
        self.status, self.headers = status, {name.replace("_", "-"): value for name, value in headers.items()}
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()


def wrong(code: str, message: str, status: int = 400, **params: str) -> Reply:
    """An error as WordPress words it."""
    data: dict[str, Any] = {"status": status, **({"params": params} if params else {})}
    return Reply(status, {"code": code, "message": message, "data": data})


Headers = dict[str, str]


class Site:
    """A site with posts by type.

    ``before`` is called with every request for posts, and may change the site, or raise a :class:`Reply`.
    ``bend`` gets the headers and posts of every good answer, and returns what is sent.
    """

    def __init__(self, zone: str = "America/Santiago") -> None:
        self.zone = ZoneInfo(zone)
        self.posts: dict[str, dict[int, Post]] = {}
        self.asked: list[Asked] = []
        self.now = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)
        self.robots: str | None = None
        self.login: tuple[str, str] | None = None
        self.before: Callable[[Asked], Awaitable[None] | None] = lambda asked: None
        self.bend: Callable[[Asked, Headers, list[Any]], tuple[Headers, Any]] = lambda asked, headers, posts: (
            headers,
            posts,
        )
        self.about: Callable[[Asked], Reply] = self._about
        self._server: asyncio.Server | None = None
        self._serving = set[asyncio.Task[None]]()
        self.url = ""

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    # --- its editors -------------------------------------------------------------------------------------------------

    def add(
        self, kind: str, title: str = "", content: str = "<p>Texto</p>", *, id: int | None = None, **fields: Any
    ) -> Post:
        """Publish a post."""
        known = self.posts.setdefault(kind, {})
        number = id or max((number for posts in self.posts.values() for number in posts), default=100) + 1
        self.now += timedelta(minutes=1)
        known[number] = Post(number, title or f"{kind} {number}", content, self.now, fields)
        return known[number]

    def edit(self, kind: str, number: int, *, touch: bool = True, **what: Any) -> None:
        """Change a post; fields of plugins change without the time of modification when ``touch`` is off."""
        post = self.posts[kind][number]
        for name, value in what.items():
            if name in {"title", "content", "status"}:
                setattr(post, name, value)
            else:
                post.fields[name] = value
        if touch:
            self.now += timedelta(minutes=1)
            post.modified = self.now

    def trash(self, kind: str, number: int) -> None:
        """A post that is gone is simply not there any more."""
        del self.posts[kind][number]

    def requests(self, kind: str) -> list[Asked]:
        """What was asked about a type."""
        return [asked for asked in self.asked if asked.path == f"/wp-json/wp/v2/{kind}"]

    # --- what it answers ---------------------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        try:
            while line := await reader.readline():
                method, target, _ = line.decode().split()
                headers = {}
                while (line := await reader.readline()).strip():
                    name, _, value = line.decode().partition(":")
                    headers[name.lower()] = value.strip()
                parts = urlsplit(target)
                asked = Asked(parts.path, dict(parse_qsl(parts.query, keep_blank_values=True)), headers)
                self.asked.append(asked)
                try:
                    reply = await self._answer(method, asked)
                except Reply as other:
                    reply = other
                head = {"Content-Type": "application/json; charset=UTF-8", **reply.headers}
                head["Content-Length"] = str(len(reply.body))
                lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
                writer.write(f"HTTP/1.1 {reply.status} X\r\n{lines}\r\n".encode() + reply.body)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def _answer(self, method: str, asked: Asked) -> Reply:
        if asked.path == "/robots.txt":
            if self.robots is None:
                raise Reply(404, b"<html>no</html>", Content_Type="text/html")
            return Reply(200, self.robots.encode(), Content_Type="text/plain")
        if self.login is not None:
            token = base64.b64encode(":".join(self.login).encode()).decode()
            if asked.headers.get("authorization") != f"Basic {token}":
                raise wrong("rest_not_logged_in", "You are not currently logged in.", 401)
        if method != "GET":
            raise wrong("rest_no_route", "No route was found.", 404)
        if asked.path == "/wp-json/":
            return self.about(asked)
        kind = asked.path.removeprefix("/wp-json/wp/v2/")
        if kind not in self.posts:
            raise wrong("rest_no_route", "No route was found matching the URL and request method.", 404)
        if inspect.isawaitable(result := self.before(asked)):
            await result
        return self._collection(kind, asked)

    def _collection(self, kind: str, asked: Asked) -> Reply:
        wanted = asked.parameters
        for name in wanted:
            if name not in PARAMETERS:
                raise wrong("rest_invalid_param", f"Invalid parameter(s): {name}", **{name: "unknown"})
        per_page, page = self._number(wanted, "per_page", 10, 100), self._number(wanted, "page", 1, 10**9)
        order, direction = wanted.get("orderby", "date"), wanted.get("order", "desc")
        if order not in ORDERS or direction not in {"asc", "desc"}:
            raise wrong("rest_invalid_param", "Invalid parameter(s): orderby", orderby="not one of")
        found = [post for post in self.posts[kind].values() if post.status == "publish"]
        if "include" in wanted:
            included = {int(number) for number in wanted["include"].split(",")}
            found = [post for post in found if post.id in included]
        if "modified_after" in wanted:
            after = wanted["modified_after"]
            if not _WHEN.fullmatch(after):
                raise wrong("rest_invalid_param", "Invalid parameter(s): modified_after", modified_after="no date")
            found = [post for post in found if self.local(post.modified) > after]
        keys: dict[str, Callable[[Post], Any]] = {"id": lambda post: post.id}
        found.sort(key=keys.get(order, lambda post: post.modified), reverse=direction == "desc")
        pages = -(-len(found) // per_page)
        if page > pages and found:
            raise wrong(
                "rest_post_invalid_page_number",
                "The page number requested is larger than the number of pages available.",
            )
        names = wanted["_fields"].split(",") if "_fields" in wanted else None
        shown = [self._shown(kind, post, names) for post in found[(page - 1) * per_page : page * per_page]]
        headers = {"X-WP-Total": str(len(found)), "X-WP-TotalPages": str(pages)}
        headers, body = self.bend(asked, headers, shown)
        return Reply(200, body, **headers)

    def local(self, at: datetime) -> str:
        """As the column post_modified holds it."""
        return at.astimezone(self.zone).replace(tzinfo=None).isoformat(timespec="seconds")

    def _shown(self, kind: str, post: Post, names: list[str] | None) -> dict[str, Any]:
        gmt = post.modified.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds")
        whole = {
            "id": post.id,
            "date": self.local(post.modified),
            "date_gmt": gmt,
            "modified": self.local(post.modified),
            "modified_gmt": gmt,
            "slug": f"{kind}-{post.id}",
            "status": post.status,
            "type": kind,
            "link": f"https://sitio.example/{kind}/{post.id}/",
            "title": {"rendered": post.title},
            "content": {"rendered": post.content, "protected": False},
            "excerpt": {"rendered": "", "protected": False},
            "acf": post.fields or [],
            "_links": {"self": [{"href": f"{self.url}/wp-json/wp/v2/{kind}/{post.id}"}]},
        }
        return whole if names is None else {name: whole[name] for name in names if name in whole}

    def _about(self, asked: Asked) -> Reply:
        offset = self.now.astimezone(self.zone).utcoffset()
        assert offset is not None
        about = {"name": "Sitio", "timezone_string": self.zone.key, "gmt_offset": offset.total_seconds() / 3600}
        names = asked.parameters.get("_fields", ",".join(about)).split(",")
        return Reply(200, {name: about[name] for name in names})

    def _number(self, wanted: dict[str, str], name: str, default: int, most: int) -> int:
        text = wanted.get(name, str(default))
        if not text.isdecimal() or not 1 <= int(text) <= most:
            reason = f"{name} must be between 1 (inclusive) and {most} (inclusive)"
            raise wrong("rest_invalid_param", f"Invalid parameter(s): {name}", **{name: reason})
        return int(text)
