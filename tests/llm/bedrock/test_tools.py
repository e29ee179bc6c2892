"""Tools and images, there and back."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from stenobus_contracts import BlobRef, Message, Tool, ToolCall
from stenobus_llm.failures import Failure

from .conftest import Asking
from .converse import ConverseServer, call, end, event, text

FIND = Tool(
    name="find",
    description="Finds a word.",
    parameters={"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]},
)
STOP = Tool(name="stop")
USER = Message(role="user", content="Find them.")
ASKED = {"toolUse": {"toolUseId": "tooluse_1", "name": "find", "input": {"word": "Müll"}}}
HISTORY = (
    USER,
    Message(
        role="assistant",
        content="I look.",
        tool_calls=(
            ToolCall(id="call_1", name="find", arguments='{"word": "a"}'),
            ToolCall(id="call_2", name="find", arguments=""),
        ),
    ),
    Message(role="tool", content="3 times", tool_call_id="call_1"),
    Message(role="tool", content="", tool_call_id="call_2"),
    Message(role="user", content="And?"),
)
SPEC = {
    "name": "find",
    "description": "Finds a word.",
    "inputSchema": {"json": {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]}},
}


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        (None, None),
        ("auto", {"auto": {}}),
        ("required", {"any": {}}),
        ("stop", {"tool": {"name": "stop"}}),
    ],
)
async def test_tools_are_offered_and_asked_for(
    ask: Asking, service: ConverseServer, choice: str | None, sent: Any
) -> None:
    service.completes("I look.", "tool_use", (12, 5), ASKED)

    done = await ask(USER, tools=(FIND, STOP), tool_choice=choice)

    config = service.received[0][2]["toolConfig"]
    stop = {"name": "stop", "inputSchema": {"json": {"type": "object", "properties": {}}}}
    assert config["tools"] == [{"toolSpec": SPEC}, {"toolSpec": stop}]
    assert config.get("toolChoice") == sent
    assert (done.text, done.finish_reason) == ("I look.", "tool_calls")
    assert done.tool_calls == (ToolCall(id="tooluse_1", name="find", arguments='{"word": "Müll"}'),)


async def test_a_stream_gathers_what_is_asked_of_tools(ask: Asking, service: ConverseServer) -> None:
    service.streams(
        event("messageStart", role="assistant"),
        text("I look."),
        event("contentBlockStop", contentBlockIndex=0),
        *call(1, "tooluse_1", "find", "", '{"wo', 'rd": "a"}'),
        *call(2, "tooluse_2", "stop"),
        *end("tool_use"),
    )

    done = await ask(USER, tools=(FIND, STOP), stream=True)

    assert (done.text, ask.pieces, done.finish_reason) == ("I look.", ["I look."], "tool_calls")
    assert done.tool_calls == (
        ToolCall(id="tooluse_1", name="find", arguments='{"word": "a"}'),
        ToolCall(id="tooluse_2", name="stop", arguments="{}"),
    )


@pytest.mark.parametrize("stream", [False, True])
async def test_more_calls_than_any_model_makes_are_no_answer(
    ask: Asking, service: ConverseServer, stream: bool
) -> None:
    if stream:
        service.streams(*(frame for number in range(129) for frame in call(number, f"id_{number}", "find")), *end())
    else:
        service.completes("", "tool_use", (12, 5), *[ASKED] * 129)

    assert (await ask.fails(USER, tools=(FIND,), stream=stream)).code == "transport"


@pytest.mark.parametrize("depth", range(900, 1000, 9))
async def test_arguments_may_be_nested_or_are_no_answer(ask: Asking, service: ConverseServer, depth: int) -> None:
    deep = '{"a":' * depth + "1" + "}" * depth
    block = '{"toolUse": {"toolUseId": "1", "name": "find", "input": ' + deep + "}}"
    service.sends(('{"stopReason": "tool_use", "output": {"message": {"content": [' + block + "]}}}").encode())

    try:
        [found] = (await ask(USER, tools=(FIND,))).tool_calls
    except Failure as failure:
        assert failure.code == "transport"
    else:
        assert found.arguments.count("{") == depth


async def test_parts_of_calls_that_are_written_at_once_stay_apart(ask: Asking, service: ConverseServer) -> None:
    first, second = call(0, "a", "find", '{"word":', '"x"}'), call(1, "b", "find", '{"word":', '"y"}')
    service.streams(*(frame for both in zip(second, first, strict=True) for frame in both), *end("tool_use"))

    done = await ask(USER, tools=(FIND,), stream=True)

    assert [(each.id, each.arguments) for each in done.tool_calls] == [("a", '{"word":"x"}'), ("b", '{"word":"y"}')]


async def test_what_tools_answered_goes_back(ask: Asking, service: ConverseServer) -> None:
    service.completes("Three.")

    done = await ask(*HISTORY, tools=(FIND,))

    body = service.received[0][2]
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]
    assert body["messages"][1]["content"] == [
        {"text": "I look."},
        {"toolUse": {"toolUseId": "call_1", "name": "find", "input": {"word": "a"}}},
        {"toolUse": {"toolUseId": "call_2", "name": "find", "input": {}}},
    ]
    assert body["messages"][2]["content"] == [
        {"toolResult": {"toolUseId": "call_1", "content": [{"text": "3 times"}]}},
        {"toolResult": {"toolUseId": "call_2", "content": [{"text": "(nothing)"}]}},
        {"text": "And?"},
    ]
    assert (done.text, done.finish_reason, done.tool_calls) == ("Three.", "stop", ())


@pytest.mark.parametrize("arguments", ['{"word": ', "[1]", "null", '{"word": NaN}', "[" * 100_000])
async def test_a_mistake_of_the_assistant_can_be_told_to_it(
    ask: Asking, service: ConverseServer, arguments: str
) -> None:
    service.completes("Sorry.")
    asked = Message(role="assistant", content="", tool_calls=(ToolCall(id="1", name="find", arguments=arguments),))

    await ask(USER, asked, Message(role="tool", content="That is no JSON.", tool_call_id="1"), tools=(FIND,))

    [block] = service.received[0][2]["messages"][1]["content"]
    assert block["toolUse"]["input"] == {"invalid": arguments}


async def test_a_tools_message_that_answers_no_call_is_refused(ask: Asking, service: ConverseServer) -> None:
    failure = await ask.fails(*HISTORY[:2], Message(role="tool", content="3 times"), tools=(FIND,))

    assert (failure.code, service.received) == ("bad_request", [])


async def test_without_a_choice_no_tool_is_offered(ask: Asking, service: ConverseServer) -> None:
    service.completes("No.")

    await ask(USER, tools=(FIND,), tool_choice="none")

    assert not {"toolConfig", "system"} & service.received[0][2].keys()


@pytest.mark.parametrize("offered", [{"tools": (FIND,), "tool_choice": "none"}, {}])
async def test_a_history_with_tools_names_them_though_none_may_be_asked_for(
    ask: Asking, service: ConverseServer, offered: dict[str, Any]
) -> None:
    service.completes("Three.")
    service.completes("", "tool_use", (12, 5), ASKED)

    done, failure = await ask(*HISTORY, **offered), await ask.fails(*HISTORY, **offered)

    body = service.received[0][2]
    known = SPEC if offered else {"name": "find", "inputSchema": {"json": {"type": "object"}}}
    assert body["toolConfig"] == {"tools": [{"toolSpec": known}]}
    assert body["system"] == [{"text": "Do not ask for a tool now. Answer in words."}]
    assert (done.text, failure.code, failure.usage.total) == ("Three.", "invalid_answer", 17)


async def test_an_answer_that_asks_for_tools_is_not_held_against_the_schema(
    ask: Asking, service: ConverseServer
) -> None:
    service.completes("", "tool_use", (12, 5), ASKED)

    done = await ask(USER, tools=(FIND,), response_schema={"type": "object"})

    assert (done.data, len(done.tool_calls)) == (None, 1)


# --- images ----------------------------------------------------------------------------------------------------------

PICTURES = {
    "png": b"\x89PNG\r\n\x1a\n" + bytes(9),
    "jpeg": b"\xff\xd8\xff\xe0" + bytes(9),
    "gif": b"GIF89a" + bytes(9),
    "webp": b"RIFF\x24\0\0\0WEBPVP8 ",
}


def shows(data: bytes) -> tuple[Message, dict[str, bytes]]:
    reference = BlobRef(uri="nats://media/a", sha256="0" * 64, size=len(data), content_type="application/octet-stream")
    return Message(role="user", content="What is it?", images=(reference,)), {reference.uri: data}


@pytest.mark.parametrize("kind", PICTURES)
async def test_images_are_sent_as_what_their_bytes_are(ask: Asking, service: ConverseServer, kind: str) -> None:
    service.completes("A cat.")
    message, images = shows(PICTURES[kind])

    await ask(message, images=images)

    [image, said] = service.received[0][2]["messages"][0]["content"]
    assert image["image"]["format"] == kind
    assert base64.b64decode(image["image"]["source"]["bytes"]) == PICTURES[kind]
    assert said == {"text": "What is it?"}


@pytest.mark.parametrize("data", [b"", b"%PDF-1.7", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"RIFF\0\0\0\0WAVE"])
async def test_what_is_no_image_is_refused(ask: Asking, service: ConverseServer, data: bytes) -> None:
    message, images = shows(data)

    failure = await ask.fails(message, images=images)

    assert (failure.code, service.received) == ("bad_request", [])


async def test_a_request_with_everything_is_json(ask: Asking, service: ConverseServer) -> None:
    service.completes("{}")
    message, images = shows(PICTURES["png"])

    await ask(message, images=images, tools=(FIND,), response_schema={"type": "object"}, target={"cache_point": True})

    assert json.loads(json.dumps(service.received[0][2])) == service.received[0][2]
