"""Speech engines, and what they share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, Protocol

from pydantic import JsonValue

from ..speech import Span, Utterance

if TYPE_CHECKING:
    from ..audio import Samples

EngineName = Literal["pocketsphinx", "faster-whisper"]


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """Everything that decides what an engine will hear; it travels to the worker processes."""

    name: EngineName
    #: Version of the engine's package.
    version: str
    #: Model for people and for the cache.
    model: str
    #: Where the model is loaded from.
    source: str
    #: Differs when the model's files do.
    fingerprint: str = ""
    device: str = "auto"
    compute_type: str = "default"
    beam_size: int = 5
    threads: int = 0

    def identity(self) -> dict[str, JsonValue]:
        """The parts that decide the text, for cache keys: where the model lies and how fast it runs do not."""
        return {key: value for key, value in asdict(self).items() if key not in {"source", "device", "threads"}}


class Engine(Protocol):
    """Hears words in speech. Lives in a worker process and keeps nothing from one window to the next."""

    def hear(self, sound: Samples, spans: Sequence[Span], language: str | None) -> Iterator[Utterance]:
        """Utterances in the stretches of speech, as they are recognised; times in seconds from the start of the sound.

        Args:
            sound: 16 kHz mono.
            spans: stretches of speech; the rest is not listened to.
            language: ISO 639 code, None to detect it.
        """
        ...

    @property
    def language(self) -> str | None:
        """The language of what was heard last."""
        ...

    @property
    def options(self) -> dict[str, JsonValue]:
        """The effective options."""
        ...


@lru_cache(maxsize=1)
def load(spec: EngineSpec) -> Engine:
    """The engine, loaded once per process.

    Raises:
        UnusableError: its model is unknown.
        WorkerError: its model cannot be loaded now.
    """
    if spec.name == "pocketsphinx":
        from .pocketsphinx import Pocketsphinx

        return Pocketsphinx(spec)
    from .faster_whisper import FasterWhisper

    return FasterWhisper(spec)
