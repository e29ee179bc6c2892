"""What passes between engines, workers and cache: utterances as an engine heard them, not yet put in order."""

from __future__ import annotations

from typing import Final

from pydantic import Field, JsonValue

from stenobus_contracts import Model

#: Samples a second of everything after decoding: mono, 16 bits.
RATE = 16_000

#: Options of silero's voice detection. A short silence ends an utterance; the padding keeps soft first and last sounds,
#: without which pocketsphinx loses whole words.
VOICE: Final[dict[str, float]] = {
    "threshold": 0.5,
    "min_silence_duration_ms": 300,
    "speech_pad_ms": 400,
    "max_speech_duration_s": 20.0,
}

#: Start and end of a stretch of speech, in samples from the start of its window.
Span = tuple[int, int]


class HeardWord(Model):
    """A word as an engine gave it. Times may be missing or wrong."""

    text: str
    start: float | None = None
    end: float | None = None
    probability: float | None = None


class Utterance(Model):
    """A stretch of words as an engine gave it, times in seconds."""

    text: str
    start: float | None = None
    end: float | None = None
    words: tuple[HeardWord, ...] = ()

    def moved(self, seconds: float) -> Utterance:
        """The same, later."""
        words = tuple(
            word.model_copy(update={"start": _add(word.start, seconds), "end": _add(word.end, seconds)})
            for word in self.words
        )
        return self.model_copy(
            update={"start": _add(self.start, seconds), "end": _add(self.end, seconds), "words": words}
        )


class Window(Model):
    """A stretch of a recording that is recognised in one piece."""

    start: int
    samples: bytes
    spans: tuple[Span, ...] = ()
    #: Packets of the recording that could not be decoded, up to here.
    damaged: int = 0

    @property
    def length(self) -> int:
        """Its length in samples."""
        return len(self.samples) // 2


class HeardWindow(Model):
    """What an engine heard in a window."""

    utterances: tuple[Utterance, ...] = ()
    language: str | None = None
    options: dict[str, JsonValue] = Field(default_factory=dict, description="the engine's effective options")


def _add(time: float | None, seconds: float) -> float | None:
    return None if time is None else time + seconds
