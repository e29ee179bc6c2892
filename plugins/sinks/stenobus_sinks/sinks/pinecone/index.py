"""The way to the index: requests within its limits, and what it answers as this house's errors."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pinecone import Index, errors

from stenobus_core import PermanentError, RetryableError

from ...secrets import secret

if TYPE_CHECKING:
    from .settings import Settings

T = TypeVar("T")
#: Most bytes of an upsert (2 MB in Pinecone's limits, less some room for what surrounds records).
MAX_BYTES: Final = 1_900_000
#: Most records of an upsert: of vectors, and of texts that the index embeds.
MAX_VECTORS: Final = 1_000
MAX_TEXTS: Final = 96
#: Most ids of a fetch, and characters of them: they stand in its address.
_IDS, _ADDRESS = 100, 6_000


class Refused(PermanentError):
    """The index does not take a request as it is."""


class Busy(RetryableError):
    """The index has too much to do: the same request works later."""


def connected(settings: Settings) -> Index:
    """A client.

    Raises:
        PermanentError: there is no API key.
    """
    key = secret("STENOBUS_KB_PINECONE_API_KEY", settings.api_key, settings.api_key_file, settings.api_key_secret)
    if key is None:
        raise PermanentError(
            "There is no API key for Pinecone: set PINECONE_API_KEY, STENOBUS_KB_PINECONE_API_KEY_FILE or "
            "STENOBUS_KB_PINECONE_API_KEY_SECRET."
        )
    assert settings.host is not None
    with explained(settings.host):
        return Index(host=settings.host, api_key=key, timeout=settings.timeout)


@contextmanager
def explained(host: str) -> Iterator[None]:
    """Turn what the SDK raises into this house's errors.

    Raises:
        Busy: it works later.
        PermanentError: somebody has to change something first.
        RetryableError: the index cannot be reached, or fails.
    """
    what = f"Pinecone index {host}"
    try:
        yield
    except errors.UnauthorizedError:
        raise PermanentError(f"{what}: it refuses the API key: set the one of its project.") from None
    except errors.ForbiddenError as error:
        raise PermanentError(f"{what}: it forbids this ({_said(error)}).") from None
    except errors.NotFoundError:
        raise PermanentError(f"{what}: it does not exist: correct STENOBUS_KB_PINECONE_HOST.") from None
    except errors.RateLimitError:
        raise Busy(f"{what}: it has too much to do (429).") from None
    except errors.ApiError as error:
        if error.status_code >= 500 or error.status_code == 408:
            raise RetryableError(f"{what}: it is failing ({error.status_code}).") from None
        raise Refused(f"{what}: it refuses ({error.status_code}: {_said(error)}).") from None
    except (errors.PineconeConnectionError, errors.PineconeTimeoutError, errors.ResponseParsingError) as error:
        raise RetryableError(f"{what}: it cannot be reached, or answers nonsense ({type(error).__name__}).") from None
    except errors.PineconeError as error:
        raise PermanentError(f"{what}: it is set up wrongly ({type(error).__name__}).") from None


def _said(error: errors.ApiError) -> str:
    return " ".join(str(error).split())[:300]


async def patiently(call: Callable[[], T], host: str, *, poll: float, patience: float) -> T:
    """Make a call in a thread, again for as long as the index is busy and there is patience."""

    def once() -> T:
        with explained(host):
            return call()

    waited = 0.0
    while True:
        try:
            return await asyncio.to_thread(once)
        except Busy:
            if waited >= patience:
                raise
            pause = poll * random.uniform(1, 1.5)
            waited += pause
            await asyncio.sleep(pause)


def batches(records: Sequence[Mapping[str, Any]], most: int) -> Iterator[list[Mapping[str, Any]]]:
    """Records in requests that the index takes: by bytes first, by number as well."""
    batch: list[Mapping[str, Any]] = []
    size = 0
    for record in records:
        own = len(json.dumps(record, ensure_ascii=False).encode())
        if batch and (len(batch) == most or size + own > MAX_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(record)
        size += own
    if batch:
        yield batch


def addresses(ids: Sequence[str]) -> Iterator[list[str]]:
    """Ids in parts that fit into an address."""
    part: list[str] = []
    length = 0
    for id in ids:
        own = 3 * len(id) + 5  # as it is quoted there
        if part and (len(part) == _IDS or length + own > _ADDRESS):
            yield part
            part, length = [], 0
        part.append(id)
        length += own
    if part:
        yield part
