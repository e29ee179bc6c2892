"""The main job with a language model behind an API, and with a stage of somebody else's."""

from __future__ import annotations

import asyncio
import json
import os
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from ..llm.chat import OpenAIServer
from ..support.author import TALK, answer
from .conftest import Stenobus

EXAMPLE = Path(__file__).parents[2] / "examples" / "outline-plugin"


@pytest.fixture
async def paid(stenobus: Stenobus) -> AsyncIterator[OpenAIServer]:
    """A model that costs a dollar for a million tokens, behind the command."""
    server = OpenAIServer()
    server.author = lambda received: answer(received.body)
    await server.start()
    target = {
        "name": "paid", "model": "author", "base_url": server.url, "input_price_per_million": "1",
        "output_price_per_million": "1",
    }  # fmt: skip
    stenobus.environment |= {
        "STENOBUS_LLM_TARGETS": json.dumps([target]),
        "STENOBUS_DOCUMENTS_EXTRACT_MAX_TOKENS_PER_CHUNK": "400",
    }
    (stenobus.folder / "talk.txt").write_text(TALK)
    yield server
    await server.stop()


async def processed(stenobus: Stenobus, *arguments: str) -> Any:
    body = (await asyncio.to_thread(stenobus.json, "process", "talk.txt", "--out", "out", *arguments))["body"]
    return body, Path(unquote(urlsplit(body["markdown_uri"]).path)).read_text(encoding="utf-8")


async def test_a_second_run_pays_nothing_and_says_what_it_saved(stenobus: Stenobus, paid: OpenAIServer) -> None:
    first, text = await processed(stenobus)
    assert (first["method"], first["chunks_processed"] > 1) == ("model", True)
    assert "**Written by a language model:** served-model (paid)" in text
    calls = len(paid.received)
    assert first["tokens_used"]["total"] == 17 * calls
    assert first["cost_usd"] == pytest.approx(17e-6 * calls)
    assert first["saved"] == {"tokens": 0, "cost_usd": 0.0}

    second, again = await processed(stenobus)
    assert len(paid.received) == calls
    assert again == text
    assert second["saved"] == {"tokens": 17 * calls, "cost_usd": first["cost_usd"]}
    shown = await asyncio.to_thread(stenobus, "process", "talk.txt", "--out", "out")
    assert f"Saved      {17 * calls} of these tokens, $" in shown.stdout
    assert "documents-extract" in shown.stderr and "saved" in shown.stderr


async def test_a_document_in_another_language_asks_the_model_for_it(stenobus: Stenobus, paid: OpenAIServer) -> None:
    _, text = await processed(stenobus, "--document-language", "pt")
    assert "## Problemas e soluções" in text
    asked = [received.body["messages"][0]["content"] for received in paid.received]
    assert any("in Portuguese" in system for system in asked)


async def test_an_outline_of_a_third_party_takes_the_place_of_ours(stenobus: Stenobus, paid: OpenAIServer) -> None:
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    metadata = stenobus.folder / "site" / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 0.1.0\n")
    points = project["entry-points"]["stenobus.plugins"].items()
    (metadata / "entry_points.txt").write_text(
        "[stenobus.plugins]\n" + "".join(f"{name} = {value}\n" for name, value in points)
    )
    path = [str(metadata.parent), str(EXAMPLE), os.environ.get("PYTHONPATH", "")]
    stenobus.environment |= {
        "PYTHONPATH": os.pathsep.join(path),
        "STENOBUS_PLUGINS_OFF": "documents-outline",
        "STENOBUS_EXAMPLE_TIMELINE_MINUTES": "5",
    }
    body, text = await processed(stenobus)
    assert "\n## 00:00:00 – 00:05:00\n" in text and "\n## 00:10:00 – 00:15:00\n" in text
    asked = {received.body["response_format"]["json_schema"]["name"] for received in paid.received}
    assert asked == {"documents_extract", "documents_map", "documents_write"}
    assert body["stages_completed"] == 6
