"""An invalid answer is mended by whoever gave it, twice at most."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from stenobus_contracts import LlmDone, LlmRequest, Message
from stenobus_llm.router import Router
from stenobus_llm.settings import Settings, Target
from stenobus_llm.structured import SHOWN

from .chat import OpenAIServer

SCHEMA: dict[str, Any] = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


class Asker:
    def __init__(self, server: OpenAIServer, **settings: Any) -> None:
        first = Target(name="first", base_url=server.url, model="m", context_window=8000)
        self.router = Router(Settings(targets=(first, Target(name="second", base_url=server.url)), **settings))

    async def ask(self, **fields: Any) -> LlmDone:
        fields = {"response_schema": SCHEMA, **fields}
        request = LlmRequest(task="acme.ask", messages=(Message(role="user", content="How many?"),), **fields)
        return (await self.router.answer(request)).done(request, "1")


@pytest.fixture
async def asker(server: OpenAIServer) -> AsyncIterator[Asker]:
    asker = Asker(server)
    yield asker
    await asker.router.close()


async def test_the_model_sees_its_answer_and_what_is_wrong_with_it(asker: Asker, server: OpenAIServer) -> None:
    server.completes('{"n": "three"}')
    server.completes('{"n": 3}')

    done = await asker.ask()

    assert (done.data, done.error, done.calls, done.repairs, done.usage.total) == ({"n": 3}, None, 2, 1, 34)
    question, wrong, complaint = server.received[1].body["messages"]
    assert (question["content"], wrong) == ("How many?", {"role": "assistant", "content": '{"n": "three"}'})
    assert "breaks the response_schema at n" in complaint["content"]
    assert server.received[1].body["response_format"] == server.received[0].body["response_format"]


async def test_only_the_last_error_is_sent(asker: Asker, server: OpenAIServer) -> None:
    server.completes("nothing like JSON")
    server.completes("[]")
    server.completes('{"n": 3}')

    done = await asker.ask()

    assert (done.data, done.repairs) == ({"n": 3}, 2)
    assert [message["content"] for message in server.received[2].body["messages"]][:2] == ["How many?", "[]"]


async def test_after_two_repairs_the_asker_hears_of_it(asker: Asker, server: OpenAIServer) -> None:
    for _ in range(3):
        server.completes("{}")

    done = await asker.ask()

    assert done.error is not None
    assert (done.error.code, done.error.final, done.calls, done.usage.total) == ("invalid_answer", True, 3, 51)
    assert done.text == "{}"


async def test_what_was_cut_off_is_not_invalid_and_is_not_asked_again(asker: Asker, server: OpenAIServer) -> None:
    server.completes('{"n": ', finish="length")

    done = await asker.ask()

    assert done.error is not None and (done.error.code, done.calls) == ("truncated", 1)


async def test_a_long_wrong_answer_goes_back_in_part(asker: Asker, server: OpenAIServer) -> None:
    server.completes("x" * 3 * SHOWN)
    server.completes('{"n": 3}')

    await asker.ask()

    assert server.received[1].body["messages"][1]["content"] == "x" * SHOWN


async def test_a_repair_that_would_not_fit_is_not_tried(asker: Asker, server: OpenAIServer) -> None:
    server.completes("x" * 3 * SHOWN)

    done = await asker.ask(max_output_tokens=7900)

    assert done.error is not None and (done.error.code, done.calls, done.repairs) == ("invalid_answer", 1, 0)


async def test_another_target_may_do_what_one_could_not_mend(server: OpenAIServer) -> None:
    asker = Asker(server, fallback={"invalid_answer": ("second",)})
    for text in ("a", "b", "c", '{"n": 3}'):
        server.completes(text)

    done = await asker.ask()
    await asker.router.close()

    assert (done.data, done.provider, done.calls, done.repairs) == ({"n": 3}, "second", 4, 2)


async def test_a_failure_while_mending_is_what_the_asker_hears(asker: Asker, server: OpenAIServer) -> None:
    server.completes("a")
    server.fails(503)

    done = await asker.ask()

    assert done.error is not None and (done.error.code, done.error.retryable) == ("overloaded", True)


async def test_an_answer_without_a_schema_is_never_invalid(asker: Asker, server: OpenAIServer) -> None:
    server.completes("nothing like JSON")

    assert (await asker.ask(response_schema=None)).error is None
