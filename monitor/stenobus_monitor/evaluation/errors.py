"""What can go wrong with the evaluation itself."""

from __future__ import annotations

from ..errors import MonitorError


class EvaluationError(MonitorError):
    """It cannot be carried out; the message says why and what to do."""


def engine_error() -> type[Exception]:
    """What the client of the engine raises; it is there only where the evaluation is installed."""
    from docker.errors import DockerException

    found: type[Exception] = DockerException
    return found
