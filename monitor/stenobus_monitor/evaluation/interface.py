"""The monitor's HTTP interface of one case, as a process of those who approve, with a key of theirs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from .process import STENOBUS, Process, command


class Interface:
    """It.

    Args:
        environment: of those who approve; it names the key of approvals.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder, self._environment = folder, environment
        self._process = Process("The HTTP interface", folder)
        #: A key with the right to approve, once it was started.
        self.key = ""
        #: Where it listens, once it does.
        self.address = ""

    async def start(self) -> None:
        """Make a key, start it, and wait until it listens. Raises EvaluationError."""
        made = await command(
            self._folder, "monitor", "keys", "add", "eval", "--scope", "approve", environment=self._environment
        )
        self.key = made.split()[0]
        await self._process.start(
            *STENOBUS, "monitor", "serve", "--port", "0", environment=self._environment, err=self._note
        )
        await self._process.ready(lambda: bool(self.address))

    async def end(self) -> None:
        """End it."""
        await self._process.end()

    def _note(self, line: str) -> None:
        """It says where it listens."""
        with suppress(ValueError):
            said = json.loads(line)
            if isinstance(said, dict) and said.get("event") == "listening":
                self.address = str(said["url"])
