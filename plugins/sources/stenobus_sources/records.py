"""A record as its source gave it, and what an extraction is made of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from .errors import SourceError


class Record(BaseModel):
    """One item of a source, as it was read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(min_length=1, max_length=500)
    modified: datetime | None = Field(default=None, description="in UTC")
    version: str | None = Field(default=None, description="of its file; an equal one need not be read again")
    data: dict[str, JsonValue]

    def digest(self, *parts: str) -> str:
        """What changes whenever the content does, or one of the parts that its text follows from.

        The time of modification is not part of it: sites touch posts without changing them.
        """
        plain = json.dumps(self.data, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256("\x1f".join((*parts, plain)).encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(slots=True)
class Extraction:
    """What reading a source brought."""

    records: dict[str, Record] = field(default_factory=dict)
    #: Every id the source holds; None when nobody asked.
    listing: list[str] | None = None
    #: Whether it is proven that the listing lacks nothing.
    complete: bool = False
    #: Why not.
    doubt: str = ""
    #: What could not be read, and why.
    failures: list[str] = field(default_factory=list)
    requests: int = 0
    #: Some of what changed was not read: the next run has to look as far back again.
    lacking: bool = False

    @property
    def cursor(self) -> datetime | None:
        """The latest modification that was seen; None when something before it was not."""
        if self.lacking:
            return None
        return max((record.modified for record in self.records.values() if record.modified), default=None)


def lines(models: Iterable[BaseModel]) -> bytes:
    """JSON Lines."""
    return b"".join(model.model_dump_json(exclude_none=True).encode() + b"\n" for model in models)


def read_records(data: bytes) -> Iterator[Record]:
    """The records of JSON Lines. Raises SourceError."""
    for number, line in enumerate(data.splitlines(), 1):
        try:
            yield Record.model_validate_json(line)
        except ValidationError as error:
            raise SourceError(f"Line {number} is no record: {error.errors(include_url=False)[0]['msg']}.") from error
