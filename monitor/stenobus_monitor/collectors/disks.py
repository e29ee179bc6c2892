"""Disks: how much room is left where the bus and local indexes write."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from ..observations import DiskSeen
from . import Emit


class DiskCollector:
    """Looks at some folders' disks; a folder that is not there is left out.

    Args:
        every: seconds between two looks.
    """

    name = "disks"

    def __init__(
        self, folders: Sequence[Path], every: float = 30.0, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._folders, self._every, self._clock = folders, every, clock

    async def run(self, emit: Emit) -> None:
        """Look again and again."""
        while True:
            for folder in self._folders:
                if await asyncio.to_thread(folder.exists):
                    usage = await asyncio.to_thread(shutil.disk_usage, folder)
                    await emit(DiskSeen(at=self._clock(), path=str(folder), total=usage.total, free=usage.free))
            await asyncio.sleep(self._every)
