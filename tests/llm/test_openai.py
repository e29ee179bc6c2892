"""The openai provider, through the real SDK, against a server that speaks the real wire format."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from pydantic import SecretStr

from stenobus_contracts import LlmRequest, Message, TokenUsage
from stenobus_llm.failures import Failure
from stenobus_llm.providers import Completion
from stenobus_llm.providers.openai import OpenAI
from stenobus_llm.settings import Target

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"answer": {"type": "integer"}},
    "required": ["answer"],
    "additionalProperties": False,
}
Ask = Callable[..., Any]


def request(**changes: Any) -> LlmRequest:
    fields: dict[str, Any] = {"task": "acme.ask", "messages": (Message(role="user", content="Why?"),), **changes}
    return LlmRequest(**fields)


@pytest.fixture
def ask(server: Any) -> Ask:
    async def ask(request: LlmRequest, **target: Any) -> Completion:
        options = {"name": "test", "model": "asked-model", "base_url": server.url, "timeout": 5, **target}
        provider = OpenAI(Target(**options))
        try:
            return await provider.complete(request)
        finally:
            await provider.close()

    return ask


async def failure(ask: Ask, asked: LlmRequest | None = None, **target: Any) -> Failure:
    with pytest.raises(Failure) as caught:
        await ask(asked or request(), **target)
    return caught.value


async def test_a_completion_comes_with_what_the_server_says_of_it(server: Any, ask: Ask) -> None:
    server.completes("Because.")

    completion = await ask(request(max_output_tokens=50, temperature=0.5), api_key=SecretStr("sk-secret"))

    assert completion == Completion(
        text="Because.", model="served-model", finish_reason="stop", usage=TokenUsage(input=12, output=5)
    )
    [received] = server.received
    assert received.headers["authorization"] == "Bearer sk-secret"
    assert received.body == {
        "model": "asked-model",
        "messages": [{"role": "user", "content": "Why?"}],
        "temperature": 0.5,
        "max_completion_tokens": 50,
    }


async def test_usage_that_the_server_does_not_report_is_estimated_and_says_so(server: Any, ask: Ask) -> None:
    server.completes("x" * 35, usage=None)

    completion = await ask(request())

    assert completion.usage == TokenUsage(input=6, output=10, estimated=True)


async def test_without_a_model_name_the_first_one_the_server_lists_is_asked_once(server: Any) -> None:
    provider = OpenAI(Target(name="test", base_url=server.url))
    server.completes("one")
    server.completes("two")

    await provider.complete(request())
    await provider.complete(request())
    await provider.close()

    assert [received.path for received in server.received] == [
        "/v1/models",
        "/v1/chat/completions",
        "/v1/chat/completions",
    ]
    assert server.received[-1].body["model"] == "first-model"


async def test_a_server_that_lists_no_model_says_what_to_set(server: Any, ask: Ask) -> None:
    server.models = []

    assert "set the target's model" in (await failure(ask, model=None)).message


async def test_fields_are_added_and_left_out_as_the_target_says(server: Any, ask: Ask) -> None:
    server.completes("ok")

    await ask(
        request(max_output_tokens=9),
        extra={"max_tokens": 9, "chat_template_kwargs": {"enable_thinking": False}},
        omit={"temperature", "max_completion_tokens"},
    )

    assert server.received[0].body == {
        "model": "asked-model",
        "messages": [{"role": "user", "content": "Why?"}],
        "max_tokens": 9,
        "chat_template_kwargs": {"enable_thinking": False},
    }


# --- keys ------------------------------------------------------------------------------------------------------------


async def test_a_target_without_a_key_never_gets_the_key_of_another(
    server: Any, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-openai")
    server.completes("ok")

    await ask(request())

    assert "sk-of-openai" not in server.received[0].headers["authorization"]


async def test_the_key_comes_from_a_named_variable_or_a_file(
    server: Any, ask: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("ACME_KEY", "from-variable")
    (tmp_path / "key").write_text("from-file\n")
    server.completes("ok")
    server.completes("ok")

    await ask(request(), api_key_env="ACME_KEY")
    await ask(request(), api_key_file=tmp_path / "key")

    assert [received.headers["authorization"] for received in server.received] == [
        "Bearer from-variable",
        "Bearer from-file",
    ]


@pytest.mark.parametrize("named", [{"api_key_env": "ACME_KEY"}, {"api_key_file": "/nonexistent/key"}])
async def test_a_key_that_is_named_but_missing_is_an_auth_failure(ask: Ask, named: dict[str, str]) -> None:
    failed = await failure(ask, **named)

    assert (failed.code, failed.retryable) == ("auth", False)
    assert str(*named.values()) in failed.message


async def test_a_refused_key_is_not_repeated_even_if_the_server_repeats_it(server: Any, ask: Ask) -> None:
    server.fails(401, "Incorrect API key provided: sk-secret.", "invalid_api_key")

    failed = await failure(ask, api_key=SecretStr("sk-secret"))

    assert (failed.code, failed.retryable) == ("auth", False)
    assert "sk-secret" not in failed.message


# --- failures --------------------------------------------------------------------------------------------------------


async def test_throttling_says_how_long_to_wait_and_the_sdk_does_not_retry(server: Any, ask: Ask) -> None:
    server.fails(429, "Rate limit reached.", "rate_limit_exceeded", Retry_After="7")

    failed = await failure(ask)

    assert (failed.code, failed.retryable, failed.delay) == ("throttled", True, 7.0)
    assert len(server.received) == 1


async def test_retry_after_may_be_a_date(server: Any, ask: Ask) -> None:
    server.fails(429, Retry_After=format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True))

    assert 80 < ((await failure(ask)).delay or 0) <= 90


@pytest.mark.parametrize(("value", "delay"), [("-5", 0.0), ("99999", 600.0), ("soon", None), ("nan", None)])
async def test_a_retry_after_that_makes_no_sense_is_put_right(server: Any, ask: Ask, value: str, delay: Any) -> None:
    server.fails(429, Retry_After=value)

    assert (await failure(ask)).delay == delay


async def test_a_spent_quota_does_not_come_back_by_waiting(server: Any, ask: Ask) -> None:
    server.fails(429, "You exceeded your current quota.", "insufficient_quota")

    failed = await failure(ask)

    assert (failed.code, failed.retryable) == ("throttled", False)


@pytest.mark.parametrize(
    ("status", "message", "code", "expected"),
    [
        (500, "Internal error", None, "overloaded"),
        (503, "The engine is overloaded", None, "overloaded"),
        (529, "Overloaded", None, "overloaded"),
        (408, "Request timeout", None, "transport"),
    ],
)
async def test_what_may_pass_is_retryable_and_asked_once(
    server: Any, ask: Ask, status: int, message: str, code: str | None, expected: str
) -> None:
    server.fails(status, message, code)

    failed = await failure(ask)

    assert (failed.code, failed.retryable) == (expected, True)
    assert len(server.received) == 1


@pytest.mark.parametrize(
    ("status", "message", "code", "expected"),
    [
        (400, "This model's maximum context length is 8192 tokens.", "context_length_exceeded", "context_too_long"),
        (400, "max_completion_tokens=9000 cannot be greater than max_model_len=8192.", None, "context_too_long"),
        (413, "Request too large", None, "context_too_long"),
        (400, "The response was filtered", "content_filter", "content_filter"),
        (400, "Unsupported value: temperature", "unsupported_value", "bad_request"),
        (403, "Country not supported", None, "auth"),
        (404, "The model `nope` does not exist.", "model_not_found", "bad_request"),
    ],
)
async def test_what_will_never_pass_is_not_retryable(
    server: Any, ask: Ask, status: int, message: str, code: str | None, expected: str
) -> None:
    server.fails(status, message, code)

    failed = await failure(ask)

    assert (failed.code, failed.retryable) == (expected, False)
    assert message in failed.message


async def test_an_answer_that_breaks_off_is_a_transport_failure(server: Any, ask: Ask) -> None:
    server.breaks_off()

    assert (await failure(ask)).code == "transport"


@pytest.mark.parametrize("body", [b"{not json", b"<html>Bad gateway</html>", b"", b"[]", b"{}", b'{"choices": []}'])
async def test_an_answer_that_is_no_completion_is_a_transport_failure(server: Any, ask: Ask, body: bytes) -> None:
    server.sends(200, body)

    assert (await failure(ask)).code == "transport"


async def test_a_server_that_drips_bytes_is_given_up_when_the_time_is_over(server: Any, ask: Ask) -> None:
    released = asyncio.Event()
    server.drips(released)

    failed = await failure(ask, timeout=0.3)
    released.set()

    assert (failed.code, failed.retryable) == ("transport", True)
    assert "0.3 s" in failed.message


async def test_a_server_that_is_not_there_is_a_transport_failure(ask: Ask) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and never listening: nobody answers there
        failed = await failure(ask, base_url=f"http://127.0.0.1:{taken.getsockname()[1]}/v1")

    assert (failed.code, failed.retryable) == ("transport", True)
    assert "cannot be reached" in failed.message


async def test_a_cut_off_answer_is_truncated_and_what_it_cost_is_known(server: Any, ask: Ask) -> None:
    server.completes('{"answer": 4', finish="length", usage=(12, 50))

    failed = await failure(ask, request(response_schema=SCHEMA, max_output_tokens=50))

    assert (failed.code, failed.retryable) == ("truncated", False)
    assert (failed.text, failed.usage, failed.finish_reason) == (
        '{"answer": 4',
        TokenUsage(input=12, output=50),
        "length",
    )


@pytest.mark.parametrize("answer", [{"finish": "content_filter"}, {"refusal": "I cannot help with that."}])
async def test_a_declined_request_is_a_content_filter_failure(server: Any, ask: Ask, answer: dict[str, str]) -> None:
    server.completes(None, **answer)

    failed = await failure(ask)

    assert (failed.code, failed.usage) == ("content_filter", TokenUsage(input=12, output=5))


# --- structured output -----------------------------------------------------------------------------------------------


async def test_a_schema_is_sent_and_the_answer_parsed(server: Any, ask: Ask) -> None:
    server.completes('{"answer": 42}')

    completion = await ask(request(response_schema=SCHEMA))

    assert completion.data == {"answer": 42}
    assert server.received[0].body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "acme_ask", "schema": SCHEMA, "strict": True},
    }


async def test_a_schema_that_strict_mode_refuses_is_sent_without_it(server: Any, ask: Ask) -> None:
    server.completes("{}")
    # Properties that are called like keywords are properties all the same.
    schema = {"type": "object", "properties": {"required": {"type": "string"}, "properties": {"type": "string"}}}

    await ask(request(response_schema=schema))

    assert server.received[0].body["response_format"]["json_schema"]["strict"] is False


@pytest.mark.parametrize(("mode", "format"), [("json_object", {"type": "json_object"}), ("prompt", None)])
async def test_a_target_without_schemas_is_told_in_words(server: Any, ask: Ask, mode: str, format: Any) -> None:
    server.completes('```json\n{"answer": 42}\n```')

    completion = await ask(request(response_schema=SCHEMA), structured=mode)

    body = server.received[0].body
    assert completion.data == {"answer": 42}
    assert body.get("response_format") == format
    assert json.dumps(SCHEMA) in body["messages"][0]["content"]


async def test_bounds_are_put_where_the_schema_has_none(server: Any, ask: Ask) -> None:
    server.completes('{"ids": []}')
    schema = {"type": "object", "properties": {
        "ids": {"type": "array", "items": {"type": "string", "pattern": r"^I\d{3,}$"}},
        "few": {"type": "array", "items": {"type": "string"}, "maxItems": 2},
        "start": {"anyOf": [{"type": "number", "minimum": 0}, {"type": "null"}]},
    }}  # fmt: skip

    await ask(request(response_schema=schema), bound_items=5, bound_characters=80)

    schema = server.received[0].body["response_format"]["json_schema"]["schema"]
    sent = schema["properties"]
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["ids", "few", "start"]
    assert sent["ids"] == {"type": "array", "items": {"type": "string", "pattern": r"^I\d{3,9}$"}, "maxItems": 5}
    assert sent["start"] == {"anyOf": [{"type": "number", "minimum": 0, "maximum": 1e9}, {"type": "null"}]}
    assert sent["few"] == {"type": "array", "items": {"type": "string", "maxLength": 80}, "maxItems": 2}


@pytest.mark.parametrize("text", ["I think it is 42.", '{"answer": "42"}', '{"answer": NaN}', "[" * 100_000, ""])
async def test_an_answer_that_breaks_its_schema_is_refused_with_its_text_and_cost(
    server: Any, ask: Ask, text: str
) -> None:
    server.completes(text)

    failed = await failure(ask, request(response_schema=SCHEMA))

    assert (failed.code, failed.retryable, failed.text) == ("invalid_answer", False, text)
    assert failed.usage == TokenUsage(input=12, output=5)


async def test_what_utf8_cannot_spell_is_replaced(server: Any, ask: Ask) -> None:
    schema = {"type": "object", "properties": {"text": {"type": "string"}}}
    server.completes('{"text": "a\\ud800b\x1bc"}')
    server.completes("lone \ud800 half")

    assert (await ask(request(response_schema=schema))).data == {"text": "a?b\x1bc"}
    assert (await ask(request())).text == "lone ? half"


async def test_a_schema_that_is_none_is_refused_before_anything_is_sent(server: Any, ask: Ask) -> None:
    failed = await failure(ask, request(response_schema={"type": "strange"}))

    assert failed.code == "bad_request"
    assert server.received == []


async def test_a_schema_never_makes_the_validator_fetch_something(server: Any, ask: Ask) -> None:
    server.completes('{"answer": 42}')
    schema = {"properties": {"answer": {"$ref": f"{server.url}/evil.json"}}}

    failed = await failure(ask, request(response_schema=schema))

    assert failed.code == "bad_request"
    assert [received.path for received in server.received] == ["/v1/chat/completions"]
