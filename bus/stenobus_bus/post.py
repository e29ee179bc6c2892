"""A message on its way into a stream: the server's word awaited, the sending repeated, the time bounded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple

import structlog
from nats.errors import Error as NatsError
from nats.errors import MaxPayloadError, NoRespondersError
from nats.errors import TimeoutError as NatsTimeout

from .acks import Acks
from .errors import PayloadTooLarge, PublishFailed, PublishTimeout, StreamFull

log = structlog.get_logger(__name__)

#: Seconds one PubAck may take before the message is sent again under the same message id.
ACK_TIMEOUT: Final = 5.0
#: Seconds even the last sending before the deadline gets: too few, and it would hide why the ones before it failed.
_LEAST: Final = 1.0
#: Seconds after which a publish gives up. Longer than a server restart, shorter than a human's patience.
DEADLINE: Final = 60.0
#: Seconds the server gets to tell a full stream's limits.
_LOOK: Final = 2.0
#: JetStream error codes of a limit that is reached: the stream's own, the account's, the server's disk or memory.
_STREAM_FULL: Final = frozenset({10077, 10002, 10023, 10047})
#: Limits of a stream, in the words of its configuration.
_LIMITS: Final = ("max_msgs", "max_bytes", "max_msgs_per_subject")


class Stored(NamedTuple):
    """Where the server put a message."""

    stream: str
    sequence: int
    #: The server had a message with this id already; nothing was added.
    duplicate: bool


class Post:
    """One message. :meth:`send` it, do something else, and await :meth:`stored`.

    Args:
        deadline: seconds until it gives up, from the first sending.
    """

    __slots__ = ("_ack", "_acks", "_body", "_deadline", "_end", "_headers", "_reason", "_subject")

    def __init__(
        self, acks: Acks, subject: str, body: bytes, headers: Mapping[str, str], deadline: float = DEADLINE
    ) -> None:
        self._acks, self._subject, self._body, self._headers = acks, subject, body, headers
        self._deadline, self._end = deadline, 0.0
        self._ack: asyncio.Future[bytes] | None = None
        self._reason = ""

    async def send(self) -> Post:
        """Hand the message to the connection; what goes wrong shows in :meth:`stored`.

        Raises:
            PayloadTooLarge: the body exceeds the server's limit.
        """
        now = asyncio.get_running_loop().time()
        if not self._end:
            self._end = now + self._deadline
        timeout = max(_LEAST, min(ACK_TIMEOUT, self._end - now))
        try:
            self._ack = await self._acks.send(self._subject, self._body, self._headers, timeout=timeout)
        except MaxPayloadError as error:
            raise PayloadTooLarge(f"{self._subject}: the body exceeds the server's limit.") from error
        except (NatsError, OSError) as error:
            self._reason = str(error) or type(error).__name__
        return self

    async def stored(self) -> Stored:
        """Wait for the server's word that it has the message; send it again as long as it does not come.

        Raises:
            PayloadTooLarge: the body exceeds the server's limit.
            StreamFull: it was full up to the deadline.
            PublishTimeout: no PubAck before the deadline.
            PublishFailed: the server refuses the event, or no stream takes its subject.
        """
        pause, full, said = 0.0, "", False  # the first time at once: many may have lost their word with a connection
        while True:
            nobody = False
            if self._ack is not None:
                full = ""
                try:
                    answer = _word(await self._ack)
                    refusal = answer.get("error")
                    if refusal is None:
                        return Stored(answer["stream"], answer["seq"], answer.get("duplicate", False))
                    self._reason = str(refusal.get("description"))
                    if refusal.get("err_code") in _STREAM_FULL:
                        full = answer.get("stream", "")
                        if not said:
                            log.warning(
                                "publish.stream_full",
                                subject=self._subject,
                                stream=full,
                                reason=self._reason,
                                waiting=f"up to {self._deadline:g} s",
                            )
                        said = True
                    elif refusal.get("code") != 503:
                        sentence = f"{self._subject}: the server refused the event: {self._reason}."
                        raise PublishFailed(sentence, int(refusal.get("err_code", 0)))
                except ValueError as error:
                    self._reason = str(error)
                except NoRespondersError:
                    nobody, self._reason = True, "no stream takes this subject, or JetStream is starting"
                except NatsTimeout:
                    self._reason = "no PubAck came"
                    if pause and not said:  # a server says nothing at all when its disk is full
                        log.warning("publish.waiting", subject=self._subject, reason=self._reason)
                        said = True
                except NatsError as error:
                    self._reason = str(error) or type(error).__name__
            if asyncio.get_running_loop().time() + pause >= self._end:
                if full:
                    raise StreamFull(await self._why(full))
                failed = PublishFailed if nobody else PublishTimeout
                raise failed(f"{self._subject}: not stored within {self._deadline:.0f} s: {self._reason}.")
            await asyncio.sleep(pause)
            pause = min(max(0.05, pause * 2), 2.0)
            self._ack = None
            await self.send()

    async def _why(self, stream: str) -> str:
        """One sentence about a stream that is full, with its limits where the server tells them."""
        limits = ""
        with suppress(NatsError, OSError):
            told = await (await self._acks.send(f"$JS.API.STREAM.INFO.{stream}", b"", timeout=_LOOK))
            config = json.loads(told).get("config", {})
            limits = "".join(f", {name} {config[name]}" for name in _LIMITS if config.get(name, -1) > 0)
        return (
            f"{self._subject}: the stream {stream} was full for {self._deadline:g} s ({self._reason}{limits}); raise "
            f"its limit by `nats stream edit {stream}`, or purge what nobody needs."
        )


def _word(answer: bytes) -> dict[str, Any]:
    """What a stream says about a message.

    Raises:
        ValueError: it is no stream that says so: anybody may listen on a subject, and answer.
    """
    try:
        word = json.loads(answer)
    except (ValueError, RecursionError):
        word = None
    if isinstance(word, dict):
        stored = isinstance(word.get("stream"), str) and isinstance(word.get("seq"), int)
        if isinstance(word.get("error"), dict) or (stored and "error" not in word):
            return word
    raise ValueError("somebody answers on its subject, and is no stream")
