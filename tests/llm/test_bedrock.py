"""Bedrock's Converse, on its own wire format."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from stenobus_contracts import LlmRequest, Message
from stenobus_llm.failures import Failure
from stenobus_llm.providers import Completion
from stenobus_llm.providers.bedrock import Bedrock
from stenobus_llm.settings import Settings, Target
from stenobus_testing.waiting import eventually

from .converse import ConverseServer, answer, event, exception

SCHEMA = {"type": "object", "properties": {"why": {"type": "string"}}, "required": ["why"]}


@pytest.fixture(autouse=True)
def account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIATEST",
        "AWS_SECRET_ACCESS_KEY": "aws-secret",
        "AWS_REGION": "eu-west-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION", "AWS_BEARER_TOKEN_BEDROCK"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def service() -> Iterator[ConverseServer]:
    service = ConverseServer()
    yield service
    service.stop()


class Asking:
    def __init__(self, service: ConverseServer) -> None:
        self._service, self._clients = service, list[Bedrock]()

    async def __call__(self, *turns: Message, timeout: float = 5, target: Any = None, **request: Any) -> Completion:
        known = {"kind": "bedrock", "model": "anthropic.claude:0", "base_url": self._service.url, "timeout": timeout}
        client = Bedrock(Target.model_validate({"name": "claude", **known, **(target or {})}))
        self._clients.append(client)
        messages = turns or (Message(role="user", content="Why?"),)
        return await client.complete(LlmRequest(task="acme.ask", messages=messages, **request))

    async def fails(self, **more: Any) -> Failure:
        with pytest.raises(Failure) as caught:
            await self(**more)
        return caught.value

    async def close(self) -> None:
        for client in self._clients:
            await client.close()


@pytest.fixture
async def ask(service: ConverseServer) -> AsyncIterator[Asking]:
    asking = Asking(service)
    yield asking
    service.released.set()
    await asking.close()


STREAM = {"stream": True}


async def test_a_conversation_is_signed_and_sent_in_converses_form(ask: Asking, service: ConverseServer) -> None:
    service.completes("Because.")
    turns = [("system", "Be brief."), ("user", "Hello."), ("user", "Why?"), ("assistant", "What?"), ("user", "That.")]

    done = await ask(*(Message(role=role, content=text) for role, text in turns), max_output_tokens=50)  # type: ignore[arg-type]

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

    failure = await ask.fails(target={"stream": stream})

    assert (failure.code, failure.retryable, failure.delay) == (code, retryable, 7)
    assert failure.message == f"The target claude answered {name}: {message}"
    assert len(service.received) == 1


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


# --- streams ---------------------------------------------------------------------------------------------------------


async def test_a_stream_adds_up_to_the_answer(ask: Asking, service: ConverseServer) -> None:
    service.streams(*answer("Be", "cause", " – so."))

    done = await ask(target=STREAM)

    assert (done.text, done.usage.total, service.received[0][1]) == ("Because – so.", 17, "converse-stream")


@pytest.mark.parametrize(
    ("kind", "message", "code"),
    [
        ("throttlingException", "Too many tokens, please wait", "throttled"),
        ("serviceUnavailableException", "busy", "overloaded"),
        ("modelStreamErrorException", "it broke", "overloaded"),
        ("internalServerException", "oops", "overloaded"),
        ("validationException", "prompt is too long: 210000 tokens", "context_too_long"),
    ],
)
@pytest.mark.parametrize("before", [0, 3])
async def test_an_exception_in_a_stream_is_known_by_its_name(
    ask: Asking, service: ConverseServer, kind: str, message: str, code: str, before: int
) -> None:
    service.streams(*answer("Be", "cause")[:before], exception(kind, message))

    failure = await ask.fails(target=STREAM)

    assert (failure.code, len(service.received)) == (code, 1)
    assert message in failure.message


async def test_a_stream_that_breaks_off_is_no_answer(ask: Asking, service: ConverseServer) -> None:
    frames = answer("Be", "cause")
    service.streams(*frames[:3], ends=False)
    service.streams(*frames[:3])
    service.streams(frames[0][:-4] + b"\0\0\0\0", *frames[1:])  # a wrong checksum

    failures = [await ask.fails(target=STREAM) for _ in range(3)]

    assert [failure.code for failure in failures] == ["transport"] * 3


async def test_a_stream_that_never_ends_is_left_at_the_timeout(ask: Asking, service: ConverseServer) -> None:
    service.streams(event("messageStart", role="assistant"), service.released, *answer("late")[1:])

    failure = await ask.fails(target=STREAM, timeout=0.3)

    assert (failure.code, failure.message) == ("transport", "The target claude did not answer within 0.3 s")


async def test_the_thread_of_a_stream_that_nobody_waits_for_hangs_up(ask: Asking, service: ConverseServer) -> None:
    service.drips(event("contentBlockDelta", contentBlockIndex=0, delta={"text": "x"}))

    failure = await ask.fails(target=STREAM, timeout=0.3)

    assert failure.code == "transport"
    await eventually(service.left.is_set)


# --- what is not there -----------------------------------------------------------------------------------------------


async def test_a_service_that_is_not_there_or_is_another_one_is_a_matter_of_transport(
    ask: Asking, service: ConverseServer
) -> None:
    service.sends(b"<html>hello</html>")

    other, nowhere = await ask.fails(), await ask.fails(target={"base_url": "http://127.0.0.1:1"})

    assert (other.code, nowhere.code) == ("transport", "transport")


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


async def test_who_gives_up_is_not_waited_for(ask: Asking, service: ConverseServer) -> None:
    service.streams(event("messageStart", role="assistant"), service.released, *answer("late")[1:])

    asking = asyncio.create_task(ask(target=STREAM))
    await eventually(lambda: service.received)
    asking.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asking


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
