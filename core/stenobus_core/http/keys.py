"""API keys: random, shown once, kept as digests in one file that a running server looks at again when it changes."""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from ..errors import StenobusError

#: How a key begins, so that scanners of repositories and logs know one when they see it.
PREFIX: Final = "stk"
#: What is compared when no key has the presented id, so that both cases take as long.
_NOBODY: Final = hashlib.sha256(b"nobody").hexdigest()


class KeysUnusable(StenobusError):
    """The file of keys cannot be read or written."""


class Key(BaseModel):
    """What is kept of a key. Each API adds what its keys open."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    name: str = Field(min_length=1, max_length=100)
    #: SHA-256 of the secret, which is 256 random bits: a slow hash would add nothing.
    digest: str
    #: Requests a minute.
    per_minute: int = Field(ge=1)
    created: datetime
    expires: datetime | None = None

    @property
    def expired(self) -> bool:
        """Whether its time is over."""
        return self.expires is not None and self.expires <= datetime.now(UTC)


K = TypeVar("K", bound=Key)


class Keys(Generic[K]):
    """The keys in a file. Safe beside other processes that change it.

    Args:
        kind: what is kept of each.
        setting: the variable that names the file, for people.

    Raises:
        KeysUnusable: from every method, when the file cannot be read or written, or is something else.
    """

    def __init__(self, path: Path, kind: type[K], setting: str) -> None:
        self.path, self._kind, self._setting = path, kind, setting
        self._file = TypeAdapter(dict[str, kind])  # type: ignore[valid-type]
        self._known: dict[str, K] = {}
        self._seen: tuple[int, int, int] | None = None

    def all(self) -> list[K]:
        """All keys, the oldest first."""
        self._look()
        return sorted(self._known.values(), key=lambda key: key.created)

    def find(self, presented: str) -> K | None:
        """The key that was presented; None when there is none, or its time is over."""
        prefix, _, rest = presented.partition("_")
        name, _, secret = rest.partition("_")
        self._look()
        key = self._known.get(name) if prefix == PREFIX else None
        same = hmac.compare_digest(_digest(secret), key.digest if key else _NOBODY)
        return key if key and same and not key.expired else None

    def make(self, name: str, per_minute: int, expires: datetime | None = None, **opens: Any) -> str:
        """Make a key. It is returned here and nowhere else again.

        Args:
            name: of its holder.
            per_minute: requests a minute.
            opens: the further fields of its kind.
        """
        key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        with self._changing():
            self._known[key_id] = self._kind(
                id=key_id,
                name=name,
                digest=_digest(secret),
                per_minute=per_minute,
                created=datetime.now(UTC),
                expires=expires,
                **opens,
            )
        return f"{PREFIX}_{key_id}_{secret}"

    def revoke(self, key_id: str) -> K | None:
        """Take a key away, by its id; None when there is none of that id."""
        with self._changing():
            return self._known.pop(key_id, None)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.with_name(f"{self.path.name}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._look()
                yield
                self._write()
        except OSError as error:
            raise KeysUnusable(f"The keys {self.path} cannot be written ({error.strerror}).") from error

    def _write(self) -> None:
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=self.path.name)  # for its owner alone
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(self._file.dump_json(self._known, indent=2))
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self.path)
        except BaseException:
            Path(name).unlink()
            raise

    def _look(self) -> None:
        """Read the file if it is not the one that was read."""
        try:
            stat = self.path.stat()
            seen = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
            if seen != self._seen:
                self._known, self._seen = self._file.validate_json(self.path.read_bytes()), seen
        except FileNotFoundError:
            self._known, self._seen = {}, None
        except ValidationError as error:
            raise KeysUnusable(f"{self.path} is no file of API keys: set {self._setting} to another one.") from error
        except OSError as error:
            raise KeysUnusable(f"The keys {self.path} cannot be read ({error.strerror}).") from error


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
