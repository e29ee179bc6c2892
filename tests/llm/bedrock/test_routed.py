"""A Bedrock target behind the router: what is asked again, and what is not once a piece was heard."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from stenobus_contracts import LlmChunk, LlmDone, LlmRequest, Message
from stenobus_llm.relay import Relay
from stenobus_llm.router import Means, Router
from stenobus_llm.settings import Settings, Target

from .converse import ConverseServer, answer, exception

REQUEST = LlmRequest(task="acme.ask", messages=(Message(role="user", content="Why?"),), stream=True)
THROTTLED = exception("throttlingException", "Too many tokens, please wait")


class Asked:
    def __init__(self, service: ConverseServer) -> None:
        targets = [
            Target(name=name, kind="bedrock", model=name, base_url=service.url, timeout=60)
            for name in ("first", "second")
        ]
        self.router = Router(Settings(targets=tuple(targets), fallback={"throttled": ("second",)}))
        self.chunks: list[LlmChunk] = []

    async def __call__(self) -> LlmDone:
        outcome = await self.router.answer(REQUEST, Means(relay=Relay(self._send, "request-1")))
        return outcome.done(REQUEST, "request-1")

    async def _send(self, chunk: LlmChunk) -> None:
        self.chunks.append(chunk)


@pytest.fixture
async def asked(service: ConverseServer) -> AsyncIterator[Asked]:
    asked = Asked(service)
    yield asked
    await asked.router.close()


async def test_a_failure_in_the_first_event_is_one_before_the_answer(asked: Asked, service: ConverseServer) -> None:
    service.streams(THROTTLED)
    service.streams(*answer("Be", "cause"))

    done = await asked()

    assert (done.text, done.provider, done.calls, done.error) == ("Because", "second", 2, None)
    assert [chunk.text for chunk in asked.chunks] == ["Be", "cause"]
    assert done.first_token_seconds is not None


async def test_after_a_piece_nobody_else_is_asked(asked: Asked, service: ConverseServer) -> None:
    service.streams(*answer("Be")[:2], THROTTLED)

    done = await asked()

    assert done.error is not None
    assert (done.error.code, done.error.retryable, done.calls, done.text) == ("throttled", False, 1, "Be")
    assert done.usage.estimated and done.usage.output == 1
