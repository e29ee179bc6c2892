"""A real vLLM server on the CPU, serving a tiny random model. ``setup.sh`` here makes its environment."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VENV = Path(os.environ.get("VLLM_VENV", ROOT / ".venv-vllm"))
CONTEXT = 8192
MODEL = "tiny"
#: Seconds for a start on a busy machine of two cores.
START = 300


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.vllm)


class VllmServer:
    """The server's process. Its words are noise, its protocol is real."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "vllm.log"
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    async def start(self) -> None:
        """Start it unless it runs, and wait until it answers."""
        if self._process is not None and self._process.poll() is None:
            return
        command = [
            str(VENV / "bin" / "vllm"), "serve", str(VENV / "tiny-model"),
            "--served-model-name", MODEL, "--host", "127.0.0.1", "--port", str(self._port),
            "--dtype", "bfloat16", "--max-model-len", str(CONTEXT), "--enforce-eager",
            # A model of noise would fill JSON's whitespace until its limit.
            "--structured-outputs-config", '{"backend": "xgrammar", "disable_any_whitespace": true}',
            "--enable-auto-tool-choice", "--tool-call-parser", "xlam",
        ]  # fmt: skip
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        async with asyncio.timeout(START):
            while not await asyncio.to_thread(self._healthy):
                if self._process.poll() is not None:
                    pytest.fail(f"vLLM ended while it started:\n{self._log.read_text(errors='replace')[-3000:]}")
                await asyncio.sleep(0.5)  # its process is not ours to wait on: only its port tells

    def kill(self) -> None:
        """Kill it with all its children, as a crash of the machine would."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(self.url.replace("/v1", "/health"), timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


@pytest.fixture(scope="session")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServer]:
    if not (VENV / "bin" / "vllm").exists():
        missing = f"There is no vLLM in {VENV}; run tests/vllm/setup.sh."
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    server = VllmServer(tmp_path_factory.mktemp("vllm"))
    yield server
    server.kill()


@pytest.fixture
async def vllm(process: VllmServer) -> AsyncIterator[VllmServer]:
    """The running server, started anew where a test before killed it."""
    await process.start()
    yield process
