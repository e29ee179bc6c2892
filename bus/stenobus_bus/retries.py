"""Dead letters whose events are published again."""

from __future__ import annotations

import hashlib
import re
from typing import Final

from stenobus_contracts import DeadLetter, Event

from .connection import Bus
from .dead_letters import STREAM, Entry, data, remove
from .envelope import CLAIM, MSG_ID, ONLY, REPLAY, STRUCTURED, attributes, derived_id, structured, unwrap
from .errors import BlobNotFound, InvalidPayload, LetterRefused, PermanentError
from .post import Stored

#: The event was published again from this dead letter.
RETRY: Final = "stenobus-retry"
#: The event's body was edited by a person; the digest of the original one.
EDITED: Final = "stenobus-edited"

#: Subjects of events: nothing of the server's own, no wildcard, no end of a line.
_SUBJECT: Final = re.compile(r"[^\s.*>$_][^\s.*>]*(\.[^\s.*>]+)*")
_HEADER: Final = re.compile(r"[!-9;-~]+")


async def original(bus: Bus, letter: DeadLetter) -> bytes:
    """The original body, wherever it waits.

    Raises:
        LetterRefused: it is gone.
        ServerUnavailable: the object bucket does not answer.
    """
    if letter.data is None and letter.data_base64 is None:
        raise LetterRefused("the event was gone from its stream before it could be kept")
    try:
        return await bus.claims.whole(data(letter), letter.headers)
    except (ValueError, BlobNotFound, PermanentError) as error:
        raise LetterRefused(f"its body is gone: {error}") from error


def validate(letter: DeadLetter, edited: bytes, contract: type[Event]) -> None:
    """Check an edited body as the handler will.

    Raises:
        InvalidPayload: it breaks the contract.
    """
    try:
        contract.model_validate_json(unwrap(edited, attributes(letter.headers))[0])
    except Exception as error:  # a contract's own validators can raise anything
        raise InvalidPayload.of(error, contract) from error


async def retry(bus: Bus, entry: Entry, edited: bytes | None = None) -> Stored:
    """Publish the original again, for the handler that gave up and for nobody else, then remove the dead letter.

    The id of what is published follows from the letter and the edit: doing it twice, because somebody else does it too
    or the first time ended between the two steps, lets the handler work on it once.

    Args:
        edited: a body to publish in place of the original one. The event then carries the digest of the original.

    Raises:
        LetterRefused: the original is gone, or cannot be published as it is; the dead letter stays.
        PublishFailed: it was not stored; the dead letter stays.
    """
    letter = entry.letter
    subject, body, headers = letter.original_subject, data(letter), _plain_headers(letter)
    if not _SUBJECT.fullmatch(subject):
        raise LetterRefused(f"no event has the subject {subject!r}")
    try:
        whole = await original(bus, letter)
    except LetterRefused:
        if edited is None:
            raise
        whole = b""  # the edit makes up for it
    mark = derived_id(
        entry.sequence, letter.handler, letter.stream, letter.sequence, letter.failed_at, _digest(edited)
    )[:12]
    if structured(whole if edited is None else edited, headers):
        headers["content-type"] = STRUCTURED  # with the id in a header, nobody would look inside
    if edited is not None:
        body, claim = await bus.claims.check_in(edited)
        headers = {name: value for name, value in headers.items() if name.lower() != CLAIM} | claim
        headers[EDITED] = f"sha256:{_digest(whole)}"
    headers |= {
        MSG_ID: f"retry/{mark}",
        "ce-id": letter.event_id,
        "ce-correlationid": letter.run,
        ONLY: letter.handler,
        REPLAY: mark,
        RETRY: f"{STREAM}/{entry.sequence}",
    }
    stored = await bus.store(subject, body, headers)
    await remove(bus, entry)
    return stored


def _plain_headers(letter: DeadLetter) -> dict[str, str]:
    """The original headers without those that the server reads.

    Raises:
        LetterRefused: one would end its line, and begin another.
    """
    for name, value in letter.headers.items():
        if not _HEADER.fullmatch(name) or set(value) & {"\r", "\n"}:
            raise LetterRefused(f"no event has the header {name!r}: {value!r}")
    return {name: value for name, value in letter.headers.items() if not name.lower().startswith("nats-")}


def _digest(body: bytes | None) -> str | None:
    return None if body is None else hashlib.sha256(body).hexdigest()
