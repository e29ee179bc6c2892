"""Where tables, datasets and states lie below the output folder."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote
from zoneinfo import ZoneInfo


@dataclass(frozen=True, slots=True)
class Places:
    """The addresses of one source.

    Args:
        root: the output folder, with a slash at its end.
    """

    root: str
    kb: str
    source: str
    collection: str
    timezone: str
    #: Other sources feed the collection as well.
    shared: bool = False

    @property
    def state(self) -> str:
        """What is known of the source."""
        return f"{self.root}state/{quote(self.source)}.json"

    @property
    def answers(self) -> str:
        """Which indexes have confirmed the latest run's dataset."""
        return f"{self.root}state/{quote(self.source)}.synced.json"

    def table(self, folder: str, version: str) -> str:
        """A table, such as ``raw/eventos_20260906_010000.csv``: its time is that of the run, on the local clock."""
        at = instant(version).astimezone(ZoneInfo(self.timezone))
        label = f"{self.collection}_{self.source}" if self.shared else self.collection
        return f"{self.root}{folder}/{label}_{at:%Y%m%d_%H%M%S}.csv"

    @property
    def datasets(self) -> str:
        """The folder of all versions of all datasets."""
        return f"{self.root}datasets/{self.kb}/"

    def dataset(self, version: str) -> str:
        """The folder of a dataset, ``datasets/<kb>/<version>/<collection>/``."""
        own = f"{quote(self.source)}/" if self.shared else ""
        return f"{self.datasets}{version}/{self.collection}/{own}"


def version(began: datetime, before: str = "") -> str:
    """What a run that began then calls its dataset: greater than the one before, whatever the clock says."""
    if before:
        began = max(began, instant(before) + timedelta(seconds=1))
    return began.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def instant(version: str) -> datetime:
    """When the run of a version began."""
    return datetime.strptime(version, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
