"""The stage cache: a result is kept under everything it follows from, so a replay recomputes only what changed."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Final, TypeVar

import structlog
from nats.errors import Error as NatsError
from nats.js.errors import KeyNotFoundError
from nats.js.kv import KeyValue
from pydantic import BaseModel, JsonValue, ValidationError

from stenobus_bus import Bus, BusError
from stenobus_contracts import BlobRef, Model

from .blobs import Blobs
from .errors import StenobusError

log = structlog.get_logger(__name__)

BUCKET: Final = "stenobus_cache"
#: Seconds a result is kept.
TTL: Final = 30 * 86_400.0

#: Bytes of a result that is kept with its key; a longer one lies in the blob store.
_SHORT: Final = 64 * 1024
_BEGIN, _END = b'{"result":', b"}"

#: Seconds a look or a write may take: the cache is there to save time.
_PATIENCE: Final = 5.0

M = TypeVar("M", bound=BaseModel)
Part = JsonValue | BlobRef | Model


class StageCache:
    """Results by the digest of their inputs. Long ones lie in the blob store."""

    def __init__(self, bucket: KeyValue, blobs: Blobs) -> None:
        self._bucket, self._blobs = bucket, blobs

    @classmethod
    async def open(cls, bus: Bus, blobs: Blobs) -> StageCache:
        """The cache of a bus."""
        return cls(await bus.bucket(BUCKET), blobs)

    async def get(self, key: str, shape: type[M]) -> M | None:
        """A kept result; None when there is none, it is out of reach, its blob is gone, or it has another shape now."""
        try:
            async with asyncio.timeout(_PATIENCE):
                found = (await self._bucket.get(key)).value or b""
                if found.startswith(_BEGIN):
                    return shape.model_validate_json(found[len(_BEGIN) : -len(_END)])
                return shape.model_validate_json(await self._blobs.read(BlobRef.model_validate_json(found)))
        except KeyNotFoundError:
            return None
        except (BusError, StenobusError, NatsError, OSError, ValidationError) as error:  # TimeoutError is an OSError
            log.info("cache.miss", key=key, reason=_reason(error))
            return None

    async def put(self, key: str, result: BaseModel) -> None:
        """Keep a result. A store that does not take it costs the work of making it again, and no result."""
        try:
            async with asyncio.timeout(_PATIENCE):
                body = result.model_dump_json().encode()
                if len(body) <= _SHORT:
                    await self._bucket.put(key, _BEGIN + body + _END)
                else:
                    ref = await self._blobs.put(body, "application/json")
                    await self._bucket.put(key, ref.model_dump_json().encode())
        except (BusError, StenobusError, NatsError, OSError) as error:
            log.warning("cache.unkept", key=key, reason=_reason(error))


def cache_key(handler: str, shape: type[BaseModel], parts: tuple[Part, ...]) -> str:
    """The key of a result: handler, shape and inputs. A blob counts by its content, not by where it lies."""
    plain = json.dumps([_plain(part) for part in parts], sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    digest = hashlib.sha256(f"{handler}\x1f{shape.__name__}\x1f{plain}".encode()).hexdigest()
    return f"{handler}.{digest}"


def _reason(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


def _plain(part: Part) -> JsonValue:
    if isinstance(part, BlobRef):
        return {"sha256": part.sha256}
    if isinstance(part, BaseModel):
        return _plain(part.model_dump(mode="json"))
    return part
