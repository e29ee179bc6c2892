"""The monitor of one case: a process as in production, with shorter times, whose output is kept."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

from stenobus_core.discovery import GROUP

from .process import STENOBUS, Process

#: The monitor's settings in every case: shorter times than in production, so that a case takes seconds.
SETTINGS: Final[dict[str, Any]] = {
    "on": True,
    "poll": 1.0,
    "usage": 2.0,
    "reconcile": 5.0,
    "settle": 2.0,
    "patience": 6.0,
    "follows": {"eval.task": "eval.done"},
    "diagnose": "local",
    "diagnosis_timeout": 8.0,
}
#: The plugin's name.
MONITOR: Final = "monitor"
#: Lines of its output that are kept.
_LINES: Final = 20_000


class Monitor:
    """It, and in a process of its own the router of language models, where that one is installed."""

    def __init__(self, folder: Path) -> None:
        #: Lines of standard output, and when they came.
        self.told: list[tuple[float, str]] = []
        self._up: set[str] = set()
        self._processes = {name: Process(f"The plugin {name}", folder) for name in plugins()}

    async def start(self, environment: Mapping[str, str]) -> None:
        """Start it, and wait until it is up. Raises EvaluationError.

        Args:
            environment: of a process on the server, and :func:`environment`.
        """
        for name, process in self._processes.items():
            out = self._hear if name == MONITOR else _nobody
            err = partial(self._note, name)
            await process.start(*STENOBUS, "up", name, environment=environment, out=out, err=err)
        for name, process in self._processes.items():
            await process.ready(partial(self._up.__contains__, name))

    async def end(self) -> None:
        """End it."""
        for process in self._processes.values():
            await process.end()

    def log(self) -> str:
        """The last lines of what the monitor said of itself."""
        return self._processes[MONITOR].said

    def _hear(self, line: str) -> None:
        if len(self.told) < _LINES:
            self.told.append((time.time(), line))

    def _note(self, name: str, line: str) -> None:
        if '"event": "up"' in line:
            self._up.add(name)


def _nobody(line: str) -> None:
    """What the router says on standard output is nobody's."""


def plugins() -> tuple[str, ...]:
    """Plugins that run beside the containers, each in a process."""
    installed = {point.name for point in entry_points(group=GROUP)}
    return tuple(name for name in (MONITOR, "llm") if name in installed)


def environment(settings: Mapping[str, Any], model: str) -> dict[str, str]:
    """The variables of its settings, :data:`SETTINGS` beneath.

    Args:
        model: base URL of the scripted model; it counts as one elsewhere where such may be asked.
    """
    every = SETTINGS | dict(settings)
    target = {
        "name": "scripted",
        "base_url": model,
        "model": "scripted",
        "api_key": "none",
        "local": every["diagnose"] != "any",
        "input_price_per_million": 0,
        "output_price_per_million": 0,
    }
    own = {f"STENOBUS_MONITOR_{name.upper()}": _text(value) for name, value in every.items()}
    return {"STENOBUS_LLM_TARGETS": json.dumps([target])} | own


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value) if isinstance(value, dict | list) else str(value)
