"""Tools and images through the openai provider: what goes out, and what comes back."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest

from stenobus_contracts import BlobRef, LlmRequest, Message, TokenUsage, Tool, ToolCall
from stenobus_llm.failures import Failure
from stenobus_llm.providers import Completion
from stenobus_llm.providers.openai import OpenAI
from stenobus_llm.providers.openai import answer as limits
from stenobus_llm.settings import Target

from .chat import DONE, OpenAIServer, delta, finish, usage

WEATHER = Tool(
    name="weather",
    description="The weather of a city.",
    parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)
TIME = Tool(name="time")
USER = Message(role="user", content="Is it raining?")
CALL = ToolCall(id="call_1", name="weather", arguments='{"city": "Bonn"}')
PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 20
Ask = Callable[..., Any]


def request(*messages: Message, **changes: Any) -> LlmRequest:
    return LlmRequest(task="acme.ask", messages=messages or (USER,), **changes)


@pytest.fixture(params=["in one", "streamed"])
def ask(request: pytest.FixtureRequest, server: OpenAIServer) -> Ask:
    """Asks in both ways: they must not differ."""

    async def hear(text: str) -> None: ...

    async def ask(asked: LlmRequest, images: dict[str, bytes] | None = None, **target: Any) -> Completion:
        provider = OpenAI(Target(**{"name": "test", "model": "m", "base_url": server.url, "timeout": 5} | target))
        try:
            return await provider.complete(asked, hear if request.param == "streamed" else None, images or {})
        finally:
            await provider.close()

    return ask


async def failure(ask: Ask, asked: LlmRequest, images: dict[str, bytes] | None = None) -> Failure:
    with pytest.raises(Failure) as caught:
        await ask(asked, images)
    return caught.value


# --- tools -----------------------------------------------------------------------------------------------------------


async def test_tools_are_offered_as_functions(server: OpenAIServer, ask: Ask) -> None:
    server.completes("No.")

    await ask(request(tools=(WEATHER, TIME), tool_choice="auto"))

    assert server.received[0].body["tools"] == [
        {"type": "function", "function": WEATHER.model_dump()},
        {
            "type": "function",
            "function": {"name": "time", "description": "", "parameters": {"type": "object", "properties": {}}},
        },
    ]


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("auto", "auto"),
        ("none", "none"),
        ("required", "required"),
        ("weather", {"type": "function", "function": {"name": "weather"}}),
    ],
)
async def test_a_choice_is_a_word_or_the_name_of_a_tool(server: OpenAIServer, ask: Ask, choice: str, sent: Any) -> None:
    server.completes("No.")

    await ask(request(tools=(WEATHER,), tool_choice=choice))

    assert server.received[0].body["tool_choice"] == sent


@pytest.mark.parametrize(("tools", "choice"), [((WEATHER,), "time"), ((), "auto"), ((), "weather")])
async def test_a_choice_of_no_tool_is_refused_before_anything_is_sent(
    server: OpenAIServer, ask: Ask, tools: Any, choice: str
) -> None:
    failed = await failure(ask, request(tools=tools, tool_choice=choice))

    assert (failed.code, server.received) == ("bad_request", [])
    assert choice in failed.message


async def test_calls_come_back_without_a_text(server: OpenAIServer, ask: Ask) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Bonn"}'}}
    server.completes(None, "tool_calls", tool_calls=[call, {**call, "id": "call_2"}])

    completion = await ask(request(tools=(WEATHER,)))

    assert completion == Completion(
        text="",
        tool_calls=(CALL, CALL.model_copy(update={"id": "call_2"})),
        model="served-model",
        finish_reason="tool_calls",
        usage=TokenUsage(input=12, output=5),
    )


async def test_a_call_is_no_answer_to_hold_against_the_schema(server: OpenAIServer, ask: Ask) -> None:
    schema = {"type": "object", "required": ["answer"]}
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    server.completes("Let me see.", "tool_calls", tool_calls=[call])

    completion = await ask(request(tools=(WEATHER,), response_schema=schema))

    assert (completion.data, completion.text, len(completion.tool_calls)) == (None, "Let me see.", 1)


async def test_a_call_that_is_cut_off_is_truncated(server: OpenAIServer, ask: Ask) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"ci'}}
    server.completes(None, "length", tool_calls=[call])

    assert (await failure(ask, request(tools=(WEATHER,)))).code == "truncated"


@pytest.mark.parametrize(
    "call", [{"id": "1", "function": {"arguments": "{}"}}, {"id": "1", "function": {"name": "f", "arguments": {}}}, 5]
)
async def test_a_call_of_another_shape_is_a_transport_failure(server: OpenAIServer, ask: Ask, call: Any) -> None:
    server.completes(None, "tool_calls", tool_calls=[call])

    assert (await failure(ask, request(tools=(WEATHER,)))).code == "transport"


async def test_a_call_and_what_it_brought_go_back_to_the_model(server: OpenAIServer, ask: Ask) -> None:
    server.completes("Yes.")
    asked = Message(role="assistant", content="", tool_calls=(CALL,))
    brought = Message(role="tool", content="rain", tool_call_id="call_1")

    await ask(request(USER, asked, brought, tools=(WEATHER,)))

    function = {"name": "weather", "arguments": '{"city": "Bonn"}'}
    assert server.received[0].body["messages"] == [
        {"role": "user", "content": "Is it raining?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
        },
        {"role": "tool", "content": "rain", "tool_call_id": "call_1"},
    ]


@pytest.mark.parametrize(
    "message",
    [
        Message(role="tool", content="rain"),
        Message(role="user", content="rain", tool_call_id="call_1"),
        Message(role="user", content="?", tool_calls=(CALL,)),
        Message(role="assistant", content="?", images=(BlobRef(uri="file:///a", sha256="0" * 64, size=1),)),
    ],
)
async def test_messages_that_no_server_takes_are_not_sent(server: OpenAIServer, ask: Ask, message: Message) -> None:
    failed = await failure(ask, request(USER, message), {"file:///a": PNG})

    assert (failed.code, server.received) == ("bad_request", [])


async def test_the_servers_own_refusal_of_messages_is_heard(server: OpenAIServer, ask: Ask) -> None:
    failed = await failure(ask, request(USER, Message(role="tool", content="rain", tool_call_id="call_9")))

    assert failed.code == "bad_request"
    assert "must be a response to a preceeding message" in failed.message


# --- calls in pieces -------------------------------------------------------------------------------------------------


def part(index: int | None = None, call_id: str | None = None, **function: str) -> dict[str, Any]:
    fields: dict[str, Any] = {"function": function}
    fields |= {} if index is None else {"index": index}
    return fields if call_id is None else {**fields, "id": call_id, "type": "function"}


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param(
            [[part(0, "call_1", name="weather", arguments="")], [part(0, arguments='{"city":')],
             [part(0, arguments=' "Bonn"}')], [part(1, "call_2", name="time", arguments="{}")]],
            id="one after the other",
        ),
        pytest.param(
            [[part(1, "call_2", name="time"), part(0, "call_1", name="weather", arguments='{"city":')],
             [part(1, arguments="{}"), part(0, arguments=' "Bonn"}')]],
            id="entangled",
        ),
        pytest.param(
            [[part(None, "call_1", name="weather", arguments='{"city":')], [part(None, arguments=' "Bonn"}')],
             [part(None, "call_2", name="time", arguments="{}")]],
            id="without indexes",
        ),
    ],
)  # fmt: skip
async def test_calls_are_put_together_from_their_parts(server: OpenAIServer, parts: Any) -> None:
    deltas = [delta(tool_calls=each) for each in parts]
    server.streams_steps(delta("See: ", role="assistant"), *deltas, finish("tool_calls"), usage(), DONE)
    provider = OpenAI(Target(name="test", model="m", base_url=server.url))
    pieces: list[str] = []

    async def hear(text: str) -> None:
        pieces.append(text)

    completion = await provider.complete(request(tools=(WEATHER, TIME)), hear)
    await provider.close()

    assert completion.tool_calls == (CALL, ToolCall(id="call_2", name="time", arguments="{}"))
    assert (completion.text, pieces, completion.finish_reason) == ("See: ", ["See: "], "tool_calls")


async def test_calls_without_ids_get_some_of_their_own(server: OpenAIServer, ask: Ask) -> None:
    call = {"function": {"name": "time", "arguments": "{}"}}
    server.completes(None, "tool_calls", tool_calls=[{"id": "", "index": 0, **call}, {"id": "", "index": 1, **call}])

    completion = await ask(request(tools=(TIME,)))

    assert [each.id for each in completion.tool_calls] == ["call_0", "call_1"]


async def test_calls_are_bounded(server: OpenAIServer, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "time", "arguments": "x" * 50}}
    monkeypatch.setattr(limits, "MOST_CALLS", 3)
    server.completes(None, "tool_calls", tool_calls=[call] * 4)
    monkeypatch.setattr(limits, "LONGEST", 100)
    server.completes(None, "tool_calls", tool_calls=[call] * 3)

    assert (await failure(ask, request(tools=(TIME,)))).code == "transport"
    assert (await failure(ask, request(tools=(TIME,)))).code == "truncated"


# --- images ----------------------------------------------------------------------------------------------------------


def image(content_type: str = "application/octet-stream", name: str = "a") -> BlobRef:
    return BlobRef(uri=f"file:///{name}", sha256="0" * 64, size=1, content_type=content_type)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (PNG, "png"),
        (b"\xff\xd8\xff\xe0" + b"0" * 20, "jpeg"),
        (b"GIF87a" + b"0" * 20, "gif"),
        (b"GIF89a" + b"0" * 20, "gif"),
        (b"RIFF\x10\0\0\0WEBPVP8 " + b"0" * 20, "webp"),
    ],
)
async def test_an_image_goes_along_as_what_its_bytes_are(
    server: OpenAIServer, ask: Ask, data: bytes, kind: str
) -> None:
    server.completes("A cat.")

    await ask(request(Message(role="user", content="What is it?", images=(image(),))), {"file:///a": data})

    assert server.received[0].body["messages"][0]["content"] == [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": f"data:image/{kind};base64,{base64.b64encode(data).decode()}"}},
    ]


@pytest.mark.parametrize("said", ["image/png", "image/x-png", "IMAGE/PNG; x=y"])
async def test_images_stand_without_words_too(server: OpenAIServer, ask: Ask, said: str) -> None:
    server.completes("Two cats.")
    shown = Message(role="user", content="", images=(image(said), image(said, "b")))

    await ask(request(shown), {"file:///a": PNG, "file:///b": PNG})

    assert [part["type"] for part in server.received[0].body["messages"][0]["content"]] == ["image_url"] * 2


@pytest.mark.parametrize(
    ("data", "said", "why"),
    [
        (b"<svg/>", "image/svg+xml", "not PNG"),
        (b"", "image/png", "not PNG"),
        (b"RIFF\x10\0\0\0WAVEfmt ", "image/webp", "not PNG"),
        (PNG, "image/jpeg", "said to be image/jpeg"),
        (PNG, "text/html", "said to be text/html"),
    ],
)
async def test_what_is_no_image_or_another_one_is_not_sent(
    server: OpenAIServer, ask: Ask, data: bytes, said: str, why: str
) -> None:
    shown = Message(role="user", content="What is it?", images=(image(said),))

    failed = await failure(ask, request(shown), {"file:///a": data})

    assert (failed.code, server.received) == ("bad_request", [])
    assert why in failed.message


async def test_a_request_with_everything_is_the_same_body_streamed_or_not(server: OpenAIServer, ask: Ask) -> None:
    server.completes("ok")

    await ask(request(tools=(WEATHER,), tool_choice="none", max_output_tokens=9, temperature=0.5))

    body = {name: value for name, value in server.received[0].body.items() if not name.startswith("stream")}
    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": "Is it raining?"}],
        "temperature": 0.5,
        "max_completion_tokens": 9,
        "tools": [{"type": "function", "function": WEATHER.model_dump()}],
        "tool_choice": "none",
    }
