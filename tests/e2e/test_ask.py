"""``stenobus ask`` with a model behind an API, and with none."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stenobus_contracts import BlobRef, KbDocument
from stenobus_kb.chunk import chunks
from stenobus_kb.index import Index

from ..llm.chat import OpenAIServer
from .conftest import Stenobus

TEXT = "## Cause\n\nThe disk was full, because log rotation was off [00:01:05](file:///talk.wav#t=65).\n"


@pytest.fixture
def filled(stenobus: Stenobus) -> None:
    path = stenobus.folder / "kb.sqlite"
    stenobus.environment["STENOBUS_KB_PATH"] = str(path)
    content = BlobRef(uri="file:///talk.md", sha256="0" * 64, size=len(TEXT))
    document = KbDocument(id="talk", title="Full disk", uri="file:///talk.wav", content=content)
    index = Index(Path(path))
    index.put("documents", document, chunks(TEXT, "Full disk"))
    index.close()


@pytest.fixture
async def server(stenobus: Stenobus) -> AsyncIterator[OpenAIServer]:
    server = OpenAIServer()
    await server.start()
    stenobus.environment["STENOBUS_LLM_TARGETS"] = json.dumps(
        [{"name": "model", "model": "m", "base_url": server.url, "structured": "prompt"}]
    )
    yield server
    await server.stop()


def answers(server: OpenAIServer, *statements: tuple[str, str]) -> None:
    said = [{"text": text, "source": 1, "quote": quote} for text, quote in statements]
    server.completes(json.dumps({"answered": bool(said), "statements": said}))


async def test_an_answer_quotes_its_sources_and_keeps_to_them(
    stenobus: Stenobus, server: OpenAIServer, filled: None
) -> None:
    answers(server, ("Log rotation was off.", "log rotation was off"), ("It was DNS.", "it was DNS"))
    done = await asyncio.to_thread(stenobus, "ask", "why was the disk full?")
    assert done.stdout == (
        "Log rotation was off. [1]\n    “log rotation was off”\n\n"
        "[1] Full disk › Cause  00:01:05\n    file:///talk.wav#t=65\n"
    )
    assert "1 without a true quote thrown away" in done.stderr

    found = await asyncio.to_thread(stenobus.json, "ask", "why was the disk full?")
    assert len(server.received) == 1  # the second time it is answered from the cache
    assert (found["method"], found["ungrounded"], len(found["statements"])) == ("model", 1, 1)
    assert found["sources"][0]["link"] == "file:///talk.wav#t=65"


async def test_what_the_passages_do_not_say_is_no_answer(
    stenobus: Stenobus, server: OpenAIServer, filled: None
) -> None:
    answers(server)
    done = await asyncio.to_thread(stenobus, "ask", "who", "filled", "the", "disk?", expect=1)
    assert done.stdout == "" and "do not say it" in done.stderr


async def test_without_a_model_the_passages_are_shown(stenobus: Stenobus, filled: None) -> None:
    done = await asyncio.to_thread(stenobus, "ask", "disk")
    assert "[1] Full disk › Cause  00:01:05" in done.stdout and "log rotation was off" in done.stdout
    assert "No model answers here" in done.stderr
    found = await asyncio.to_thread(stenobus.json, "ask", "disk")
    assert (found["method"], found["statements"]) == ("passages", [])
    nothing = await asyncio.to_thread(stenobus, "ask", "giraffes", expect=1)
    assert "Nothing matches" in nothing.stderr
