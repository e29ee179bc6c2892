"""What can go wrong with the evaluation itself."""

from __future__ import annotations

from ..errors import MonitorError


class EvaluationError(MonitorError):
    """It cannot be carried out; the message says why and what to do."""
