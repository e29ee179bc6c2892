"""Telegram's Bot API."""

from __future__ import annotations

import json
from typing import Final

from stenobus_contracts import MonitorAlert

from . import Delivered, Telegram, post, split

#: Characters of one message, in UTF-16 units, of which a sign may take two.
_LIMIT: Final = 2_000


class TelegramSender:
    """Sends to one chat, as plain text: no text of a log becomes a mark or a link."""

    def __init__(self, channel: Telegram) -> None:
        self._channel = channel

    async def send(self, alert: MonitorAlert, done: int, delivered: Delivered) -> int:
        """See :class:`stenobus_monitor.channels.Sender`."""
        url = f"{self._channel.api.rstrip('/')}/bot{self._channel.needed()}/sendMessage"
        head = "RESOLVED" if alert.status == "resolved" else alert.severity.upper()
        parts = split(f"{head}: {alert.title}\n{alert.text}", _LIMIT)
        for number, part in enumerate(parts[done:], done + 1):
            body = {"chat_id": self._channel.chat, "text": part, "disable_web_page_preview": True}
            await post(self._channel, url, json.dumps(body).encode())
            await delivered(number)
        return len(parts)
