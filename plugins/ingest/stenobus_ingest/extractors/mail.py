"""E-mails, by the standard library."""

from __future__ import annotations

from collections.abc import Iterator
from email import policy
from email.errors import MessageError
from email.message import EmailMessage
from email.parser import BytesParser
from email.utils import parsedate_to_datetime
from pathlib import Path

from ..errors import Unreadable
from ..extracted import Bounds, Extracted
from . import markup


def extract(path: Path, bounds: Bounds) -> Extracted:
    """Subject, who wrote to whom and when, the text, and the names of what is attached.

    Raises:
        Unreadable: it has no head, or too many parts, or e-mails lie too deeply in each other.
    """
    try:
        with path.open("rb") as file:
            message = BytesParser(_class=EmailMessage, policy=policy.default).parse(file)
        if not any(message[name] for name in ("From", "To", "Subject", "Date", "Received")):
            raise Unreadable("damaged", "is no e-mail: it has neither sender, recipient, subject nor date.")
        return _read(message, bounds)
    except (MessageError, LookupError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise Unreadable("damaged", "is damaged: its head cannot be read; export it anew.") from error


def _read(message: EmailMessage, bounds: Bounds) -> Extracted:
    head = [f"- {name}: {_line(message, name)}" for name in ("From", "To", "Cc", "Date") if message[name]]
    texts, attached = [], []
    for count, (part, depth) in enumerate(_parts(message, 0), start=1):
        if count > bounds.parts or depth > bounds.depth:
            raise Unreadable("too_large", "has too many parts, or parts in each other.")
        if (name := part.get_filename()) or part.get_content_disposition() == "attachment":
            attached.append(" ".join(str(name or part.get_content_type()).split()))
        elif (text := _text(part)) is not None:
            texts.append((part.get_content_subtype(), text))
    wanted = "plain" if any(kind == "plain" and text.strip() for kind, text in texts) else "html"
    body = [text for kind, text in texts if kind == wanted and text.strip()]
    listed = ["## Attachments", "\n".join(f"- {name}" for name in attached)] if attached else []
    subject = _line(message, "Subject") or None
    blocks = (f"# {subject}" if subject else "", "\n".join(head), *body, *listed)
    return Extracted(
        markdown="\n\n".join(block for block in blocks if block),
        title=subject,
        author=_line(message, "From") or None,
        created=_sent(message),
        warnings=(f"{len(attached)} attachments are named, not read.",) if attached else (),
    )


def _parts(message: EmailMessage, depth: int) -> Iterator[tuple[EmailMessage, int]]:
    """Leaves, with how deeply they lie. An e-mail in an e-mail is opened like any other part."""
    children = message.get_payload() if message.is_multipart() else None
    if not isinstance(children, list):
        yield message, depth
        return
    if depth > 50:
        raise Unreadable("too_large", "has too many parts in each other.")
    for child in children:
        if isinstance(child, EmailMessage):
            yield from _parts(child, depth + (message.get_content_type() == "message/rfc822"))


def _text(part: EmailMessage) -> str | None:
    if part.get_content_type() not in {"text/plain", "text/html"}:
        return None
    try:
        content = part.get_content()
    except (LookupError, UnicodeError):  # a character set that nobody knows
        payload = part.get_payload(decode=True)
        content = payload.decode("utf-8", errors="replace") if isinstance(payload, bytes) else ""
    text = str(content)
    return markup.markdown(text) if part.get_content_subtype() == "html" else text.replace("\r\n", "\n").strip()


def _line(message: EmailMessage, name: str) -> str:
    return " ".join(str(message[name] or "").split())[:500]


def _sent(message: EmailMessage) -> str | None:
    try:
        return parsedate_to_datetime(str(message["Date"])).isoformat() if message["Date"] else None
    except ValueError:
        return None
