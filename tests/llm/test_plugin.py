"""The plugin on a real bus: whoever asks hears back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from stenobus_bus import Bus, EmbeddedServer, Envelope, RateLimit, TokenBucket
from stenobus_contracts import LlmDone, LlmRequest, Message
from stenobus_core import CoreSettings, Host
from stenobus_core.facts import Facts
from stenobus_core.runs import Runs, Step
from stenobus_llm import plugin
from stenobus_testing.waiting import eventually

TIMEOUT = 60.0
REQUEST = LlmRequest(task="acme.ask", messages=(Message(role="user", content="Why?"),))


class Asker:
    """Publishes requests and hears the answers."""

    def __init__(self, bus: Bus, answers: Any, dead: Any) -> None:
        self._bus, self._answers, self.dead = bus, answers, dead

    async def ask(self, request: LlmRequest) -> LlmDone:
        await self._bus.publish(request, Envelope.new(request, "test"))
        return await self._hear()

    async def send(self, subject: str, body: bytes) -> LlmDone:
        await self._bus.nc.publish(subject, body)
        return await self._hear()

    async def delivered(self, consumer: str) -> int:
        return int((await self._bus.api(f"CONSUMER.INFO.LLM.{consumer}"))["delivered"]["consumer_seq"])

    async def spend(self, bucket: str, limit: RateLimit, tokens: float) -> None:
        await TokenBucket(self._bus, bucket, limit).settle(tokens)

    async def waiting_step(self) -> Step | None:
        steps = await (await Runs.open(self._bus)).steps()
        return next((step for step in steps if "quota" in (step.message or "")), None)

    async def facts(self) -> dict[str, Any]:
        return await (await Facts.open(self._bus)).get(LlmRequest)

    async def _hear(self) -> LlmDone:
        return LlmDone.model_validate_json((await self._answers.next_msg(TIMEOUT)).data)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    nats = EmbeddedServer(tmp_path_factory.mktemp("nats"), port=0)
    yield await nats.start()
    await nats.stop()


@pytest.fixture
async def asker(url: str, server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Asker]:
    # 600 a minute is ten a second: enough for every test but the one about it.
    targets = [{"name": "model", "base_url": server.url, "model": "m", "timeout": 5, "requests_per_minute": 600}]
    monkeypatch.setenv("STENOBUS_LLM_TARGETS", json.dumps(targets))
    monkeypatch.setenv("STENOBUS_LLM_ATTEMPTS", "2")
    async with await Bus.connect(url) as bus:
        host = Host(CoreSettings(data_dir=tmp_path), bus, [plugin])
        await host.start()
        answers, dead = [await bus.nc.subscribe(subject) for subject in ("llm.done", "dlq.>")]
        yield Asker(bus, answers, dead)
        await host.stop()


async def test_a_request_is_answered(asker: Asker, server: Any) -> None:
    server.completes("Because.")

    done = await asker.ask(REQUEST)

    assert (done.task, done.text, done.provider, done.model, done.usage.total) == (
        "acme.ask", "Because.", "model", "served-model", 17,
    )  # fmt: skip


async def test_a_transient_failure_is_retried_by_the_bus(asker: Asker, server: Any) -> None:
    server.fails(429, Retry_After="0.05")
    server.completes("Because.")

    done = await asker.ask(REQUEST)

    assert (done.text, done.error) == ("Because.", None)
    assert len(server.received) == 2


async def test_the_asker_hears_of_a_failure_that_does_not_pass(asker: Asker, server: Any) -> None:
    server.fails(503, Retry_After="0.05")
    server.fails(503, "still busy", Retry_After="0.05")

    done = await asker.ask(REQUEST)

    assert done.error is not None
    assert (done.error.code, done.error.retryable) == ("overloaded", True)
    assert "still busy" in done.error.message
    assert asker.dead.pending_msgs == 0


async def test_the_asker_hears_at_once_of_a_failure_that_never_passes(asker: Asker, server: Any) -> None:
    server.fails(401, "wrong key")

    done = await asker.ask(REQUEST)

    assert done.error is not None and (done.error.code, done.error.retryable) == ("auth", False)
    assert len(server.received) == 1


async def test_a_target_that_keeps_failing_is_told_to_everybody(asker: Asker, server: Any) -> None:
    for _ in range(5):
        server.fails(401, "wrong key")
        await asker.ask(REQUEST)

    done = await asker.ask(REQUEST)
    [model, extractive] = (await asker.facts())["targets"]

    assert done.error is not None and (done.error.code, len(server.received)) == ("auth", 5)
    assert (model["health"]["state"], model["health"]["code"]) == ("open", "auth")
    assert extractive["health"] == {"state": "closed"}


async def test_who_waits_for_quota_says_so_in_the_run(asker: Asker, server: Any) -> None:
    server.completes("Because.")
    await asker.spend("llm.model.requests", RateLimit(per_minute=600, burst=600), 660)

    asked = asyncio.create_task(asker.ask(REQUEST))
    step = await eventually(asker.waiting_step)
    done = await asked

    assert step.message.startswith("waiting for quota of model, ")
    assert done.text == "Because."


def test_doctor_shows_targets_and_missing_keys_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    targets = [
        {"name": "cloud", "api_key_env": "ACME_MISSING_KEY"},
        {"name": "local", "base_url": "http://user:sk-secret@127.0.0.1:8000/v1", "api_key": "sk-secret"},
    ]
    monkeypatch.setenv("STENOBUS_LLM_TARGETS", json.dumps(targets))

    checks = {check.name: check for check in plugin.check()}

    assert not checks["target cloud"].ok and "ACME_MISSING_KEY" in checks["target cloud"].detail
    assert checks["target local"].ok and "127.0.0.1:8000" in checks["target local"].detail
    assert checks["target extractive"].ok
    assert "sk-secret" not in repr(checks)


async def test_a_request_that_somebody_waits_for_is_answered_in_its_lane(asker: Asker, server: Any) -> None:
    server.completes("Because.")

    done = await asker.ask(REQUEST.model_copy(update={"priority": "interactive"}))

    assert done.text == "Because."
    assert await asker.delivered("llm_interactive") == 1


async def test_plain_bytes_on_either_lane_are_answered(asker: Asker, server: Any) -> None:
    """What `nats pub llm.request` and `nats pub llm.request.interactive` do."""
    for subject in LlmRequest.subjects():
        server.completes("Because.")
        assert (await asker.send(subject, REQUEST.body())).text == "Because."
