"""The work every peer does: one event of about 512 bytes, read by the same model."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable

from pydantic import BaseModel


class First(BaseModel):
    number: int
    text: str = "x" * 480


class Watch:
    """Counts handled events; behind the last one it prints what they took since it was made.

    Args:
        also: processor seconds of another process that takes part.
    """

    def __init__(self, total: int, done: Callable[[], None], also: Callable[[], float] = lambda: 0.0) -> None:
        self._left, self._total, self._done, self._also = total, total, done, also
        self._wall, self._processor = time.perf_counter(), time.process_time() + also()

    def __call__(self) -> None:
        self._left -= 1
        if not self._left:
            seconds, processor = time.perf_counter() - self._wall, time.process_time() + self._also() - self._processor
            figures = {"events": self._total, "seconds": seconds, "processor": processor}
            os.write(1, json.dumps(figures).encode() + b"\n")  # Celery makes log lines of what is printed
            self._done()
