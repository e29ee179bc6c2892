"""A server's own count of a prompt, where an estimate might be wrong about its window."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from click.testing import CliRunner

from stenobus_contracts import BlobRef, LlmDone, LlmRequest, Message, Tool, ToolCall
from stenobus_llm import tokens
from stenobus_llm.cli import llm
from stenobus_llm.router import Router
from stenobus_llm.selection import candidates, uncertain
from stenobus_llm.settings import Settings, Target

from .chat import OpenAIServer

#: 1000 estimated tokens, and 4 of the chat template.
PROMPT = "x" * 3500


def request(text: str = PROMPT, **changes: Any) -> LlmRequest:
    return LlmRequest(task="acme.ask", messages=(Message(role="user", content=text),), **changes)


def target(server: OpenAIServer, name: str = "model", **changes: Any) -> Target:
    options = {"context_window": 900, "tokenise": True, "model": "m", "base_url": server.url, "timeout": 5}
    return Target(**{"name": name, **options, **changes})


async def answer(settings: Settings, asked: LlmRequest) -> LlmDone:
    router = Router(settings)
    try:
        return (await router.answer(asked)).done(asked, "request-1")
    finally:
        await router.close()


def paths(server: OpenAIServer) -> list[str]:
    return [received.path for received in server.received]


def test_tools_calls_and_images_are_part_of_the_estimate() -> None:
    plain = tokens.estimate(request())
    call = ToolCall(id="1", name="time", arguments="x" * 346)
    image = BlobRef(uri="file:///a", sha256="0" * 64, size=1)
    turns = (*request().messages, Message(role="assistant", content="", tool_calls=(call,)))

    assert plain == 1004
    assert tokens.estimate(request(tools=(Tool(name="time", description="x" * 3500),))) > plain + 1000
    assert tokens.estimate(request().model_copy(update={"messages": turns})) == plain + 100 + tokens.PER_MESSAGE
    shown = request().messages[0].model_copy(update={"images": (image, image)})
    assert tokens.estimate(request().model_copy(update={"messages": (shown,)})) == plain + 2 * tokens.PER_IMAGE


async def test_a_prompt_that_fits_after_all_is_answered(server: OpenAIServer) -> None:
    server.counts = 800
    server.completes("ok")

    done = await answer(Settings(targets=(target(server),)), request())

    assert (done.text, paths(server)) == ("ok", ["/tokenize", "/v1/chat/completions"])


async def test_a_prompt_that_does_not_fit_after_all_is_refused_with_its_count(server: OpenAIServer) -> None:
    server.counts = 1300

    done = await answer(Settings(targets=(target(server, context_window=1200),)), request())

    assert done.error is not None and done.error.code == "context_too_long"
    assert "1300 tokens (counted)" in done.error.message and "1200" in done.error.message
    assert paths(server) == ["/tokenize"]


async def test_the_answers_room_counts(server: OpenAIServer) -> None:
    server.counts = 800

    done = await answer(Settings(targets=(target(server),)), request(max_output_tokens=101))

    assert done.error is not None and "901 tokens with 101 for the answer (counted)" in done.error.message


async def test_a_server_that_does_not_count_leaves_the_estimate(server: OpenAIServer) -> None:
    server.completes("ok")

    far = await answer(Settings(targets=(target(server, context_window=1100),)), request())
    near = await answer(Settings(targets=(target(server),)), request())

    assert far.text == "ok"
    assert near.error is not None and "1004 tokens (estimated)" in near.error.message


async def test_a_fallback_is_chosen_by_its_own_count(server: OpenAIServer) -> None:
    server.counts = 800
    server.fails(503)
    server.completes("ok")
    first = target(server, "first", context_window=None, tokenise=False)
    settings = Settings(targets=(first, target(server, "second")), fallback={"overloaded": ("second",)})

    assert (await answer(settings, request())).provider == "second"


async def test_what_is_counted_is_what_would_be_sent(server: OpenAIServer) -> None:
    server.counts = 800
    server.completes("ok")
    thinking = {"chat_template_kwargs": {"enable_thinking": False}}
    ready = target(server, capabilities={"tools"}, extra=thinking)

    await answer(Settings(targets=(ready,)), request(tools=(Tool(name="time"),)))

    counted, asked = (received.body for received in server.received)
    assert set(counted) == {"model", "messages", "tools", "chat_template_kwargs"}
    assert counted.items() <= asked.items()


@pytest.mark.parametrize(
    ("target_changes", "asked"),
    [
        pytest.param({"tokenise": False}, request(), id="not wanted"),
        pytest.param({"context_window": None}, request(), id="no window"),
        pytest.param({"context_window": 2000}, request(), id="far below"),
        pytest.param({"context_window": 500}, request(), id="far above"),
        pytest.param({"tasks": ("other",)}, request(), id="reserved"),
        pytest.param({"below_tokens": 100}, request(), id="other band"),
        pytest.param({}, request(needs=("vision",)), id="not able"),
        pytest.param({"local": False}, request(local_only=True), id="must not leave"),
        pytest.param({"local": False}, request(), id="would be redacted"),
        pytest.param({}, request(target="extractive"), id="another one named"),
    ],
)
def test_nobody_is_shown_a_prompt_without_need(server: OpenAIServer, target_changes: Any, asked: LlmRequest) -> None:
    assert uncertain(Settings(targets=(target(server),)), request()) != []

    assert uncertain(Settings(targets=(target(server, **target_changes),)), asked) == []


def test_pictures_are_not_counted(server: OpenAIServer) -> None:
    image = BlobRef(uri="file:///a", sha256="0" * 64, size=1)
    shown = LlmRequest(task="acme.ask", messages=(Message(role="user", content=PROMPT, images=(image,)),))

    assert uncertain(Settings(targets=(target(server, capabilities={"vision"}),)), shown) == []


def test_a_named_target_counts_whatever_its_band(server: OpenAIServer) -> None:
    banded = target(server, below_tokens=100)

    assert uncertain(Settings(targets=(banded,)), request(target="model")) == [banded]


def test_the_choice_itself_asks_nobody(server: OpenAIServer) -> None:
    settings = Settings(targets=(target(server),))

    [by_estimate, _], [by_count, _] = (
        candidates(settings, request()),
        candidates(settings, request(), counted={"model": 800}),
    )

    assert by_estimate.refusal is not None and by_count.refusal is None
    assert server.received == []


def test_only_servers_of_kind_openai_may_tokenise() -> None:
    with pytest.raises(ValueError, match="cannot tokenise"):
        Target(name="claude", kind="bedrock", model="m", tokenise=True)


async def test_explain_counts_when_it_is_told_to(server: OpenAIServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.counts = 800
    settings = {"name": "model", "base_url": server.url, "model": "m", "context_window": 900, "tokenise": True}
    monkeypatch.setenv("STENOBUS_LLM_TARGETS", json.dumps([settings]))

    async def explain(*options: str) -> Any:
        return await asyncio.to_thread(CliRunner().invoke, llm, ["explain", "-", *options], input=PROMPT)

    offline, counted = await explain(), await explain("--count")
    document = json.loads((await explain("--count", "--json")).stdout)

    assert (offline.exit_code, counted.exit_code) == (1, 0)
    assert "model counts 800 tokens" in counted.stdout and "→ model" in counted.stdout
    assert (document["tokens"], document["counted"], document["target"]) == (1004, {"model": 800}, "model")
    assert paths(server) == ["/tokenize"] * 2
