"""Ways to people: each takes an alert, splits it where its service has a limit, and says what came of it."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Final, Literal, Protocol, Self

import httpx2
from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from stenobus_contracts import MonitorAlert, Severity
from stenobus_core import PermanentError, RetryableError

_ORDER: Final[dict[Severity, int]] = {"info": 0, "warning": 1, "critical": 2}
#: Seconds for one message.
TIMEOUT: Final = 15.0
#: Seconds until a service that names no time is asked again, and the longest that is waited.
_AGAIN, _LONGEST = 5.0, 600.0

#: Called with the number of parts that are delivered, after each of them.
Delivered = Callable[[int], Awaitable[None]]


class Channel(BaseModel):
    """A way to people, and what goes there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    severity: Severity = Field(default="warning", description="the lowest that goes there")
    kinds: tuple[str, ...] = Field(default=("*",), description="kinds of incidents that go there, wildcards allowed")
    secret_env: str | None = Field(default=None, description="variable that holds the secret of the service")
    secret_file: Path | None = Field(default=None, description="file that holds it")

    def takes(self, severity: Severity, kind: str) -> bool:
        """Whether an incident of this severity and kind goes there."""
        return _ORDER[severity] >= _ORDER[self.severity] and any(fnmatchcase(kind, each) for each in self.kinds)

    def secret(self) -> SecretStr | None:
        """The service's secret, None when none is named.

        Raises:
            PermanentError: it is named and not there.
        """
        try:
            if self.secret_env:
                return SecretStr(os.environ[self.secret_env])
            if self.secret_file:
                return SecretStr(self.secret_file.read_text().strip())
        except (KeyError, OSError) as error:
            where = self.secret_env or self.secret_file
            raise PermanentError(f"The channel {self.name} has no secret: {where} is not there.") from error
        return None

    def needed(self) -> str:
        """The service's secret. Raises PermanentError when there is none."""
        secret = self.secret()
        if secret is None:
            raise PermanentError(f"The channel {self.name} needs secret_env or secret_file.")
        return secret.get_secret_value()


class Slack(Channel):
    """An incoming webhook of Slack; its address is the secret."""

    kind: Literal["slack"]


class Telegram(Channel):
    """A bot of Telegram; its token is the secret."""

    kind: Literal["telegram"]
    chat: str = Field(description="id of the chat, or @channel")
    api: str = Field(default="https://api.telegram.org", description="address of the Bot API")


class Webhook(Channel):
    """Any address that takes JSON; with a secret each body is signed (X-Stenobus-Signature)."""

    kind: Literal["webhook"]
    url: str


class Mail(Channel):
    """E-mail by SMTP; the user's password is the secret."""

    kind: Literal["mail"]
    host: str
    port: int = Field(default=587, ge=1, le=65535)
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: str | None = None
    sender: str
    to: tuple[str, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _closed(self) -> Self:
        if self.user and self.security == "none":
            raise ValueError("a password must not travel without TLS: set security to starttls or tls")
        return self


AnyChannel = Annotated[Slack | Telegram | Webhook | Mail, Field(discriminator="kind")]


class Sender(Protocol):
    """Sends alerts to one channel."""

    async def send(self, alert: MonitorAlert, done: int, delivered: Delivered) -> int:
        """Send what is not delivered yet.

        Args:
            alert: what people are to hear.
            done: parts that an earlier attempt delivered.
            delivered: called after each part.

        Returns:
            Number of its parts.

        Raises:
            RetryableError: the service is not there, or has too much to do.
            PermanentError: it will never take this.
        """
        ...


def sender(channel: Channel) -> Sender:
    """What sends to a channel."""
    from .mail import MailSender
    from .slack import SlackSender
    from .telegram import TelegramSender
    from .webhook import WebhookSender

    match channel:
        case Slack():
            return SlackSender(channel)
        case Telegram():
            return TelegramSender(channel)
        case Webhook():
            return WebhookSender(channel)
        case Mail():
            return MailSender(channel)
    raise TypeError(f"nothing sends to {type(channel).__name__}")


async def post(channel: Channel, url: str, content: bytes, headers: dict[str, str] | None = None) -> httpx2.Response:
    """POST JSON to a service. Redirects are not followed: they would take the secret along.

    Raises:
        RetryableError: it does not answer, is overloaded or broken; with the wait it asks for.
        PermanentError: it refuses.
    """
    try:
        async with httpx2.AsyncClient(timeout=TIMEOUT, follow_redirects=False) as client:
            answer = await client.post(
                url, content=content, headers={"Content-Type": "application/json"} | (headers or {})
            )
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        # The address may be the secret, and errors quote it.
        raise RetryableError(f"The channel {channel.name} does not answer ({type(error).__name__}).") from None
    if answer.is_success:
        return answer
    said = f"The channel {channel.name} answered {answer.status_code}: {answer.text[:200]}"
    if answer.status_code in {408, 425, 429} or answer.status_code >= 500:
        raise RetryableError(said, delay=_wait(answer))
    raise PermanentError(said)


def _wait(answer: httpx2.Response) -> float:
    """Seconds that the service asks for: in the header, or in the body as Telegram does."""
    try:
        told = answer.headers.get("retry-after") or answer.json()["parameters"]["retry_after"]
        return min(_LONGEST, max(0.0, float(told)))
    except (ValueError, KeyError, TypeError):
        return _AGAIN


def split(text: str, limit: int) -> Sequence[str]:
    """A text in parts of at most so many characters, at line ends where there are any; each says which part it is."""
    if len(text) <= limit:
        return [text]
    room = limit - len("(99/99) ")
    parts, rest = [], text
    while len(rest) > room:
        cut = rest.rfind("\n", 0, room + 1)
        cut = cut if cut > room // 2 else room
        parts.append(rest[:cut].rstrip())
        rest = rest[cut:].lstrip("\n")
    parts = [*parts, rest][:99]
    return [f"({number}/{len(parts)}) {part}" for number, part in enumerate(parts, 1)]
