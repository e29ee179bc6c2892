"""The openai provider against a real vLLM server."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from jsonschema import validate

from stenobus_contracts import (
    EXTRACT,
    MAP,
    OUTLINE,
    WRITE,
    BlobRef,
    LlmDone,
    LlmRequest,
    Message,
    Task,
    TokenUsage,
    Tool,
    ToolCall,
)  # fmt: skip
from stenobus_core.tokens import tokens_of
from stenobus_llm.failures import Failure
from stenobus_llm.providers import Piece
from stenobus_llm.providers.openai import OpenAI
from stenobus_llm.router import Router
from stenobus_llm.settings import Settings, Target
from stenobus_llm.tokens import estimate

Build = Callable[..., OpenAI]
WEATHER = Tool(name="weather", parameters={"type": "object", "properties": {"city": {"enum": ["Bonn", "Rome"]}}})
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
CHOICE = {"structured_outputs": {"choice": ["restart it", "leave it"]}}


def request(text: str = "What shall we do with the server?", **changes: Any) -> LlmRequest:
    return LlmRequest(task="acme.ask", messages=(Message(role="user", content=text),), **changes)


@pytest.fixture
async def build(vllm: Any) -> AsyncIterator[Build]:
    providers: list[OpenAI] = []

    def build(**target: Any) -> OpenAI:
        providers.append(OpenAI(Target(**{"name": "vllm", "base_url": vllm.url, "timeout": 120, **target})))
        return providers[-1]

    yield build
    for provider in providers:
        await provider.close()


class Listener:
    """Keeps the pieces of an answer, and says when the first one came."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.begun = asyncio.Event()

    async def hear(self, text: str) -> None:
        self.pieces.append(text)
        self.begun.set()

    @property
    def text(self) -> str:
        return "".join(self.pieces)


async def failure(provider: OpenAI, asked: LlmRequest, piece: Piece | None = None) -> Failure:
    with pytest.raises(Failure) as caught:
        await provider.complete(asked, piece)
    return caught.value


async def test_a_chat_is_completed_by_the_model_the_server_lists(build: Build) -> None:
    completion = await build(extra=CHOICE).complete(request())

    assert completion.text in {"restart it", "leave it"}
    assert (completion.model, completion.finish_reason) == ("tiny", "stop")


async def test_usage_is_what_the_server_counts_before_and_after(build: Build) -> None:
    completion = await build(extra=CHOICE).complete(request())

    assert completion.usage.input == await build().count(request())
    assert completion.usage.output > 0 and not completion.usage.estimated


async def test_equal_requests_are_answered_equally(build: Build) -> None:
    provider = build()

    first, second = [await failure(provider, request(max_output_tokens=20)) for _ in range(2)]

    assert first.text == second.text != ""


async def test_an_answer_at_its_limit_is_truncated(build: Build) -> None:
    failed = await failure(build(), request(max_output_tokens=20))

    assert (failed.code, failed.retryable, failed.usage.output) == ("truncated", False, 20)


SCHEMA = {
    "type": "object",
    "properties": {
        "kind": {"enum": ["symptom", "cause"]},
        "count": {"type": "integer", "minimum": 0, "maximum": 99},
        "notes": {"type": "array", "minItems": 1, "maxItems": 2, "items": {"type": "string", "maxLength": 20}},
    },
    "required": ["kind", "count", "notes"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("stream", [False, True], ids=["in one", "streamed"])
async def test_json_follows_its_schema(build: Build, stream: bool) -> None:
    listener = Listener()

    completion = await build().complete(
        request(response_schema=SCHEMA, max_output_tokens=500), listener.hear if stream else None
    )

    validate(completion.data, SCHEMA)
    assert listener.text == (completion.text if stream else "")


@pytest.mark.parametrize("task", [EXTRACT, MAP, OUTLINE, WRITE], ids=lambda task: task.name)
async def test_the_documents_shapes_are_answered_within_bounds(build: Build, task: Task) -> None:
    provider = build(bound_items=3, bound_characters=80)

    completion = await provider.complete(
        request("Tell me about servers and errors.", response_schema=task.output.model_json_schema())
    )

    task.output.model_validate(completion.data)


async def test_a_prompt_beyond_the_context_is_refused_by_the_server(build: Build) -> None:
    failed = await failure(build(), request("systemctl restart " * 9000))

    assert (failed.code, failed.retryable) == ("context_too_long", False)
    assert "8192" in failed.message


async def test_more_output_than_the_context_holds_is_refused_by_the_server(build: Build) -> None:
    assert (await failure(build(), request(max_output_tokens=9000))).code == "context_too_long"


async def test_a_prompt_beyond_the_known_context_is_not_even_sent(vllm: Any) -> None:
    router = Router(Settings(targets=(Target(name="vllm", base_url=vllm.url, context_window=8192),)))

    done = (await router.answer(request("systemctl restart " * 9000))).done(request(), "request-1")

    assert done.error is not None and done.error.code == "context_too_long"
    assert "8192" in done.error.message and done.provider == "router"


# --- streams ---------------------------------------------------------------------------------------------------------


async def test_a_stream_is_the_same_answer_in_pieces_and_counts_its_tokens(build: Build) -> None:
    provider, listener = build(), Listener()
    asked = request(max_output_tokens=20)

    whole, streamed = await failure(provider, asked), await failure(provider, asked, listener.hear)

    assert (streamed.code, streamed.usage, streamed.model) == ("truncated", whole.usage, "tiny")
    assert streamed.text == whole.text == listener.text
    assert streamed.usage.output == 20 and not streamed.usage.estimated
    assert len(listener.pieces) > 5


async def test_the_first_piece_comes_long_before_the_answer_ends(build: Build) -> None:
    listener = Listener()
    answer = asyncio.create_task(build().complete(request(max_output_tokens=3000), listener.hear))

    await listener.begun.wait()

    assert not answer.done() and len(listener.pieces) < 100
    answer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answer


async def test_a_stream_beyond_the_context_is_refused_before_its_first_piece(build: Build) -> None:
    listener = Listener()

    failed = await failure(build(), request("systemctl restart " * 9000), listener.hear)

    assert (failed.code, listener.pieces, failed.usage) == ("context_too_long", [], TokenUsage())


# --- tools -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True], ids=["in one", "streamed"])
async def test_a_tool_that_must_be_called_is_called(build: Build, stream: bool) -> None:
    listener = Listener()

    completion = await build().complete(
        request("Is it raining?", tools=(WEATHER,), tool_choice="weather", max_output_tokens=500),
        listener.hear if stream else None,
    )

    [call] = completion.tool_calls
    assert call.name == "weather" and call.id
    json.loads(call.arguments)  # a model of noise keeps to JSON, and to no more
    assert (completion.text, listener.pieces, completion.usage.estimated) == ("", [], False)


async def test_several_calls_are_told_apart(build: Build) -> None:
    provider = build()
    asked = request("Is it raining?", tools=(WEATHER,), tool_choice="required", max_output_tokens=100)

    failed = await failure(provider, asked, Listener().hear)

    assert (failed.code, failed.text, failed.usage.output) == ("truncated", "", 100)


async def test_calls_and_what_they_brought_are_taken_back(build: Build) -> None:
    call = ToolCall(id="call_1", name="weather", arguments='{"city": "Bonn"}')
    messages = (
        Message(role="user", content="Is it raining?"),
        Message(role="assistant", content="", tool_calls=(call,)),
        Message(role="tool", content="rain", tool_call_id="call_1"),
    )
    asked = LlmRequest(task="acme.ask", messages=messages, tools=(WEATHER,), tool_choice="none")

    completion = await build(extra=CHOICE).complete(asked)

    assert completion.text in {"restart it", "leave it"}


async def test_an_image_for_a_model_without_eyes_is_a_bad_request(build: Build) -> None:
    image = BlobRef(uri="file:///a.png", sha256="0" * 64, size=70)
    asked = LlmRequest(task="acme.ask", messages=(Message(role="user", content="What is it?", images=(image,)),))

    with pytest.raises(Failure) as caught:
        await build().complete(asked, images={"file:///a.png": PIXEL})

    assert caught.value.code == "bad_request"
    assert "not a multimodal model" in caught.value.message


# --- failures --------------------------------------------------------------------------------------------------------


async def test_a_prompt_near_the_window_is_sent_if_its_count_fits(vllm: Any) -> None:
    # Estimated at 3.5 characters each, these words are tokens of eight.
    text = "message " * 3000
    settings = {"name": "vllm", "base_url": vllm.url, "context_window": 6500, "timeout": 120}

    async def ask(**target: Any) -> LlmDone:
        router = Router(Settings(targets=(Target(**settings, **target),)))
        try:
            return (await router.answer(request(text, max_output_tokens=5))).done(request(), "request-1")
        finally:
            await router.close()

    estimated, counted = await ask(), await ask(tokenise=True)

    assert estimated.error is not None and estimated.error.code == "context_too_long" and estimated.calls == 0
    assert counted.error is not None and counted.error.code == "truncated" and counted.calls == 1
    assert counted.usage.input < 6500 < estimate(request(text))


async def test_a_model_that_is_not_served_is_a_bad_request(build: Build) -> None:
    failed = await failure(build(model="gpt-9"), request())

    assert (failed.code, failed.retryable) == ("bad_request", False)
    assert "gpt-9" in failed.message


async def test_a_server_that_dies_while_it_answers_is_a_transport_failure(build: Build, vllm: Any) -> None:
    provider = build()
    assert (await failure(provider, request(max_output_tokens=5))).code == "truncated"  # the connection stands
    answer = asyncio.create_task(provider.complete(request(max_output_tokens=8000)))
    started, _ = await asyncio.wait([answer], timeout=1)
    assert not started

    vllm.kill()

    with pytest.raises(Failure) as dying:
        await answer
    dead = await failure(provider, request())
    assert [(each.code, each.retryable) for each in (dying.value, dead)] == [("transport", True)] * 2


async def test_a_server_that_dies_in_a_stream_leaves_what_it_said(build: Build, vllm: Any) -> None:
    listener = Listener()
    answer = asyncio.create_task(build().complete(request(max_output_tokens=8000), listener.hear))
    await listener.begun.wait()

    vllm.kill()

    with pytest.raises(Failure) as dying:
        await answer
    failed = dying.value
    assert (failed.code, failed.retryable, failed.text) == ("transport", True, listener.text)
    assert failed.usage.estimated and failed.usage.output == tokens_of(listener.text) > 0
