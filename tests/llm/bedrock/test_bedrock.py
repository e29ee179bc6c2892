"""Bedrock's Converse, on its own wire format: what is sent, and what an answer is."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from stenobus_contracts import Message
from stenobus_llm.providers.bedrock import wire as wire_module
from stenobus_llm.settings import Settings
from stenobus_testing.waiting import eventually, still

from .conftest import Asking
from .converse import ConverseServer

SCHEMA = {"type": "object", "properties": {"why": {"type": "string"}}, "required": ["why"]}


async def test_a_conversation_is_signed_and_sent_in_converses_form(ask: Asking, service: ConverseServer) -> None:
    service.completes("Because.")
    turns = [("system", "Be brief."), ("user", "Hello."), ("user", "Why?"), ("assistant", "What?"), ("user", "That.")]

    done = await ask(*(Message(role=role, content=text) for role, text in turns), max_output_tokens=50)

    assert (done.text, done.finish_reason, done.usage.input, done.usage.output) == ("Because.", "stop", 12, 5)
    [(model, way, body)] = service.received
    assert (model, way, body["system"]) == ("anthropic.claude:0", "converse", [{"text": "Be brief."}])
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]
    assert body["messages"][0]["content"] == [{"text": "Hello."}, {"text": "Why?"}]
    assert body["inferenceConfig"] == {"temperature": 0.0, "maxTokens": 50}


async def test_a_schema_is_enforced_where_the_model_can_and_checked_in_any_case(
    ask: Asking, service: ConverseServer
) -> None:
    service.completes('{"why": "so"}')
    service.completes('{"why": 1}')

    done = await ask(response_schema=SCHEMA)
    failure = await ask.fails(response_schema=SCHEMA, target={"structured": "prompt"})

    assert done.data == {"why": "so"}
    wanted = service.received[0][2]["outputConfig"]["textFormat"]["structure"]["jsonSchema"]
    assert (wanted["name"], json.loads(wanted["schema"])) == ("acme_ask", SCHEMA)
    assert "JSON Schema" in service.received[1][2]["system"][0]["text"]
    assert (failure.code, failure.usage.total) == ("invalid_answer", 17)


@pytest.mark.parametrize(
    ("status", "name", "message", "code", "retryable"),
    [
        (429, "ThrottlingException", "Too many requests", "throttled", True),
        (400, "ServiceQuotaExceededException", "Too many tokens", "throttled", True),
        (503, "ServiceUnavailableException", "busy", "overloaded", True),
        (500, "InternalServerException", "oops", "overloaded", True),
        (502, "Whatever", "oops", "overloaded", True),
        (429, "ModelNotReadyException", "warming up", "overloaded", True),
        (408, "ModelTimeoutException", "slow", "transport", True),
        (403, "AccessDeniedException", "no access", "auth", False),
        (403, "ExpiredTokenException", "expired", "auth", False),
        (400, "ValidationException", "Input is too long for requested model.", "context_too_long", False),
        (400, "ValidationException", "malformed input", "bad_request", False),
        (404, "ResourceNotFoundException", "no such model", "bad_request", False),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_errors_have_classes_by_their_names_and_are_asked_once(
    ask: Asking, service: ConverseServer, status: int, name: str, message: str, code: str, retryable: bool, stream: bool
) -> None:
    service.fails(status, name, message, Retry_After="7")

    failure = await ask.fails(stream=stream)

    assert (failure.code, failure.retryable, failure.delay) == (code, retryable, 7)
    assert failure.message == f"The target claude answered {name}: {message}"
    assert len(service.received) == 1


async def test_what_was_signed_is_not_repeated(ask: Asking, service: ConverseServer) -> None:
    said = (
        "The signature we calculated is another one.\n\nThe Canonical String was 'POST\nx-amz-security-token:FwoGZXIv'"
    )
    service.fails(403, "InvalidSignatureException", said)

    failure = await ask.fails()

    assert failure.code == "auth"
    assert "we calculated" in failure.message and "FwoGZXIv" not in failure.message


@pytest.mark.parametrize(
    ("stop", "code"),
    [
        ("max_tokens", "truncated"),
        ("guardrail_intervened", "content_filter"),
        ("content_filtered", "content_filter"),
        ("model_context_window_exceeded", "context_too_long"),
        ("malformed_model_output", "invalid_answer"),
    ],
)
async def test_reasons_to_stop_have_classes_and_keep_text_and_usage(
    ask: Asking, service: ConverseServer, stop: str, code: str
) -> None:
    service.completes("half an ans", stop)

    failure = await ask.fails()

    assert (failure.code, failure.text, failure.usage.total) == (code, "half an ans", 17)


# --- what is not there -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"<html>hello</html>",
        b"[]",
        b"\xff\xfe",
        b'"text"',
        b"[" * 100_000,
        b'{"stopReason": "end_turn"}',
        b'{"stopReason": 5, "output": {"message": {"content": []}}}',
        b'{"stopReason": "end_turn", "output": {"message": {"content": "text"}}}',
        b'{"stopReason": "end_turn", "output": {"message": {"content": [{"text": 5}]}}}',
        b'{"stopReason": "end_turn", "output": {"message": {"content": [{"text": "a", "image": {}}]}}}',
        b'{"stopReason": "end_turn", "output": {"message": {"content": [{"toolUse": {"name": "find"}}]}}}',
    ],
)
async def test_another_services_answer_is_a_matter_of_transport(
    ask: Asking, service: ConverseServer, body: bytes
) -> None:
    service.sends(body)

    failure = await ask.fails()

    assert (failure.code, failure.message[:36]) == ("transport", "The target claude answered something")


async def test_a_service_that_is_not_there_is_a_matter_of_transport(ask: Asking) -> None:
    failure = await ask.fails(target={"base_url": "http://127.0.0.1:1"})

    assert failure.code == "transport"


async def test_strange_counts_are_replaced_by_an_estimate(ask: Asking, service: ConverseServer) -> None:
    message = {"output": {"message": {"content": [{"text": "So."}]}}, "stopReason": "end_turn"}
    for usage in (None, {"inputTokens": "12"}, {"inputTokens": -1, "outputTokens": 5}):
        service.sends(json.dumps(message | {"usage": usage}).encode())

    done = [await ask() for _ in range(3)]

    assert [(each.text, each.usage.estimated, each.usage.output) for each in done] == [("So.", True, 1)] * 3


async def test_what_was_read_from_the_cache_is_part_of_the_prompt(ask: Asking, service: ConverseServer) -> None:
    service.completes("So.", "end_turn", (12, 5), cacheReadInputTokens=1000, cacheWriteInputTokens=30)

    usage = (await ask()).usage

    assert (usage.input, usage.cached, usage.output, usage.estimated) == (1042, 1000, 5, False)


async def test_a_cache_point_follows_the_system_prompt_where_it_is_wanted(ask: Asking, service: ConverseServer) -> None:
    turns = Message(role="system", content="Be brief."), Message(role="user", content="Why?")
    service.completes("So.")
    service.completes("So.")

    await ask(*turns, target={"cache_point": True})
    await ask(turns[1], target={"cache_point": True})

    assert service.received[0][2]["system"] == [{"text": "Be brief."}, {"cachePoint": {"type": "default"}}]
    assert "system" not in service.received[1][2]


async def test_blank_texts_are_not_sent(ask: Asking, service: ConverseServer) -> None:
    service.completes("So.")
    turns = [("system", " "), ("user", "Hello."), ("assistant", ""), ("user", "\n"), ("user", "Why?")]

    await ask(*(Message(role=role, content=text) for role, text in turns))
    failure = await ask.fails(Message(role="user", content=" "))

    body = service.received[0][2]
    assert (body["messages"], "system" in body) == (
        [{"role": "user", "content": [{"text": "Hello."}, {"text": "Why?"}]}],
        False,
    )
    assert (failure.code, len(service.received)) == ("bad_request", 1)


@pytest.mark.parametrize(("status", "stream"), [(200, False), (500, False), (500, True)])
async def test_an_endless_answer_in_one_is_left(
    ask: Asking, service: ConverseServer, monkeypatch: pytest.MonkeyPatch, status: int, stream: bool
) -> None:
    monkeypatch.setattr(wire_module, "LARGEST_BODY", 1 << 20)
    service.drips(b" " * (1 << 18), 0.001, status=status)

    failure = await ask.fails(stream=stream)

    assert (failure.code, failure.retryable) == ("truncated", False)
    await eventually(service.left.is_set)


async def test_who_gives_up_an_answer_in_one_hangs_up(ask: Asking, service: ConverseServer) -> None:
    service.drips(b" ", 0.001)

    failure = await ask.fails(timeout=0.3)

    assert failure.code == "transport"
    await eventually(service.left.is_set)


@pytest.mark.parametrize("stream", [False, True])
async def test_who_gives_up_before_the_first_byte_hangs_up(ask: Asking, service: ConverseServer, stream: bool) -> None:
    service.holds()
    target = {"concurrency": 1}

    asking = asyncio.create_task(ask(timeout=100, stream=stream, target=target))
    await eventually(lambda: service.received)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    service.completes("So.")

    assert (await ask(timeout=100, target=target)).text == "So."  # in the same thread's place


async def test_a_call_at_a_time_where_the_target_says_so(ask: Asking, service: ConverseServer) -> None:
    message = {"output": {"message": {"content": [{"text": "0"}]}}, "stopReason": "end_turn"}
    service.streams(service.released, json.dumps(message).encode())
    service.completes("1")

    asking = [asyncio.create_task(ask(target={"concurrency": 1})) for _ in range(2)]
    await eventually(lambda: service.received)
    await still(lambda: len(service.received) == 1, 0.1)
    service.released.set()

    assert [(await each).text for each in asking] == ["0", "1"]
    assert len(set(service.ports)) == 1  # and the connection is used again


def test_a_process_does_not_wait_for_a_call_that_nobody_waits_for() -> None:
    script = """
import asyncio, sys
from stenobus_contracts import LlmRequest, Message
from stenobus_llm.providers.bedrock import Bedrock
from stenobus_llm.settings import Target

target = Target(name="claude", kind="bedrock", model="m", base_url=sys.argv[1], connect_timeout=60)
request = LlmRequest(task="acme.ask", messages=(Message(role="user", content="Why?"),))

async def main():
    try:
        async with asyncio.timeout(1):
            await Bedrock(target).complete(request)
    except TimeoutError:
        print("left")

asyncio.run(main())
"""
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):  # who comes next has to wait for its connection
            early = stack.enter_context(socket.socket())
            early.setblocking(False)
            early.connect_ex(full.getsockname())
        url = "http://{}:{}".format(*full.getsockname())

        ended = subprocess.run([sys.executable, "-c", script, url], capture_output=True, text=True, timeout=120)

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "left\n", "")


async def test_no_credentials_are_named_and_nothing_is_sent(
    ask: Asking, service: ConverseServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")

    failure = await ask.fails()

    assert (failure.code, service.received) == ("auth", [])
    assert "credentials" in failure.message


async def test_no_region_says_so(ask: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_REGION")

    failure = await ask.fails()

    assert failure.code == "bad_request" and "region" in failure.message


def test_the_names_people_use_add_the_target(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BEDROCK_MODEL_ID", "anthropic.claude:1")

    bedrock = Settings.load("llm").all_targets[0]

    assert (bedrock.name, bedrock.kind, bedrock.model, bedrock.stays) == (
        "bedrock",
        "bedrock",
        "anthropic.claude:1",
        False,
    )
    assert bedrock.abilities == frozenset()
