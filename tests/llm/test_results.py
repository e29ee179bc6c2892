"""Answers that are given again, on a real bus: to identical requests, and after a crash."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from stenobus_bus import Bus, EmbeddedServer, Envelope
from stenobus_contracts import BlobRef, LlmDone, LlmRequest, Message, Tool
from stenobus_core import CoreSettings, Host
from stenobus_core.runs import Runs, Step
from stenobus_llm import plugin
from stenobus_llm.results import Results
from stenobus_llm.settings import Settings, Target
from stenobus_testing.waiting import eventually

TIMEOUT = 60.0
PRICED = {"input_price_per_million": 1, "output_price_per_million": 1}


def request(text: str = "Why?", **more: Any) -> LlmRequest:
    return LlmRequest(**{"task": "acme.ask", "messages": (Message(role="user", content=text),)} | more)


class Asker:
    def __init__(self, bus: Bus, answers: Any) -> None:
        self.bus, self._answers = bus, answers

    async def ask(self, asked: LlmRequest, run: str | None = None) -> LlmDone:
        envelope = Envelope.new(asked, "test", **({"run": run} if run else {}))
        await self.bus.publish(asked, envelope)
        return LlmDone.model_validate_json((await self._answers.next_msg(TIMEOUT)).data)

    async def steps(self) -> list[Step]:
        return await (await Runs.open(self.bus)).steps()


@pytest_asyncio.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    nats = EmbeddedServer(tmp_path / "nats", port=0)
    yield await nats.start()
    await nats.stop()


@asynccontextmanager
async def hosted(
    url: str, folder: Path, monkeypatch: pytest.MonkeyPatch, *targets: dict[str, Any], **settings: str
) -> AsyncIterator[Asker]:
    monkeypatch.setenv("STENOBUS_LLM_TARGETS", json.dumps(targets))
    for name, value in settings.items():
        monkeypatch.setenv(f"STENOBUS_LLM_{name.upper()}", value)
    async with await Bus.connect(url) as bus:
        host = Host(CoreSettings(data_dir=folder), bus, [plugin])
        await host.start()
        try:
            yield Asker(bus, await bus.nc.subscribe("llm.done"))
        finally:
            await host.stop()


Start = Callable[..., Any]


@pytest.fixture
def start(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    def begin(*targets: dict[str, Any], **settings: str) -> Any:
        return hosted(url, tmp_path, monkeypatch, *targets, **settings)

    return begin


def target(server: Any, name: str = "model", **more: Any) -> dict[str, Any]:
    return {"name": name, "base_url": server.url, "model": "m", "timeout": 5, **PRICED, **more}


async def test_an_identical_request_is_answered_across_processes_at_no_cost(start: Start, server: Any) -> None:
    server.completes("Because.")
    async with start(target(server)) as asker:
        first = await asker.ask(request())
    async with start(target(server)) as asker:  # another process as far as the cache is concerned
        second = await asker.ask(request(task="other.task", priority="interactive"))
        step = await eventually(lambda: _done_step(asker, second.request_id))

    assert len(server.received) == 1
    assert (first.cached, first.cost_usd, first.calls) == (False, Decimal("0.000017"), 1)
    assert (second.cached, second.cost_usd, second.calls, second.usage.total) == (True, 0, 0, 0)
    assert (second.text, second.provider, second.model) == ("Because.", "model", "served-model")
    assert second.request_id != first.request_id
    assert [each.asked for each in second.candidates] == [False, False]
    assert "identical request" in second.candidates[0].reason
    assert step.cached and step.facts["cached"] is True
    assert (step.facts["saved_tokens"], step.facts["saved_usd"]) == (17, "0.000017")


async def _done_step(asker: Asker, event_id: str) -> Step | None:
    return next((step for step in await asker.steps() if step.event_id == event_id and step.status == "done"), None)


@pytest.mark.parametrize(
    ("asked", "again"),
    [
        ({}, True),
        ({"cache": False}, False),
        ({"temperature": 0.7}, False),
        ({"temperature": 0.7, "cache": True}, True),
    ],
)
async def test_who_may_have_an_earlier_answer(start: Start, server: Any, asked: dict[str, Any], again: bool) -> None:
    server.completes("one")
    server.completes("two")
    async with start(target(server)) as asker:
        await asker.ask(request(**asked))
        assert (await asker.ask(request(**asked))).cached is again


async def test_without_a_named_model_or_a_ttl_nothing_is_given_again(start: Start, server: Any) -> None:
    for text in "abcd":
        server.completes(text)
    async with start(target(server, model=None)) as asker:
        assert [(await asker.ask(request())).text for _ in range(2)] == ["a", "b"]
    async with start(target(server), cache_ttl="0") as asker:
        assert [(await asker.ask(request())).text for _ in range(2)] == ["c", "d"]


async def test_a_failure_is_not_kept(start: Start, server: Any) -> None:
    server.completes("half an", finish="length")
    server.completes("whole")
    async with start(target(server)) as asker:
        assert (await asker.ask(request())).error is not None
        assert (await asker.ask(request())).text == "whole"


async def test_a_target_that_is_left_alone_still_has_its_answers(start: Start, server: Any) -> None:
    server.completes("Because.")
    for _ in range(2):
        server.fails(401)
    async with start(target(server), breaker_failures="2") as asker:
        await asker.ask(request())
        for number in range(2):
            await asker.ask(request(f"other {number}"))
        refused, known = await asker.ask(request("new")), await asker.ask(request())

    assert refused.error is not None and len(server.received) == 3
    assert (known.text, known.cached) == ("Because.", True)


async def test_pieces_of_an_earlier_answer_are_heard_too(start: Start, server: Any) -> None:
    server.completes("Because.")
    async with start(target(server)) as asker:
        await asker.ask(request())
        heard = await asker.bus.nc.subscribe("stenobus.pieces.>")
        await asker.ask(request(stream=True))
        chunks = [json.loads((await heard.next_msg(TIMEOUT)).data) for _ in range(2)]

    assert (chunks[0]["text"], chunks[1]["last"]) == ("Because.", True)


@pytest.mark.parametrize("broken", ["get", "put"])
async def test_a_store_that_fails_costs_a_call_and_no_answer(
    start: Start, server: Any, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    server.completes("one")
    server.completes("two")
    async with start(target(server)) as asker:
        if broken == "put":
            await asker.bus.api("STREAM.DELETE.KV_stenobus_cache")
        first = await asker.ask(request())
        if broken == "get":
            await asker.bus.api("STREAM.DELETE.KV_stenobus_cache")
        second = await asker.ask(request())

    assert (first.text, second.text, second.cached, second.error) == ("one", "two", False, None)


# --- a crash between the answer and its acknowledgement --------------------------------------------------------------


async def test_an_answer_that_nobody_heard_of_is_not_paid_for_twice(
    url: str, tmp_path: Path, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process is stopped once the answer is kept, and before it is published."""
    kept, keep = asyncio.Event(), Results.keep

    async def keep_and_hang(self: Results, *args: Any) -> None:
        await keep(self, *args)
        kept.set()
        await asyncio.Event().wait()

    monkeypatch.setenv("STENOBUS_LLM_TARGETS", json.dumps([target(server)]))
    server.completes("Because.")
    async with await Bus.connect(url) as bus:
        asker = Asker(bus, await bus.nc.subscribe("llm.done"))
        with monkeypatch.context() as patch:
            patch.setattr(Results, "keep", keep_and_hang)
            dying = Host(CoreSettings(data_dir=tmp_path), bus, [plugin])
            await dying.start()
            asking = asyncio.create_task(asker.ask(request(temperature=0.9)))
            async with asyncio.timeout(TIMEOUT):
                await kept.wait()
            await dying.stop(grace=0)
        host = Host(CoreSettings(data_dir=tmp_path), bus, [plugin])
        await host.start()
        done = await asking
        step = await eventually(lambda: _done_step(asker, done.request_id))
        await host.stop()

    assert len(server.received) == 1
    assert (done.text, done.cached, done.calls, done.cost_usd) == ("Because.", False, 1, Decimal("0.000017"))
    assert (step.facts["cost_usd"], step.facts["tokens"]) == ("0.000017", 17)


async def test_another_request_has_no_part_in_that(start: Start, server: Any) -> None:
    """A delivery that comes again looks by its own id: another request's answer, at temperature 0.9, is not its own."""
    server.completes("one")
    server.fails(503, Retry_After="0.05")
    server.completes("two")
    async with start(target(server)) as asker:
        await asker.ask(request(temperature=0.9))
        done = await asker.ask(request(temperature=0.9))

    assert (done.text, len(server.received)) == ("two", 3)


# --- what makes an answer another one --------------------------------------------------------------------------------

SEEN = BlobRef(uri="nats://b/k", sha256="0" * 64, size=1)
ASKED = request("Why?", response_schema={"type": "object"}, max_output_tokens=10)
CLOUD = Target(name="cloud", base_url="https://llm.example/v1", model="m", local=False)


def key(asked: LlmRequest = ASKED, whom: Target = CLOUD, **settings: Any) -> str:
    return json.dumps(Results(None, Settings(**settings), asked)._parts(whom))  # type: ignore[arg-type]


def shows(image: BlobRef) -> LlmRequest:
    return ASKED.model_copy(update={"messages": (Message(role="user", content="Why?", images=(image,)),)})


@pytest.mark.parametrize(
    "other",
    [
        lambda: key(ASKED.model_copy(update={"messages": request("How?").messages})),
        lambda: key(ASKED.model_copy(update={"response_schema": {"type": "array"}})),
        lambda: key(ASKED.model_copy(update={"response_schema": None})),
        lambda: key(ASKED.model_copy(update={"tools": (Tool(name="f"),)})),
        lambda: key(ASKED.model_copy(update={"tool_choice": "none"})),
        lambda: key(ASKED.model_copy(update={"temperature": 0.5})),
        lambda: key(ASKED.model_copy(update={"max_output_tokens": 11})),
        lambda: key(shows(SEEN)),
        lambda: key(whom=CLOUD.model_copy(update={"model": "n"})),
        lambda: key(whom=CLOUD.model_copy(update={"base_url": "https://other.example/v1"})),
        lambda: key(whom=CLOUD.model_copy(update={"extra": {"seed": 1}})),
        lambda: key(whom=CLOUD.model_copy(update={"structured": "prompt"})),
        lambda: key(whom=CLOUD.model_copy(update={"redact": False})),
        lambda: key(redact=False),
        lambda: key(redact_kinds={"ip"}),
        lambda: key(redact_patterns={"ticket": "ACME-[0-9]{4}"}),
    ],
)
def test_what_may_change_the_answer_makes_it_another(other: Callable[[], str]) -> None:
    assert other() != key()


@pytest.mark.parametrize(
    "same",
    [
        lambda: key(ASKED.model_copy(update={"task": "other", "stream": True, "priority": "interactive"})),
        lambda: key(ASKED.model_copy(update={"inputs": {"a": 1}, "target": "cloud", "cache": True})),
        lambda: key(whom=CLOUD.model_copy(update={"name": "other", "timeout": 9, "concurrency": 2, "quality": 3})),
        lambda: key(whom=CLOUD.model_copy(update={"base_url": "https://user:password@llm.example/v1"})),
        lambda: key(attempts=2),
    ],
)
def test_who_asks_and_how_it_is_handed_over_does_not(same: Callable[[], str]) -> None:
    assert same() == key()


def test_an_image_counts_by_its_content() -> None:
    there = SEEN.model_copy(update={"uri": "s3://elsewhere/k"})

    assert key(shows(SEEN)) == key(shows(there)) != key(shows(SEEN.model_copy(update={"sha256": "1" * 64})))
