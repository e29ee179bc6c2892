"""What worker processes do. The parent only names these functions: it never loads an engine or a decoder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from .engines import EngineSpec, load
from .speech import Span, Utterance, Window


@dataclass(frozen=True, slots=True)
class Heard:
    """The last word of an engine on a window."""

    language: str | None
    options: dict[str, JsonValue]


def listen(path: Path, name: str, longest: float, max_seconds: float) -> Iterator[Window]:
    """Decode a recording and find the speech in it.

    Args:
        name: for messages.
        longest: seconds a window may last.
        max_seconds: longest recording that is accepted.

    Raises:
        UnusableError: the file cannot be heard.
    """
    from .windows import windows

    yield from windows(path, name, longest, max_seconds)


def recognise(
    spec: EngineSpec, samples: bytes, spans: Sequence[Span], language: str | None
) -> Iterator[Utterance | Heard]:
    """The utterances of a window, and at last how they were heard.

    Raises:
        UnusableError: the engine cannot do what is asked.
        WorkerError: its model cannot be loaded now.
    """
    import numpy as np

    engine = load(spec)
    yield from engine.hear(np.frombuffer(samples, dtype="<i2"), spans, language)
    yield Heard(engine.language, engine.options)
