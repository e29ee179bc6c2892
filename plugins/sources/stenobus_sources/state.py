"""What is known of a source: which records were sent in which version, and how far it was read."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from stenobus_contracts import BlobRef

#: Part of every digest: a change of how records become text sends all of them anew.
PIPELINE: Final = "1"
#: Complete listings in a row that lack a record before datasets do.
ABSENCES: Final = 2


class Known(BaseModel):
    """One record that was sent."""

    model_config = ConfigDict(frozen=True)

    digest: str = Field(description="of what was sent; empty when it is to be sent again should it come back")
    modified: datetime | None = None
    version: str | None = None
    absent: int = Field(default=0, ge=0, description="complete listings in a row that lacked it")


class Refused(BaseModel):
    """One record that breaks its schema, and is not sent like this."""

    model_config = ConfigDict(frozen=True)

    digest: str
    modified: datetime | None = None
    version: str | None = None
    reason: str


class State(BaseModel):
    """All that is known of a source. Written when a run is done, so that what failed is sent again."""

    model_config = ConfigDict(frozen=True)

    source: str
    version: str = Field(default="", description="of the latest dataset")
    cursor: datetime | None = Field(default=None, description="latest modification that was seen, in UTC")
    records: BlobRef | None = Field(default=None, description="every record as it was read, one a line")
    known: dict[str, Known] = {}
    refused: dict[str, Refused] = {}

    @property
    def seen(self) -> dict[str, datetime | None]:
        """When each record was modified, as far as it was read."""
        seen = {name: one.modified for name, one in self.known.items()}
        return seen | {name: one.modified for name, one in self.refused.items()}
