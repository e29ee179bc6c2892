"""``stenobus llm ask``, as a person and a script use it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from stenobus_contracts import LlmChunk
from stenobus_llm.ask import Printed
from stenobus_llm.cli import llm

from .chat import DONE, OpenAIServer, delta, finish, usage

Ask = Callable[..., Awaitable[tuple[int, str, str]]]
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c63f8cfc0f01f000500"
    "01ff5ef3c2b80000000049454e44ae426082"
)


async def start(server: OpenAIServer, tmp_path: Path, *arguments: str, **target: Any) -> asyncio.subprocess.Process:
    targets = [{"name": "model", "base_url": server.url, "model": "m", "timeout": 20, **target}]
    environ = {
        **os.environ,
        "STENOBUS_LLM_TARGETS": json.dumps(targets),
        "STENOBUS_DATA_DIR": str(tmp_path / "data"),
        "STENOBUS_NATS_PORT": "0",
    }
    command = (sys.executable, "-c", "from stenobus_core.cli import cli; cli()", "llm", "ask", *arguments)
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe, env=environ)


@pytest.fixture
def ask(server: OpenAIServer, tmp_path: Path) -> Ask:
    async def ask(*arguments: str, prompt: str = "Why?", **target: Any) -> tuple[int, str, str]:
        process = await start(server, tmp_path, *arguments, **target)
        out, err = await process.communicate(prompt.encode())
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    return ask


async def test_the_answer_goes_to_stdout_and_what_it_took_to_stderr(ask: Ask, server: OpenAIServer) -> None:
    server.streams("The disk ", "was full.")

    code, out, err = await ask("--system", "Be brief.")

    assert (code, out) == (0, "The disk was full.\n")
    assert "model · served-model · 12 + 5 tokens · unknown cost" in err and "first piece after" in err
    [asked] = server.received
    assert asked.body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Why?"},
    ]


async def test_the_beginning_is_shown_while_the_rest_is_written(server: OpenAIServer, tmp_path: Path) -> None:
    go_on = asyncio.Event()
    server.streams_steps(delta("The disk "), go_on, delta("was full."), finish(), usage(), DONE)
    process = await start(server, tmp_path)
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(b"Why?")
    process.stdin.close()

    assert await process.stdout.readexactly(9) == b"The disk "
    go_on.set()

    assert await process.stdout.read() == b"was full.\n"
    assert await process.wait() == 0


async def test_a_script_gets_one_json_document(ask: Ask, server: OpenAIServer, tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}')
    server.completes('{"n": 3}')

    code, out, err = await ask("--json", "--schema", str(schema))

    done = json.loads(out)
    assert (code, done["data"], done["provider"], done["caller"], err) == (0, {"n": 3}, "model", "stenobus/ask", "")


async def test_an_image_is_shown_to_a_model_that_sees(ask: Ask, server: OpenAIServer, tmp_path: Path) -> None:
    image = tmp_path / "pixel.png"
    image.write_bytes(PIXEL)
    server.streams("A pixel.")

    code, out, _ = await ask("--image", str(image), capabilities=["vision"])

    assert (code, out) == (0, "A pixel.\n")
    parts = server.received[0].body["messages"][0]["content"]
    assert any(part["type"] == "image_url" for part in parts)


async def test_without_an_answer_it_says_why_and_fails(ask: Ask, server: OpenAIServer) -> None:
    server.fails(401, "Wrong key.")

    code, out, err = await ask()

    assert (code, out) == (1, "")
    assert err.count("\n") == 1 and "Wrong key" in err


def test_what_is_no_schema_is_said_before_anything_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "schema.json"
    path.write_text("[1]")

    result = CliRunner().invoke(llm, ["ask", "--schema", str(path)], input="Why?")

    assert result.exit_code == 1 and "is no JSON Schema" in result.output


def chunk(index: int, text: str, attempt: int = 1) -> bytes:
    return LlmChunk(request_id="r", attempt=attempt, index=index, text=text).model_dump_json().encode()


@pytest.mark.parametrize(
    ("pieces", "text", "printed"),
    [
        ([chunk(0, "a"), chunk(1, "b")], "ab", "ab\n"),
        ([], "ab\n", "ab\n"),
        ([chunk(0, "a"), chunk(2, "c")], "abc", "abc\n"),  # one was lost: the rest comes at the end
        ([chunk(1, "b")], "ab", "ab\n"),
        ([chunk(0, "a"), chunk(0, "x", attempt=2)], "xy", "a\nxy\n"),  # who began it died
    ],
)
async def test_what_is_printed_is_the_answer_whatever_became_of_its_pieces(
    pieces: list[bytes], text: str, printed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    printing = Printed()
    for piece in pieces:
        await printing.piece(piece)
    printing.rest(text)

    assert capsys.readouterr().out == printed
