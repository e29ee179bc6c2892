"""Plugins on a real bus."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from stenobus_bus import Bus
from stenobus_core import CoreSettings

from ..support.hosts import Stage
from ..support.hosts import stage as open_stage


@pytest.fixture
async def stage(bus: Bus, settings: CoreSettings) -> AsyncIterator[Stage]:
    async with open_stage(bus, settings) as opened:
        yield opened
