"""E-mail by SMTP."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from email.message import EmailMessage
from email.utils import formatdate

from stenobus_contracts import MonitorAlert
from stenobus_core import PermanentError, RetryableError

from . import TIMEOUT, Delivered, Mail


class MailSender:
    """Sends one mail per alert; those of one incident make a thread."""

    def __init__(self, channel: Mail) -> None:
        self._channel = channel

    async def send(self, alert: MonitorAlert, done: int, delivered: Delivered) -> int:
        """See :class:`stenobus_monitor.channels.Sender`."""
        if not done:
            try:
                await asyncio.to_thread(self._send, message(self._channel, alert))
            except smtplib.SMTPResponseException as error:
                said = f"The channel {self._channel.name}: the server answered {error.smtp_code}."
                if 400 <= error.smtp_code < 500:
                    raise RetryableError(said) from None
                raise PermanentError(said) from None
            except smtplib.SMTPRecipientsRefused as error:
                said = f"The channel {self._channel.name}: the server takes no mail for {', '.join(error.recipients)}."
                if any(400 <= code < 500 for code, _ in error.recipients.values()):
                    raise RetryableError(said) from None
                raise PermanentError(said) from None
            except (smtplib.SMTPException, OSError) as error:
                raise RetryableError(
                    f"The channel {self._channel.name} does not answer ({type(error).__name__})."
                ) from None
            await delivered(1)
        return 1

    def _send(self, mail: EmailMessage) -> None:
        channel = self._channel
        context = ssl.create_default_context()
        if channel.security == "tls":
            client: smtplib.SMTP = smtplib.SMTP_SSL(channel.host, channel.port, timeout=TIMEOUT, context=context)
        else:
            client = smtplib.SMTP(channel.host, channel.port, timeout=TIMEOUT)
        with client:
            if channel.security == "starttls":
                client.starttls(context=context)
            if channel.user:
                client.login(channel.user, channel.needed())
            client.send_message(mail)


def message(channel: Mail, alert: MonitorAlert) -> EmailMessage:
    """The mail. Line breaks in a title cannot become headers."""
    mail = EmailMessage()
    head = "RESOLVED" if alert.status == "resolved" else alert.severity.upper()
    mail["Subject"] = f"[{head}] {' '.join(alert.title.split())}"[:200]
    mail["From"], mail["To"], mail["Date"] = channel.sender, ", ".join(channel.to), formatdate()
    thread = f"<incident-{alert.incident_id}@stenobus>"
    mail["References"] = mail["In-Reply-To"] = thread
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(alert.text)
    return mail
