"""``stenobus kb serve`` and ``stenobus kb keys``, as people run them."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from click.testing import CliRunner

from stenobus_kb.api.commands import serve
from stenobus_testing.waiting import eventually

COMMAND = [sys.executable, "-c", "from stenobus_core.cli import main; main()"]
Serve = Callable[..., Any]


@pytest.fixture
def environment(path: Path, filled: None, tmp_path: Path) -> dict[str, str]:
    return os.environ | {"STENOBUS_DATA_DIR": str(path.parent), "STENOBUS_KB_API_KEYS": str(tmp_path / "keys.json")}


async def run(environment: dict[str, str], *arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "kb", *arguments, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@asynccontextmanager
async def serving(environment: dict[str, str], log: Path, *arguments: str) -> AsyncIterator[str]:
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            *COMMAND, "kb", "serve", "--port", "0", *arguments, env=environment, stdout=file, stderr=file
        )
    try:
        found = await eventually(lambda: re.search(r"http://127\.0\.0\.1:\d+", log.read_text()))
        yield found[0]
    finally:
        process.send_signal(signal.SIGTERM)
        assert await process.wait() in {0, -signal.SIGTERM}


async def test_a_file_that_holds_no_keys_is_named_in_one_sentence(environment: dict[str, str]) -> None:
    Path(environment["STENOBUS_KB_API_KEYS"]).write_text("{}}")
    code, out, err = await run(environment, "keys", "list")
    assert (code, out) == (1, "") and err.startswith("Error: ") and "is no file of API keys" in err
    assert err.count("\n") == 1


async def test_a_key_is_made_used_listed_and_revoked_while_the_server_runs(
    environment: dict[str, str], tmp_path: Path
) -> None:
    code, key, said = await run(environment, "keys", "add", "app", "--collection", "kitchen", "--expires", "90d")
    key = key.strip()
    assert code == 0 and "only its digest" in said and key not in said
    async with (
        serving(environment, tmp_path / "log") as url,
        httpx2.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {key}"}) as client,
    ):
        answer = await client.get("/v1/search", params={"q": "disk"})
        assert {result["document"] for result in answer.json()["results"]} == {"menu", "a/b?c"}
        described = (await client.get("/openapi.json")).json()
        assert {"/v1/search", "/v1/collections", "/v1/documents"} < set(described["paths"])
        _, table, _ = await run(environment, "keys", "list")
        assert "app" in table and "kitchen" in table and "public" in table and key not in table
        code, said, _ = await run(environment, "keys", "revoke", key.split("_")[1])
        assert code == 0 and "opens nothing any more" in said
        assert (await client.get("/v1/search", params={"q": "disk"})).status_code == 401
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines() if line.startswith("{")]
    asked = [line for line in lines if line.get("route") == "/v1/search"]
    assert [line["status"] for line in asked] == [200, 401] and asked[0]["caller"].startswith("app (")
    assert key not in (tmp_path / "log").read_text() and '"disk"' not in (tmp_path / "log").read_text()


async def test_without_any_key_it_says_how_to_make_one(environment: dict[str, str]) -> None:
    code, _, said = await run(environment, "serve")
    assert code == 1 and "stenobus kb keys add" in said and said.count("\n") == 1


async def test_open_is_for_this_machine(environment: dict[str, str], tmp_path: Path) -> None:
    async with serving(environment, tmp_path / "log", "--open") as url, httpx2.AsyncClient(base_url=url) as client:
        assert (await client.get("/v1/documents")).status_code == 200
    refused = CliRunner().invoke(serve, ["--open", "--host", "0.0.0.0"])
    assert refused.exit_code == 2 and "loopback" in refused.output


async def test_a_port_that_is_taken_is_one_clear_error(environment: dict[str, str], tmp_path: Path) -> None:
    async with serving(environment, tmp_path / "log", "--open") as url:
        code, _, said = await run(environment, "serve", "--open", "--port", url.rpartition(":")[2])
    assert code == 1 and "--port" in said and said.count("\n") == 1
