"""An answer on its way to whoever asked, while it is written."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from stenobus_bus import Bus, EmbeddedServer, Envelope, pieces
from stenobus_contracts import Event, LlmChunk, LlmDone, LlmRequest, Message
from stenobus_core import Context, CoreSettings, Host, Plugin
from stenobus_llm import plugin
from stenobus_testing.waiting import eventually

from .chat import CUT, DONE, OpenAIServer, delta, finish, usage

REQUEST = LlmRequest(task="acme.ask", messages=(Message(role="user", content="Why?"),), stream=True)


class Wondered(Event, subject="acme.wondered"):
    """Somebody wants to know."""


asker = Plugin("acme-asker", summary="Asks, and hears the answer while it is written")
HEARD: list[LlmChunk] = []


@asker.handler(requests=[LlmRequest])
async def wonder(event: Wondered, ctx: Context[Any, Any]) -> None:
    async def hear(chunk: LlmChunk) -> None:
        HEARD.append(chunk)

    done = await ctx.request(REQUEST, 20, hear)
    ctx.note(answer=done.text)


class Listener:
    """Anybody who knows the request's id."""

    def __init__(self, bus: Bus, subscription: Any, envelope: Envelope, done: Any) -> None:
        self.bus, self.envelope, self._subscription, self._done = bus, envelope, subscription, done

    async def ask(self, request: LlmRequest = REQUEST) -> None:
        await self.bus.publish(request, self.envelope)

    async def next(self) -> LlmChunk:
        return LlmChunk.model_validate_json((await self._subscription.next_msg(20)).data)

    async def rest(self) -> list[LlmChunk]:
        """Everything up to the last piece."""
        chunks = [await self.next()]
        while not chunks[-1].last:
            chunks.append(await self.next())
        return chunks

    async def leave(self) -> None:
        await self._subscription.unsubscribe()

    async def done(self) -> LlmDone:
        return LlmDone.model_validate_json((await self._done.next_msg(20)).data)


@pytest.fixture
async def listener(server: OpenAIServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Listener]:
    targets = [
        {"name": "model", "base_url": server.url, "model": "m", "timeout": 5},
        {"name": "other", "base_url": server.url, "model": "n", "timeout": 5},
    ]
    monkeypatch.setenv("STENOBUS_LLM_TARGETS", json.dumps(targets))
    monkeypatch.setenv("STENOBUS_LLM_FALLBACK", json.dumps({"transport": ["other"], "overloaded": ["other"]}))
    nats = EmbeddedServer(tmp_path / "nats", port=0)
    async with await Bus.connect(await nats.start()) as bus:
        host = Host(CoreSettings(data_dir=tmp_path), bus, [plugin, asker])
        await host.start()
        envelope = Envelope.new(REQUEST, "shop", id="order-7")
        subscription = await bus.nc.subscribe(pieces.subject(envelope))
        done = await bus.nc.subscribe("llm.done")
        yield Listener(bus, subscription, envelope, done)
        await host.stop()
    await nats.stop()


async def test_pieces_come_in_order_and_the_durable_answer_has_them_all(
    listener: Listener, server: OpenAIServer
) -> None:
    server.streams("The disk ", "was ", "full.")

    await listener.ask()
    chunks, done = await listener.rest(), await listener.done()

    assert [(chunk.index, chunk.text) for chunk in chunks] == [(0, "The disk "), (1, "was "), (2, "full."), (3, "")]
    assert {chunk.request_id for chunk in chunks} == {"order-7"} and chunks[-1].error is None
    assert (done.text, done.usage.total, done.usage.estimated) == ("The disk was full.", 17, False)
    assert done.first_token_seconds is not None and done.first_token_seconds <= done.seconds + 0.001


async def test_a_listener_that_leaves_does_not_stop_the_request(listener: Listener, server: OpenAIServer) -> None:
    go_on = asyncio.Event()
    server.streams_steps(delta("The disk "), go_on, delta("was full."), finish(), usage(), DONE)

    await listener.ask()
    assert (await listener.next()).text == "The disk "
    await listener.leave()
    go_on.set()

    assert (await listener.done()).text == "The disk was full."


async def test_after_the_first_piece_nothing_is_asked_again(listener: Listener, server: OpenAIServer) -> None:
    server.streams_steps(delta("The disk "), CUT)

    await listener.ask()
    chunks, done = await listener.rest(), await listener.done()

    assert [chunk.text for chunk in chunks] == ["The disk ", ""]
    for error in (chunks[-1].error, done.error):
        assert error is not None and (error.code, error.retryable) == ("transport", False)
    assert (done.text, done.usage.estimated, len(server.received)) == ("The disk ", True, 1)


async def test_before_the_first_piece_another_target_is_asked(listener: Listener, server: OpenAIServer) -> None:
    server.fails(503)
    server.streams("Full.")

    await listener.ask()
    chunks, done = await listener.rest(), await listener.done()

    assert ([chunk.text for chunk in chunks], done.provider, done.calls) == (["Full.", ""], "other", 2)


async def test_an_invalid_answer_that_was_heard_is_not_mended(listener: Listener, server: OpenAIServer) -> None:
    server.streams("no JSON")

    await listener.ask(REQUEST.model_copy(update={"response_schema": {"type": "object"}}))
    chunks, done = await listener.rest(), await listener.done()

    assert chunks[-1].error is not None and chunks[-1].error.code == "invalid_answer"
    assert done.error is not None and (done.repairs, len(server.received)) == (0, 1)


async def test_a_handler_hears_the_pieces_of_what_it_asked(listener: Listener, server: OpenAIServer) -> None:
    HEARD.clear()
    server.streams("Because ", "of ", "that.")

    await listener.bus.publish(event := Wondered(), Envelope.new(event, "test"))
    done = await listener.done()

    await eventually(lambda: HEARD and HEARD[-1].last)
    assert "".join(chunk.text for chunk in HEARD) == done.text == "Because of that."
