"""The executor of one case: the process that alone does things to containers, with its usual rules and budgets."""

from __future__ import annotations

from pathlib import Path

from .process import Process


class Executor:
    """It.

    Args:
        engine: the engine's socket.
        visible: names of the containers that exist for those who ask.
        key: file of the key of approvals.
    """

    def __init__(self, folder: Path, engine: str, visible: str, key: Path) -> None:
        #: Its own socket.
        self.socket = folder / "executor.sock"
        self._options = {
            "listen": self.socket,
            "engine": engine,
            "state": folder / "executor.json",
            "visible": visible,
            "key": key,
        }
        self._process = Process("The executor", folder)

    async def start(self) -> None:
        """Start it, and wait until it listens. Raises EvaluationError."""
        options = (f"--{name}={value}" for name, value in self._options.items())
        await self._process.start("-m", "stenobus_executor", *options, environment={})
        await self._process.ready(self.socket.is_socket)

    async def end(self) -> None:
        """End it."""
        await self._process.end()
