"""The command as a user runs it: a process of its own, with a data folder of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

COMMAND = [sys.executable, "-c", "from stenobus_core.cli import main; main()"]
RECORDINGS = Path(__file__).parents[2] / "examples" / "recording"


@dataclass
class Stenobus:
    """Runs ``stenobus …``."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str | Path, expect: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*COMMAND, *map(str, arguments)], env=self.all, cwd=self.folder, capture_output=True, text=True
        )
        assert done.returncode == expect, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *arguments: str | Path, expect: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", expect=expect).stdout)

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*COMMAND, *map(str, arguments)],
            env=self.all,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def all(self) -> dict[str, str]:
        return os.environ | self.environment

    @property
    def server_runs(self) -> bool:
        """Whether a server was left behind in the data folder."""
        return any((self.folder / "data" / "nats" / "ports").glob("*.ports"))


@pytest.fixture
def stenobus(tmp_path: Path) -> Iterator[Stenobus]:
    command = Stenobus(
        tmp_path,
        {"STENOBUS_DATA_DIR": str(tmp_path / "data"), "STENOBUS_NATS_PORT": "0", "STENOBUS_LOG_FORMAT": "json"},
    )
    yield command
    assert not command.server_runs, "a nats-server was left running"


@pytest.fixture(scope="session")
def recording() -> Path:
    return RECORDINGS / "disk-full.ogg"


@pytest.fixture(scope="session")
def aws_transcript() -> Path:
    return RECORDINGS / "disk-full.json"
