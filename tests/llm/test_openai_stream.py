"""Streamed answers of the openai provider: the same as those in one, whatever happens on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from stenobus_contracts import LlmRequest, Message, TokenUsage
from stenobus_llm.failures import Failure
from stenobus_llm.providers import Completion
from stenobus_llm.providers.openai import OpenAI
from stenobus_llm.providers.openai import answer as limits
from stenobus_llm.providers.openai import http as wire
from stenobus_llm.providers.openai.events import Events
from stenobus_llm.providers.openai.wire import Malformed
from stenobus_llm.settings import Target
from stenobus_testing.waiting import DEADLINE, Gate, eventually, still

from .chat import CUT, DONE, OpenAIServer, delta, error, finish, usage

SCHEMA: dict[str, Any] = {"type": "object", "properties": {"answer": {"type": "integer"}}, "required": ["answer"]}


def request(**changes: Any) -> LlmRequest:
    return LlmRequest(task="acme.ask", messages=(Message(role="user", content="Why?"),), **changes)


class Listener:
    """Asks, and keeps the pieces it hears."""

    def __init__(self, server: OpenAIServer) -> None:
        self._server = server
        self.pieces: list[str] = []

    async def hear(self, text: str) -> None:
        self.pieces.append(text)

    async def ask(
        self, asked: LlmRequest | None = None, hear: Callable[[str], Awaitable[None]] | None = None, **target: Any
    ) -> Completion:
        provider = OpenAI(Target(**{"name": "test", "model": "m", "base_url": self._server.url, "timeout": 5} | target))
        try:
            return await provider.complete(asked or request(), hear or self.hear)
        finally:
            await provider.close()

    async def failure(self, asked: LlmRequest | None = None, **target: Any) -> Failure:
        with pytest.raises(Failure) as caught:
            await self.ask(asked, **target)
        return caught.value


@pytest.fixture
def listener(server: OpenAIServer) -> Listener:
    return Listener(server)


async def test_pieces_come_in_order_and_the_answer_is_all_of_them(server: OpenAIServer, listener: Listener) -> None:
    server.streams("Be", "cau", "se.")

    completion = await listener.ask()

    assert listener.pieces == ["Be", "cau", "se."]
    assert completion == Completion(
        text="Because.", model="served-model", finish_reason="stop", usage=TokenUsage(input=12, output=5)
    )
    [received] = server.received
    assert (received.body["stream"], received.body["stream_options"]) == (True, {"include_usage": True})


async def test_a_piece_is_heard_before_the_answer_ends(server: OpenAIServer, listener: Listener) -> None:
    released = asyncio.Event()
    server.streams_steps(delta("Be"), released, delta("cause."), finish(), usage(), DONE)

    answer = asyncio.create_task(listener.ask())
    await eventually(lambda: listener.pieces == ["Be"])
    assert not answer.done()
    released.set()

    assert (await answer).text == "Because."


async def test_a_server_that_does_not_stream_answers_in_one(server: OpenAIServer, listener: Listener) -> None:
    server.completes("Because.")

    assert (await listener.ask()).text == "Because."
    assert listener.pieces == []


async def test_a_target_may_leave_out_what_asks_for_the_usage(server: OpenAIServer, listener: Listener) -> None:
    server.streams("x" * 35)

    completion = await listener.ask(omit={"stream_options"})

    assert "stream_options" not in server.received[0].body
    assert completion.usage == TokenUsage(input=6, output=10, estimated=True)


async def test_cached_tokens_are_known(server: OpenAIServer, listener: Listener) -> None:
    cached = usage(2000, 5, prompt_tokens_details={"cached_tokens": 1536, "audio_tokens": 0})
    server.streams_steps(delta("ok"), finish(), cached, DONE)

    assert (await listener.ask()).usage == TokenUsage(input=2000, output=5, cached=1536)


@pytest.mark.parametrize("count", ["many", -1, {"prompt_tokens": -3}, {"prompt_tokens": None}])
async def test_a_count_that_makes_no_sense_is_estimated(server: OpenAIServer, listener: Listener, count: Any) -> None:
    server.streams_steps(delta("x" * 35), finish(), {**usage(), "usage": count}, DONE)

    assert (await listener.ask()).usage == TokenUsage(input=6, output=10, estimated=True)


async def test_a_connection_is_used_again_after_a_stream(server: OpenAIServer) -> None:
    server.streams("one")
    server.streams("two")
    provider = OpenAI(Target(name="test", model="m", base_url=server.url))
    pieces: list[str] = []

    async def hear(text: str) -> None:
        pieces.append(text)

    await provider.complete(request(), hear)
    await provider.complete(request(), hear)
    await provider.close()

    assert (pieces, server.connections) == (["one", "two"], 1)


# --- treated as an answer in one -------------------------------------------------------------------------------------


async def test_an_answer_in_pieces_is_held_against_its_schema(server: OpenAIServer, listener: Listener) -> None:
    server.streams('{"ans', 'wer": 42}')
    server.streams('{"ans', 'wer": "42"}')

    assert (await listener.ask(request(response_schema=SCHEMA))).data == {"answer": 42}
    failed = await listener.failure(request(response_schema=SCHEMA))
    assert (failed.code, failed.text, failed.usage) == (
        "invalid_answer",
        '{"answer": "42"}',
        TokenUsage(input=12, output=5),
    )


async def test_an_answer_at_its_limit_is_truncated(server: OpenAIServer, listener: Listener) -> None:
    server.streams_steps(delta("Beca"), finish("length"), usage(12, 50), DONE)

    failed = await listener.failure()

    assert (failed.code, failed.text, failed.usage) == ("truncated", "Beca", TokenUsage(input=12, output=50))


@pytest.mark.parametrize(
    "steps", [(delta("I"), finish("content_filter")), (delta(refusal="I can"), delta(refusal="not."), finish())]
)
async def test_a_declined_answer_is_a_content_filter_failure(
    server: OpenAIServer, listener: Listener, steps: Any
) -> None:
    server.streams_steps(*steps, usage(), DONE)

    failed = await listener.failure()

    assert (failed.code, failed.usage) == ("content_filter", TokenUsage(input=12, output=5))


async def test_what_utf8_cannot_spell_is_replaced(server: OpenAIServer, listener: Listener) -> None:
    server.streams("lone \ud800 ", "half")

    assert (await listener.ask()).text == "lone ? half"
    assert listener.pieces == ["lone ? ", "half"]


# --- failures on the way ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "expected", "retryable"),
    [
        (error("Rate limit reached.", "rate_limit_exceeded", "tokens"), "throttled", True),
        (error("You exceeded your quota.", "insufficient_quota", "insufficient_quota"), "throttled", False),
        (error("Slow down.", "429", "throttling_error"), "throttled", True),
        (error("EngineCore died.", 500, "InternalServerError"), "overloaded", True),
        (error("The server had an error.", None, "server_error"), "overloaded", True),
        (error("Too many tokens.", 400, "BadRequestError"), "context_too_long", False),
        (error("maximum context length is 8192", "context_length_exceeded", "x"), "context_too_long", False),
        (error("The response was filtered.", "content_filter", "x"), "content_filter", False),
        (error("Wrong grammar.", None, "invalid_request_error"), "bad_request", False),
        (error("Wrong key.", None, "authentication_error"), "auth", False),
        ({"error": "it broke"}, "overloaded", True),
    ],
)
async def test_an_error_in_the_stream_has_its_class_and_what_was_written(
    server: OpenAIServer, listener: Listener, said: Any, expected: str, retryable: bool
) -> None:
    server.streams_steps(delta("x" * 35), said, DONE)

    failed = await listener.failure()

    assert (failed.code, failed.retryable) == (expected, retryable)
    assert (failed.text, failed.model) == ("x" * 35, "served-model")
    assert failed.usage == TokenUsage(input=6, output=10, estimated=True)
    assert listener.pieces == ["x" * 35]


@pytest.mark.parametrize("piece", [True, False])
async def test_an_error_with_a_good_status_is_a_refusal(server: OpenAIServer, listener: Listener, piece: bool) -> None:
    server.sends(200, error("No capacity.", 503))

    failed = await listener.failure()

    assert (failed.code, failed.usage, listener.pieces) == ("overloaded", TokenUsage(), [])


async def test_throttling_before_the_first_byte_says_how_long_to_wait(server: OpenAIServer, listener: Listener) -> None:
    server.fails(429, "Rate limit reached.", "rate_limit_exceeded", Retry_After="7")

    failed = await listener.failure()

    assert (failed.code, failed.delay, failed.usage) == ("throttled", 7.0, TokenUsage())


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param((delta("x" * 35), CUT), id="cut"),
        pytest.param((delta("x" * 35),), id="ended"),
        pytest.param((delta("x" * 35), DONE), id="done without a reason"),
        pytest.param((delta("x" * 35), b"data: {not json\n\n"), id="garbage"),
        pytest.param((delta("x" * 35), b'data: {"choices": 5}\n\n'), id="another shape"),
        pytest.param((delta("x" * 35), b"data: [[[[\n\n"), id="unclosed"),
        pytest.param((delta("x" * 35), b"data: \xff\xfe\n\n"), id="no text"),
        pytest.param((delta("x" * 35), b"data: " + b"[" * 100_000 + b"\n\n"), id="deep"),
    ],
)
async def test_a_stream_that_breaks_off_is_a_transport_failure_with_what_was_written(
    server: OpenAIServer, listener: Listener, steps: Any
) -> None:
    server.streams_steps(*steps)

    failed = await listener.failure()

    assert (failed.code, failed.retryable, failed.text) == ("transport", True, "x" * 35)
    assert failed.usage == TokenUsage(input=6, output=10, estimated=True)


async def test_nothing_but_a_good_status_is_a_transport_failure(server: OpenAIServer, listener: Listener) -> None:
    server.streams_steps()

    failed = await listener.failure()

    assert (failed.code, failed.usage, failed.text) == ("transport", TokenUsage(), "")


@pytest.mark.parametrize("last", [(CUT,), (), (usage(),)])
async def test_a_complete_answer_stands_even_if_the_end_of_its_stream_is_missing(
    server: OpenAIServer, listener: Listener, last: Any
) -> None:
    server.streams_steps(delta("Because."), finish(), *last)

    completion = await listener.ask()

    assert (completion.text, completion.usage.estimated) == ("Because.", last != (usage(),))


async def test_a_complete_answer_stands_even_if_its_server_then_falls_silent(
    server: OpenAIServer, listener: Listener
) -> None:
    never = asyncio.Event()
    server.streams_steps(delta("Because."), finish(), never)

    async with asyncio.timeout(DEADLINE):
        completion = await listener.ask(silence=1, timeout=300)

    assert (completion.text, completion.usage.estimated) == ("Because.", True)


async def test_silence_in_the_middle_is_a_transport_failure(server: OpenAIServer, listener: Listener) -> None:
    never = asyncio.Event()
    server.streams_steps(delta("x" * 35), never)

    async with asyncio.timeout(DEADLINE):
        failed = await listener.failure(silence=0.2, timeout=300)

    assert (failed.code, failed.text) == ("transport", "x" * 35)
    assert "silent for 0.2 s" in failed.message


async def test_the_first_piece_may_take_longer_than_a_silence(server: OpenAIServer, listener: Listener) -> None:
    released = asyncio.Event()
    server.streams_steps(delta("", role="assistant"), released, delta("ok"), finish(), DONE)

    answer = asyncio.create_task(listener.ask(silence=0.6))
    await still(lambda: not answer.done(), 0.8)
    released.set()

    assert (await answer).text == "ok"


async def test_a_stream_that_goes_on_and_on_ends_with_the_timeout(server: OpenAIServer, listener: Listener) -> None:
    never = asyncio.Event()
    server.streams_steps(delta("", role="assistant"), never)

    failed = await listener.failure(timeout=0.3)

    assert failed.code == "transport"
    assert "0.3 s" in failed.message


# --- who takes the pieces --------------------------------------------------------------------------------------------


async def test_a_slow_listener_loses_nothing_and_costs_the_server_no_time(
    server: OpenAIServer, listener: Listener
) -> None:
    gate = Gate()
    texts = [f"{number} " for number in range(200)]
    server.streams(*texts)

    async def slow(text: str) -> None:
        if not listener.pieces:
            await gate()
        listener.pieces.append(text)

    answer = asyncio.create_task(listener.ask(hear=slow, timeout=1.2, silence=0.8))
    await still(lambda: not answer.done(), 1.5)
    gate.open()

    assert (await answer).text == "".join(texts)
    assert listener.pieces == texts


@pytest.mark.parametrize("own", [TimeoutError("its own"), ValueError("its own"), ConnectionError("its own")])
async def test_a_listeners_own_error_is_not_the_servers(
    server: OpenAIServer, listener: Listener, own: Exception
) -> None:
    async def broken(text: str) -> None:
        raise own

    server.streams("Because.")

    with pytest.raises(type(own), match="its own"):
        await listener.ask(hear=broken)


async def test_who_no_longer_wants_the_answer_hangs_up(server: OpenAIServer, listener: Listener) -> None:
    released = asyncio.Event()
    server.streams_steps(delta("Be"), released, delta("cause."))
    provider = OpenAI(Target(name="test", model="m", base_url=server.url))
    answer = asyncio.create_task(provider.complete(request(), listener.hear))
    await eventually(lambda: listener.pieces == ["Be"])

    answer.cancel()

    with pytest.raises(asyncio.CancelledError):
        await answer
    released.set()
    await eventually(lambda: server.open == 0)
    await provider.close()


# --- bounds ----------------------------------------------------------------------------------------------------------


async def test_a_text_beyond_any_answer_is_truncated(
    server: OpenAIServer, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LONGEST", 1000)
    server.streams(*["x" * 100] * 20)

    failed = await listener.failure()

    assert (failed.code, failed.retryable, len(failed.text)) == ("truncated", False, 1100)


async def test_a_response_beyond_all_bounds_is_not_read(
    server: OpenAIServer, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "MOST", 10_000)
    server.streams_steps(*[delta("")] * 200, finish(), DONE)

    failed = await listener.failure()

    assert failed.code == "transport"
    assert "larger than 10000 bytes" in failed.message


async def test_a_compressed_response_is_refused_before_it_unfolds(server: OpenAIServer, listener: Listener) -> None:
    server.sends(200, b"\x1f\x8b" + b"\0" * 50, {"Content-Encoding": "gzip"})

    failed = await listener.failure()

    assert server.received[0].headers["accept-encoding"] == "identity"
    assert failed.code == "transport"
    assert "compressed" in failed.message


async def test_of_a_huge_error_the_beginning_is_read(server: OpenAIServer, listener: Listener) -> None:
    server.sends(503, b"Out of order. " + b"x" * 5_000_000)

    failed = await listener.failure()

    assert failed.code == "overloaded"
    assert "Out of order." in failed.message and len(failed.message) <= 600


# --- events ----------------------------------------------------------------------------------------------------------


STREAM = (
    b": hello\ndata: one\n\nevent: x\r\ndata:two\r\ndata: more\r\n\r\nid: 7\r\rdata: three\r\r"
    b'data: "\xc3\xa9\xe2\x80\xa8"\n\ndata: cut'
)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_events_are_found_however_the_bytes_are_cut(size: int) -> None:
    events = Events()

    found = [event for start in range(0, len(STREAM), size) for event in events.feed(STREAM[start : start + size])]

    assert found == [b"one", b"two\nmore", b"three", b'"\xc3\xa9\xe2\x80\xa8"']


@pytest.mark.parametrize(
    "part", [b"x" * 100_000, b"data: " + b"x" * 100_000 + b"\n", b":\n" * 10 + b"data: xxxxxx\n" * 99]
)
def test_an_event_without_an_end_is_bounded(part: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stenobus_llm.providers.openai.events.LARGEST", 500_000)
    events = Events()

    with pytest.raises(Malformed, match="larger than 500000"):
        for _ in range(1000):
            list(events.feed(part))
