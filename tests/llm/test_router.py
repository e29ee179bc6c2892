"""Who is asked, who is asked next, and what the asker hears."""

from __future__ import annotations

import asyncio
import threading
from decimal import Decimal
from typing import Any

import pytest

from stenobus_contracts import EXTRACT, ExtractInputs, LlmDone, LlmRequest, Message, Segment, TokenUsage
from stenobus_llm.outcome import Outcome
from stenobus_llm.providers import Provider, build
from stenobus_llm.router import Router
from stenobus_llm.selection import candidates
from stenobus_llm.settings import Settings, Target
from stenobus_testing import eventually

INPUTS = ExtractInputs(
    title="Talk", segments=(Segment(id="S0001", text="The root cause was a full disk.", start=1.0, end=3.0),)
).model_dump(mode="json")


def request(task: str = "acme.ask", text: str = "Why?", **changes: Any) -> LlmRequest:
    return LlmRequest(task=task, messages=(Message(role="user", content=text),), **changes)


def settings(*targets: Target, **changes: Any) -> Settings:
    return Settings(targets=targets, **changes)


def target(server: Any, name: str = "model", **changes: Any) -> Target:
    return Target(name=name, base_url=server.url, model="m", timeout=60, **changes)


async def answer(settings: Settings, asked: LlmRequest) -> LlmDone:
    router = Router(settings)
    try:
        outcome: Outcome = await router.answer(asked)
    finally:
        await router.close()
    return outcome.done(asked, "request-1")


async def test_without_a_model_documents_are_answered_from_the_transcript() -> None:
    done = await answer(settings(), request(EXTRACT.name, inputs=INPUTS))

    assert (done.provider, done.method, done.cost_usd, done.error) == ("extractive", "extractive", Decimal(0), None)
    [item] = EXTRACT.output.model_validate(done.data).items  # type: ignore[attr-defined]
    assert (item.kind, item.evidence.segments) == ("cause", ("S0001",))


async def test_without_a_model_anything_else_is_refused_and_says_what_to_configure() -> None:
    done = await answer(settings(), request())

    assert done.error is not None
    assert (done.error.code, done.error.retryable, done.provider) == ("unsupported", False, "router")
    assert "OPENAI_BASE_URL" in done.error.message


async def test_a_configured_model_comes_before_extractive(server: Any) -> None:
    server.completes("{}")

    done = await answer(settings(target(server)), request(EXTRACT.name, inputs=INPUTS))

    assert (done.provider, done.method, done.model) == ("model", "model", "served-model")


async def test_others_go_on_while_a_client_library_is_loaded(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server.completes("ok")
    server.completes("ok")
    begun, may_end, built = threading.Event(), threading.Event(), []

    def load(wanted: Target) -> Provider:
        begun.set()
        assert may_end.wait(60), "the loop that would allow it is held up"
        built.append(wanted.name)
        return build(wanted)

    monkeypatch.setattr("stenobus_llm.router.build", load)
    router = Router(settings(target(server)))
    asking = [asyncio.create_task(router.answer(request(text=text))) for text in ("Why?", "When?")]
    await eventually(begun.is_set)
    may_end.set()
    assert {outcome.done(request(), "r").error for outcome in await asyncio.gather(*asking)} == {None}
    assert built == ["model"], "once for both"
    await router.close()


async def test_the_first_able_target_answers_and_the_others_say_why_not(server: Any) -> None:
    small, big = target(server, "small", context_window=100), target(server, "big")
    asked = request(text="x" * 3500)
    server.completes("ok")

    done = await answer(settings(small, big), asked)

    refused, taken, last = candidates(settings(small, big), asked)
    assert done.provider == "big"
    assert refused.refusal is not None and refused.refusal.code == "context_too_long"
    assert taken.refusal is None
    assert last.refusal is not None and last.refusal.code == "unsupported"


async def test_a_request_too_large_for_every_model_says_both_numbers(server: Any) -> None:
    done = await answer(settings(target(server, context_window=2000)), request(text="x" * 7000, max_output_tokens=500))

    assert done.error is not None and done.error.code == "context_too_long"
    assert "2504 tokens" in done.error.message and "2000" in done.error.message and "estimated" in done.error.message
    assert (server.received, done.cost_usd) == ([], 0)


async def test_the_asker_may_name_a_target(server: Any) -> None:
    server.completes("ok")

    done = await answer(settings(target(server, "a"), target(server, "b")), request(target="b"))

    assert done.provider == "b"


async def test_a_target_that_does_not_exist_is_named_with_those_that_do() -> None:
    done = await answer(settings(), request(target="gpt"))

    assert done.error is not None
    assert (done.error.code, done.error.message) == ("bad_request", "There is no target gpt; known are extractive.")


async def test_the_default_target_may_be_set(server: Any) -> None:
    server.completes("ok")

    done = await answer(settings(target(server, "a"), target(server, "b"), default="b"), request())

    assert done.provider == "b"


# --- failure and fallback --------------------------------------------------------------------------------------------


async def test_nobody_else_is_asked_unless_the_settings_say_so(server: Any) -> None:
    server.fails(503)

    done = await answer(settings(target(server, "a"), target(server, "b")), request())

    assert done.error is not None and (done.error.code, done.error.retryable) == ("overloaded", True)
    assert len(server.received) == 1


async def test_the_fallback_of_a_class_of_failure_is_asked_and_all_that_was_spent_counts(server: Any) -> None:
    prices = {"input_price_per_million": Decimal(1), "output_price_per_million": Decimal(2)}
    server.completes("half an ans", finish="length", usage=(100, 50))
    server.completes("whole", usage=(100, 60))

    done = await answer(
        settings(target(server, "a", **prices), target(server, "b", **prices), fallback={"truncated": ("b",)}),
        request(),
    )

    assert (done.provider, done.text, done.error) == ("b", "whole", None)
    assert done.usage == TokenUsage(input=200, output=110)
    assert done.cost_usd == Decimal("0.00042")


async def test_another_class_of_failure_has_no_fallback(server: Any) -> None:
    server.fails(401)

    done = await answer(settings(target(server, "a"), target(server, "b"), fallback={"overloaded": ("b",)}), request())

    assert done.error is not None and done.error.code == "auth"
    assert done.provider == "a"


async def test_fallbacks_are_asked_once_each_and_the_last_failure_is_told(server: Any) -> None:
    server.fails(503)
    server.fails(503, "the last one")

    done = await answer(
        settings(target(server, "a"), target(server, "b"), fallback={"overloaded": ("b", "a")}), request()
    )

    assert done.error is not None and "the last one" in done.error.message
    assert (done.provider, len(server.received)) == ("b", 2)


async def test_extractive_can_be_a_fallback_for_documents(server: Any) -> None:
    server.fails(503)

    done = await answer(
        settings(target(server), fallback={"overloaded": ("extractive",)}), request(EXTRACT.name, inputs=INPUTS)
    )

    assert (done.provider, done.method, done.error) == ("extractive", "extractive", None)


async def test_who_names_a_target_gets_no_other(server: Any) -> None:
    server.fails(503)

    done = await answer(
        settings(target(server, "a"), target(server, "b"), fallback={"overloaded": ("b",)}), request(target="a")
    )

    assert done.error is not None and done.provider == "a"


async def test_an_unknown_price_is_unknown_and_never_zero(server: Any) -> None:
    server.completes("ok")

    assert (await answer(settings(target(server)), request())).cost_usd is None


async def test_a_failure_keeps_the_text_and_the_reason_to_stop(server: Any) -> None:
    server.completes("half an ans", finish="length")

    done = await answer(settings(target(server)), request())

    assert done.error is not None and done.error.code == "truncated"
    assert (done.text, done.finish_reason, done.usage.total) == ("half an ans", "length", 17)


@pytest.mark.parametrize("inputs", [{}, {"title": "T", "segments": [{"id": "wrong", "text": "x"}]}])
async def test_inputs_of_the_wrong_shape_are_named(inputs: dict[str, Any]) -> None:
    done = await answer(settings(), request(EXTRACT.name, inputs=inputs))

    assert done.error is not None and done.error.code == "bad_request"
    assert done.error.message.startswith("The inputs of documents.extract are wrong at ")


async def test_a_document_task_without_inputs_is_refused() -> None:
    done = await answer(settings(), request(EXTRACT.name))

    assert done.error is not None and done.error.code == "unsupported"
