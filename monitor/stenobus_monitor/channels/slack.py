"""Slack's incoming webhooks."""

from __future__ import annotations

import json
from typing import Final

from stenobus_contracts import MonitorAlert

from . import Delivered, Slack, post, split

#: Characters of one message: Slack refuses sections beyond 3,000, and three signs become five characters.
_LIMIT: Final = 2_500
_MARKS: Final = {"info": ":information_source:", "warning": ":warning:", "critical": ":rotating_light:"}


class SlackSender:
    """Sends to one webhook."""

    def __init__(self, channel: Slack) -> None:
        self._channel = channel

    async def send(self, alert: MonitorAlert, done: int, delivered: Delivered) -> int:
        """See :class:`stenobus_monitor.channels.Sender`."""
        url = self._channel.needed()
        mark = ":white_check_mark:" if alert.status == "resolved" else _MARKS[alert.severity]
        parts = split(f"{alert.title}\n{alert.text}", _LIMIT)
        for number, part in enumerate(parts[done:], done + 1):
            text = f"{mark} {part}" if number == 1 else part
            await post(self._channel, url, json.dumps({"text": _escaped(text), "unfurl_links": False}).encode())
            await delivered(number)
        return len(parts)


def _escaped(text: str) -> str:
    """So that no text of a log mentions anybody, or becomes a link with another name."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
