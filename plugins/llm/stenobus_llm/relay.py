"""An answer on its way to whoever asked, piece by piece, while it is written."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from stenobus_contracts import LlmChunk, LlmError

Send = Callable[[LlmChunk], Awaitable[None]]


class Relay:
    """Numbers the pieces of one request's answer and sends them on.

    Args:
        send: sends a chunk; whether anybody listens, nobody knows.
        request_id: of the request.
        attempt: number of the delivery: a later one begins anew.
    """

    def __init__(self, send: Send, request_id: str, attempt: int = 1) -> None:
        self._send, self._request_id, self._attempt = send, request_id, attempt
        self._index = 0

    @property
    def begun(self) -> bool:
        """Something was sent: from here on the answer cannot be another one."""
        return self._index > 0

    async def text(self, text: str) -> None:
        """Send the next piece."""
        if text:
            await self._chunk(text=text)

    async def end(self, error: LlmError | None = None) -> None:
        """Send the last word: it is complete, or why not."""
        await self._chunk(last=True, error=error)

    async def _chunk(self, *, text: str = "", last: bool = False, error: LlmError | None = None) -> None:
        index, self._index = self._index, self._index + 1
        await self._send(
            LlmChunk(request_id=self._request_id, attempt=self._attempt, index=index, text=text, last=last, error=error)
        )
