"""Any address that takes JSON."""

from __future__ import annotations

import hashlib
import hmac
import time

from stenobus_contracts import MonitorAlert

from . import Delivered, Webhook, post


class WebhookSender:
    """Sends the alert as it is, signed where there is a secret."""

    def __init__(self, channel: Webhook) -> None:
        self._channel = channel

    async def send(self, alert: MonitorAlert, done: int, delivered: Delivered) -> int:
        """See :class:`stenobus_monitor.channels.Sender`."""
        if not done:
            body, secret = alert.model_dump_json().encode(), self._channel.secret()
            headers = {"X-Stenobus-Signature": signature(secret.get_secret_value(), body)} if secret else {}
            await post(self._channel, self._channel.url, body, headers)
            await delivered(1)
        return 1


def signature(secret: str, body: bytes, now: float | None = None) -> str:
    """``t=SECONDS,v1=HEX``: an HMAC-SHA256 over ``SECONDS.BODY``, so that no old message passes for a new one."""
    at = str(int(time.time() if now is None else now))
    return f"t={at},v1={hmac.new(secret.encode(), at.encode() + b'.' + body, hashlib.sha256).hexdigest()}"
