"""Who answers as a service, and how long anybody waits for that."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

import pytest
from nats.aio.msg import Msg

from stenobus_core import Plugin
from stenobus_core.service import Alive, alive
from stenobus_testing import Stage, eventually

from ..support.contracts import Ping

#: Seconds that no test waits for.
FOR_EVER = 3600.0


def counter(name: str) -> Plugin:
    plugin = Plugin(name, summary="Counts")

    @plugin.handler(concurrency=3)
    async def count(event: Ping) -> None:
        """Nothing."""

    return plugin


async def test_nobody_waits_any_longer_once_everybody_who_is_expected_has_answered(stage: Stage) -> None:
    await stage.run(counter("acme-count"))
    await stage.run(counter("acme-more"))
    expected = {"acme-count", "acme-more"}

    def enough(found: Sequence[Alive]) -> bool:
        return expected <= {service.plugin for service in found}

    found = await alive(stage.bus, FOR_EVER, enough)
    assert {service.plugin for service in found} >= expected


async def test_whoever_is_expected_gets_the_time_it_takes(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stenobus_core.service._NEWCOMERS", 0.0)
    await stage.run(counter("acme-count"))
    others_answered = asyncio.Event()

    async def late(question: Msg) -> None:
        await others_answered.wait()
        stats = {"name": "acme-late", "id": "late", "endpoints": [{"data": {"acme-late": {"handled": 7}}}]}
        await stage.bus.nc.publish(question.reply, json.dumps(stats).encode())

    subscription = await stage.bus.nc.subscribe("$SRV.STATS", cb=late)

    def enough(found: Sequence[Alive]) -> bool:
        others_answered.set()
        return "late" in {service.id for service in found}

    found = await alive(stage.bus, FOR_EVER, enough)
    assert {"acme-count", "acme-late"} <= {service.plugin for service in found}
    await subscription.unsubscribe()


async def test_a_handler_tells_what_it_asked_for_and_what_it_is_about_to_ask_for(stage: Stage) -> None:
    host = await stage.run(counter("acme-count"))
    await eventually(lambda: host.workers["acme-count"].asked == 3)
    found = await alive(stage.bus, FOR_EVER, lambda found: any(each.plugin == "acme-count" for each in found))
    (service,) = [each for each in found if each.plugin == "acme-count"]
    told = service.handlers["acme-count"]
    assert (told["active"], told["asked"], told["room"], told["slots"]) == (0, 3, 0, 3)
