"""A polite client of one site: paced, patient, and bounded in what it takes."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Final, Self
from urllib.robotparser import RobotFileParser

import httpx2

from ..errors import BadPage, Misconfigured, PastTheEnd, Unreachable
from ..settings import WordPress

#: Longest pause between two tries that the site did not ask for, in seconds.
_CAP: Final = 30.0
#: Longest pause that is believed when a site asks for it, in seconds.
_LONGEST: Final = 3600.0
_ROBOTS_BYTES: Final = 512 * 1024
_ERROR_BYTES: Final = 64 * 1024

Pace = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the site answered, in JSON."""

    value: Any
    headers: Mapping[str, str]


class Client:
    """Asks one site, one request after the other.

    Args:
        pace: called before each request; returns when it may be sent.
        sleep: waits between two tries.

    Raises:
        Misconfigured: from every request, when somebody has to change something first.
        Unreachable: when the site does not answer, however often it is asked.
    """

    def __init__(
        self, site: WordPress, pace: Pace, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    ) -> None:
        self._site, self._pace, self._sleep = site, pace, sleep
        self._http: httpx2.AsyncClient | None = None
        self._pause = 0.0
        self._last = 0.0
        #: Requests that were sent.
        self.requests = 0

    async def __aenter__(self) -> Self:
        password = self._site.password
        auth = (self._site.username or "", password) if password else None
        self._http = httpx2.AsyncClient(
            auth=auth,
            timeout=self._site.timeout,
            # A small compressed answer could become a huge one.
            headers={"User-Agent": self._site.user_agent, "Accept": "application/json", "Accept-Encoding": "identity"},
        )
        if self._site.robots == "obey":
            await self._obey()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._http is not None
        await self._http.aclose()

    async def get(self, path: str, parameters: Mapping[str, str | int], attempts: int | None = None) -> Answer:
        """The answer of an address below ``/wp-json``.

        Args:
            attempts: tries; those of the settings by default.

        Raises:
            PastTheEnd: there is no such page.
            BadPage: the site fails on this request, or does not answer in JSON, or with more than it may.
        """
        url = f"{self._site.url}/wp-json{path}"
        most = attempts or self._site.attempts
        for number in range(1, most + 1):
            try:
                status, headers, body = await self._send(url, parameters, self._site.max_body)
                return self._read(url, status, headers, body)
            except (Unreachable, BadPage) as error:
                if number == most:
                    raise
                asked = error.delay if isinstance(error, Unreachable) else None
                if asked is not None and asked > self._site.max_wait:
                    raise
                # Full jitter: whoever failed together does not come back together.
                jitter = random.uniform(0, min(_CAP, 2.0 ** (number - 1)))
                await self._sleep(jitter if asked is None else asked + jitter)
        raise AssertionError("the last attempt returns or raises")

    async def _send(
        self, url: str, parameters: Mapping[str, str | int], most: int
    ) -> tuple[int, Mapping[str, str], bytes]:
        assert self._http is not None
        await self._pace()
        if (wait := self._last + self._pause - time.monotonic()) > 0:
            await self._sleep(wait)
        self._last = time.monotonic()
        self.requests += 1
        try:
            async with (
                asyncio.timeout(10 * self._site.timeout),  # a trickle is never silent
                self._http.stream("GET", url, params=dict(parameters)) as response,
            ):
                body = bytearray()
                limit = most if response.is_success else _ERROR_BYTES
                async for part in response.aiter_bytes():
                    body += part
                    if len(body) > limit:
                        if response.is_success:
                            raise BadPage(f"{response.url} answers with more than {most} bytes")
                        break
                return response.status_code, response.headers, bytes(body)
        except (httpx2.HTTPError, httpx2.StreamError, TimeoutError, OSError) as error:
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise Unreachable(f"{url} does not answer ({reason}).") from error
        except (httpx2.InvalidURL, UnicodeError) as error:
            raise Misconfigured(f"{url} is no address ({error}): correct url of {self._site.name}.") from error

    def _read(self, url: str, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        code = _code(body) if status >= 400 else ""
        said = f" ({code})" if code else ""
        if status in {429, 503}:
            raise Unreachable(f"{url} asks for fewer requests ({status}).", _retry_after(headers.get("retry-after")))
        if status >= 500 or status == 408:
            raise BadPage(f"{url} fails with {status}{said}")
        if code == "rest_post_invalid_page_number":
            raise PastTheEnd(f"{url} has no such page")
        if status in {401, 403}:
            raise Misconfigured(f"{url} refuses access ({status}{', ' + code if code else ''}): {self._key()}")
        if status == 404:
            raise Misconfigured(
                f"{url} does not exist{said}: check url and type of {self._site.name}, and that the type is shown in "
                "REST (show_in_rest)."
            )
        if 300 <= status < 400:
            target = headers.get("location", "another address")
            raise Misconfigured(f"{url} has moved to {target[:200]}: correct url of {self._site.name}.")
        if status >= 400:
            raise Misconfigured(f"{url} refuses the request ({status}{', ' + code if code else ''}).")
        try:
            return Answer(_parsed(body), headers)
        except (ValueError, RecursionError) as error:
            beginning = body[:40].decode("utf-8", "replace").strip()
            raise BadPage(f"{url} answers with {beginning!r}… where JSON was expected") from error

    def _key(self) -> str:
        name = self._site.name
        if self._site.username is None:
            return f"set username and password_env of {name} to an application password."
        return f"check username and the application password of {name}, and what that user may read."

    async def _obey(self) -> None:
        """Read robots.txt. A site without one, or that hides it, forbids nothing (RFC 9309, 2.3.1.3)."""
        url = httpx2.URL(self._site.url).copy_with(raw_path=b"/robots.txt")
        try:
            status, _, body = await self._send(str(url), {}, _ROBOTS_BYTES)
        except BadPage as error:
            raise Misconfigured(
                f'{error}: set robots = "ignore" for {self._site.name} if the site is yours.'
            ) from error
        if status >= 500 or status == 429:
            raise Unreachable(f"{url} fails with {status}, so that nobody knows what the site allows.")
        if status != 200:
            return
        rules = RobotFileParser()
        rules.parse(body.decode("utf-8", "replace").splitlines())
        agent = self._site.user_agent.partition("/")[0]
        if not rules.can_fetch(agent, f"{self._site.url}/wp-json/wp/v2/"):
            raise Misconfigured(
                f'{url} forbids /wp-json to {agent}: change it, or set robots = "ignore" for {self._site.name} if the '
                "site is yours."
            )
        self._pause = float(rules.crawl_delay(agent) or 0)


def _code(body: bytes) -> str:
    """WordPress' name of an error."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    code = found.get("code") if isinstance(found, dict) else None
    return code[:80] if isinstance(code, str) else ""


def _retry_after(value: str | None) -> float | None:
    """Seconds, from either form of the header (RFC 9110, 10.2.3); None when it makes no sense."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return min(float(value), _LONGEST)
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    return min(max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds()), _LONGEST)


def _parsed(body: bytes) -> Any:
    """JSON without what JSON does not have: NaN, and halves of characters, which PHP cuts off. Raises ValueError."""
    value = json.loads(body, parse_constant=_refused)
    text = json.dumps(value, ensure_ascii=False)
    if text.isascii():
        return value
    return json.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


def _refused(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
