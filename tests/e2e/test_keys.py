"""Keys of targets are nowhere to be found, whatever a server says that was sent one."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from stenobus_bus import Bus, EmbeddedServer, Envelope, apply
from stenobus_bus.topology import domain
from stenobus_contracts import LlmDone, LlmRequest, Message
from stenobus_core.services import topology
from stenobus_testing.waiting import eventually

from ..llm.chat import DONE, OpenAIServer, delta, error
from ..support.otlp import Collector, collector
from .conftest import COMMAND

KEYS = {"file": "k-3f9aQx7Lm2Vt", "environment": "k-8sWc1ZpR5yHd", "settings": "k-6nBg4TeU0jKo"}
AWS = {"AWS_ACCESS_KEY_ID": "AKIAQ7Z2M5X9C3V1B8N4", "AWS_SECRET_ACCESS_KEY": "wJ2q+Lr8/xT5mY1nZ7vC4bK9pD3sF6gH0aE5uR8i"}


@pytest.fixture
async def server() -> AsyncIterator[OpenAIServer]:
    server = OpenAIServer()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def bus(tmp_path: Path) -> AsyncIterator[Bus]:
    nats = EmbeddedServer(tmp_path / "nats", port=0)
    async with await Bus.connect(await nats.start()) as bus:
        yield bus
    await nats.stop()


@pytest.fixture
def spans() -> Iterator[Collector]:
    with collector() as opened:
        yield opened


@pytest.fixture
def environment(tmp_path: Path, bus: Bus, server: OpenAIServer, spans: Collector) -> dict[str, str]:
    """Of a router whose targets have their keys from everywhere a key may come from."""
    (tmp_path / "key").write_text(KEYS["file"])
    common = {"base_url": server.url, "model": "m", "timeout": 5}
    targets: list[dict[str, Any]] = [
        {"name": "file", "api_key_file": str(tmp_path / "key"), **common},
        {"name": "environment", "api_key_env": "MODEL_KEY", **common},
        {"name": "settings", "api_key": KEYS["settings"], **common},
        {"name": "bedrock", "kind": "bedrock", "model": "anthropic.x", "region": "eu-west-1", "timeout": 5},
    ]
    return (
        os.environ
        | AWS
        | {
            "MODEL_KEY": KEYS["environment"],
            "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": server.url,  # which does not speak its language
            "STENOBUS_LLM_TARGETS": json.dumps(targets),
            "STENOBUS_LLM_ATTEMPTS": "2",
            "STENOBUS_LLM_BREAKER_FAILURES": "100",
            "STENOBUS_NATS_URL": bus.nc.connected_url.geturl(),
            "STENOBUS_DATA_DIR": str(tmp_path / "data"),
            "STENOBUS_LOG_LEVEL": "debug",
            "OTEL_EXPORTER_OTLP_ENDPOINT": spans.url,
            "OTEL_BSP_SCHEDULE_DELAY": "20",
        }
    )


def tells(server: OpenAIServer, key: str) -> int:
    """A server that repeats what it was sent, in each of the ways in which a server can fail; how many those are."""
    server.fails(401, f"Incorrect API key provided: {key}.", "invalid_api_key")
    server.sends(403, f"<html>{key}</html>".encode(), {"content-type": "text/html"})
    server.fails(400, f"Authorization was: Bearer {key}")
    for _ in range(2):  # the second time because it is asked again
        server.sends(200, f'{{"choices": "{key}"}}'.encode())
    server.streams_steps(delta("Be"), error(f"lost the session of {key}", "invalid_api_key"), DONE)
    for _ in range(2):
        server.fails(500, f"Traceback: headers={{'Authorization': 'Bearer {key}'}}")
    return 6


async def test_a_key_is_in_no_log_trace_answer_dead_letter_or_record(
    bus: Bus, server: OpenAIServer, spans: Collector, environment: dict[str, str], tmp_path: Path
) -> None:
    await apply(bus, [domain("llm"), *topology("stenobus")])
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "up", "llm", env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    printed = asyncio.create_task(process.communicate())
    try:
        answers = await bus.nc.subscribe("llm.done")
        failed = []
        for name, key in KEYS.items():
            for number in range(tells(server, key)):
                stream = number == 4
                asked = LlmRequest(
                    task="acme.ask", target=name, stream=stream, messages=(Message(role="user", content="Why?"),)
                )
                await bus.publish(asked, Envelope.new(asked, "test"))
                failed.append(LlmDone.model_validate_json((await answers.next_msg(30)).data))
        asked = LlmRequest(task="acme.ask", target="bedrock", messages=(Message(role="user", content="Why?"),))
        await bus.publish(asked, Envelope.new(asked, "test"))
        failed.append(LlmDone.model_validate_json((await answers.next_msg(30)).data))
        await bus.store("llm.request", b'{"task": 1}', {})
        await eventually(lambda: _buried(bus))
        await eventually(lambda: len(spans.of("llm.request")) >= len(failed))
    finally:
        if process.returncode is None:
            process.terminate()
    out, _ = await printed
    doctor = await asyncio.create_subprocess_exec(
        *COMMAND, "plugins", "doctor", env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    seen = {"output": out, "doctor": (await doctor.communicate())[0], "spans": repr(spans.spans).encode()}
    seen |= {str(path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.name != "key"}

    assert all(done.error is not None for done in failed)
    told = " ".join(done.error.message for done in failed if done.error)
    assert all(told.count(words) == len(KEYS) for words in ("Incorrect API key", "<html>", "Authorization was", "lost"))
    sent = [received.headers.get("authorization", "") for received in server.received]
    assert {f"Bearer {key}" for key in KEYS.values()} < set(sent)  # they were used
    everything = b"".join(seen.values())
    assert b"Incorrect API key provided" in everything  # what the disk holds can be read
    assert b"llm.request" in seen["spans"] and b"plugin.started" in out
    for secret in (*KEYS.values(), AWS["AWS_SECRET_ACCESS_KEY"]):
        assert [where for where, content in seen.items() if secret.encode() in content] == []


async def _buried(bus: Bus) -> bool:
    return bool((await bus.api("STREAM.INFO.DLQ"))["state"]["messages"])
