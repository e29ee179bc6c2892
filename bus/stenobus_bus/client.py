"""The NATS client, with headers written and read several times faster, and TLS that is not left to the server.

Private methods of nats-py are replaced, which is why its minor version is pinned. Those for headers look at every
character of every header, for each message anew, and take longer than all the rest of sending and receiving it. A
flush that is given up ends its reading from the connection, and so does a message that is no text where it should be.
And where the server offers no TLS, the library connects in plain text, credentials included, even for ``tls://``.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from nats.aio.client import Client as NatsClient
from nats.aio.msg import Msg
from nats.errors import BadHeaderError, Error
from nats.protocol import parser

_LINE_END: Final = b"\r\n"
_START: Final = b"NATS/1.0\r\n"
#: A token of RFC 7230; the server would take more, other clients would not.
_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_BREAK: Final = re.compile(r"[\r\n]")
#: How a message begins: subject, subscription, perhaps a reply, sizes. The library takes any white space for an end,
#: the server blanks and tabs alone: a form feed in a subject would break the connection, and again when it is back.
_MSG: Final = re.compile(rb"\AMSG[ \t]+([^ \t\r\n]+)[ \t]+(\d+)[ \t]+(([^ \t\r\n]+)[ \t]+)?(\d+)\r\n")
_HMSG: Final = re.compile(rb"\AHMSG[ \t]+([^ \t\r\n]+)[ \t]+(\d+)[ \t]+(([^ \t\r\n]+)[ \t]+)?(\d+)[ \t]+(\d+)\r\n")


class NotEncrypted(Error):
    """The server ought to encrypt, and does not offer to."""


class Client(NatsClient):
    """nats-py's client.

    Args:
        secure: say nothing to a server that does not offer TLS.
    """

    def __init__(self, *, secure: bool = False) -> None:
        super().__init__()
        self._secure = secure
        parser.MSG_RE, parser.HMSG_RE = _MSG, _HMSG

    def abandon(self) -> None:
        """Drop a connection that came to nothing: ``close`` would wait for a farewell that never comes."""
        if self._transport is not None:
            self._transport.close()  # type: ignore[no-untyped-call]

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        if initial_connection and self._secure and not info.get("tls_required"):
            raise NotEncrypted
        await super()._process_info(info, initial_connection)

    async def _send_publish(
        self, subject: str, reply: str, payload: bytes, payload_size: int, headers: Mapping[str, Any] | None
    ) -> None:
        if not headers:
            await super()._send_publish(subject, reply, payload, payload_size, None)
            return
        block = encode(headers)
        size = len(block)
        command = f"HPUB {subject} {reply} {size} {size + payload_size}\r\n".encode()
        self.stats["out_msgs"] += 1
        self.stats["out_bytes"] += payload_size
        await self._send_command(b"".join((command, block, payload, _LINE_END)))
        if self._flush_queue is not None and self._flush_queue.empty():
            await self._flush_pending()

    async def _process_pong(self) -> None:
        # A flush that somebody gave up waiting for is no reason to stop reading from the connection.
        if self._pongs and self._pongs[0].done():
            self._pongs[0] = asyncio.get_running_loop().create_future()
        await super()._process_pong()

    def _build_message(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> Msg:
        # Anybody may publish on a subject that is no text; the library would never read from the connection again.
        return Msg(
            _client=self,
            subject=subject.decode("utf-8", "replace"),
            reply=reply.decode("utf-8", "replace"),
            data=data,
            headers=headers,
            _sid=sid,
        )

    async def _process_headers(self, headers: bytes | None) -> dict[str, str] | None:
        try:
            found: dict[str, str] | None = await super()._process_headers(headers)
        except (UnicodeDecodeError, IndexError):  # the same with a status line that is none
            return self._parse_header_lines(headers or b"")
        return found

    @staticmethod
    def _parse_header_lines(raw: bytes) -> dict[str, str]:
        headers: dict[str, str] = {}
        for line in raw.split(_LINE_END):
            name, colon, value = line.partition(b":")
            if colon and (key := _read(name)):
                headers[key] = value.strip().decode("utf-8", "replace")
        return headers


def encode(headers: Mapping[str, str]) -> bytes:
    """Headers as they travel. What would end a line inside a value becomes a space: nobody smuggles in another header.

    Raises:
        BadHeaderError: a name is no token.
    """
    text = "".join([f"{_write(name)}: {value.strip()}\r\n" for name, value in headers.items()])
    if text.count("\r") != len(headers) or text.count("\n") != len(headers):
        text = "".join([f"{_write(name)}: {_BREAK.sub(' ', value.strip())}\r\n" for name, value in headers.items()])
    return _START + text.encode() + _LINE_END


@lru_cache(maxsize=256)
def _write(name: str) -> str:
    stripped = name.strip()
    if not _NAME.fullmatch(stripped):
        raise BadHeaderError(name)
    return stripped


@lru_cache(maxsize=256)
def _read(raw: bytes) -> str:
    """A header's name, empty when it cannot be one."""
    name = raw.strip()
    return name.decode() if name.isascii() and len(name.split()) == 1 else ""
