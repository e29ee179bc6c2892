"""The server's window for duplicates, and its end."""

from __future__ import annotations

from itertools import count
from typing import Final

from stenobus_bus import Bus

from .waiting import eventually

_MS: Final = 1_000_000


async def forget_duplicates(bus: Bus, stream: str) -> None:
    """Make the server forget which ids it has seen in a stream; from then on it remembers them for a moment only."""
    config = (await bus.api(f"STREAM.INFO.{stream}"))["config"]
    probe = f"{stream.lower()}.forgotten"
    windows = count(100 * _MS, _MS)  # nanoseconds; the server takes nothing shorter

    async def forgotten() -> bool:
        # The server looks anew at every change, but sometimes before it knows the new window: it is told again.
        await bus.api(f"STREAM.UPDATE.{stream}", {**config, "duplicate_window": next(windows)})
        return not (await bus.store(probe, b"", {"Nats-Msg-Id": probe})).duplicate

    await forgotten()
    await eventually(forgotten)
    await bus.api(f"STREAM.PURGE.{stream}", {"filter": probe})
