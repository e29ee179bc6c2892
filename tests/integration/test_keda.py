"""The KEDA example: a wrong name would scale to the maximum without a word."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from stenobus_bus import Bus, Envelope, apply
from stenobus_bus.server import executable
from stenobus_contracts import LlmRequest, Message
from stenobus_core import CoreSettings, Plugin
from stenobus_core.discovery import discover
from stenobus_core.host import Host
from stenobus_testing.waiting import eventually

EXAMPLE = Path(__file__).parents[2] / "examples" / "keda" / "scaledobjects.yaml"
OBJECTS = {document["metadata"]["name"]: document["spec"] for document in yaml.safe_load_all(EXAMPLE.read_text())}


def plugins(name: str) -> list[Plugin]:
    """What the Deployment of a ScaledObject runs by ``stenobus up``."""
    return list(discover(CoreSettings(), [name.removeprefix("stenobus-")]).plugins.values())


@pytest.mark.parametrize("name", OBJECTS)
def test_every_consumer_of_the_plugin_is_named_with_its_stream_and_concurrency(name: str) -> None:
    declared = {
        (spec.stream, spec.name, str(handler.concurrency))
        for plugin in plugins(name)
        for handler in plugin.handlers
        for spec in handler.consumers(30)
    }
    triggers = [trigger["metadata"] for trigger in OBJECTS[name]["triggers"]]
    assert declared == {(trigger["stream"], trigger["consumer"], trigger["lagThreshold"]) for trigger in triggers}
    assert len(declared) == len(triggers)
    assert {trigger["type"] for trigger in OBJECTS[name]["triggers"]} == {"nats-jetstream"}
    assert OBJECTS[name]["scaleTargetRef"]["name"] == name


def lag(monitor: str, stream: str, consumer: str) -> int | None:
    """As KEDA's scaler reads it; None where it would take the stream's last sequence."""
    with urllib.request.urlopen(f"{monitor}/jsz?acc=$G&consumers=true&config=true") as answer:
        told: dict[str, Any] = json.load(answer)
    (account,) = (each for each in told["account_details"] if each["name"] == "$G")
    (found,) = (each for each in account["stream_detail"] if each["name"] == stream)
    for each in found.get("consumer_detail") or ():
        if each["name"] == consumer:
            return int(each["num_pending"] + each["num_ack_pending"])
    return None


async def test_the_server_tells_the_lag_of_each_where_keda_looks(tmp_path: Path) -> None:
    config, ports = tmp_path / "server.conf", tmp_path / "ports"
    ports.mkdir()
    config.write_text(
        f'listen: "127.0.0.1:-1"\nhttp: "127.0.0.1:-1"\nports_file_dir: "{ports}"\n'
        f'jetstream {{ store_dir: "{tmp_path}/store" }}\n'
    )
    process = await asyncio.create_subprocess_exec(executable(), "-c", str(config), stderr=asyncio.subprocess.DEVNULL)
    try:
        (file,) = await eventually(lambda: [path for path in ports.glob("*.ports") if path.stat().st_size])
        told = json.loads(file.read_text())
        every = [plugin for name in OBJECTS for plugin in plugins(name)]
        async with await Bus.connect(told["nats"][0]) as bus:
            await apply(bus, Host(CoreSettings(data_dir=tmp_path), bus, every).topology())
            for priority in ("interactive", "batch", "batch"):
                event = LlmRequest(task="t", messages=(Message(role="user", content="?"),), priority=priority)
                await bus.publish(event, Envelope.new(event, "test"))
            seen = {
                trigger["metadata"]["consumer"]: await asyncio.to_thread(
                    lag, told["monitoring"][0], trigger["metadata"]["stream"], trigger["metadata"]["consumer"]
                )
                for spec in OBJECTS.values()
                for trigger in spec["triggers"]
            }
    finally:
        process.terminate()
        await process.wait()
    assert seen.pop("llm_interactive") == 1
    assert seen.pop("llm") == 2
    assert set(seen.values()) == {0}
