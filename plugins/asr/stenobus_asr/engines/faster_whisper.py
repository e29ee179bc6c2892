"""faster-whisper: Whisper models by CTranslate2, on CPU or GPU."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Final

import numpy as np
from faster_whisper import WhisperModel
from pydantic import JsonValue
from tqdm import tqdm  # type: ignore[import-untyped]

from ..audio import Samples
from ..errors import UnusableError, WorkerError
from ..speech import RATE, HeardWord, Span, Utterance
from . import EngineSpec

#: The model listens to 30 seconds at a time; stretches of speech that fit in are heard together, seconds.
_TOGETHER: Final = 28.0
#: Silence that is not worth listening to, seconds: text is invented there.
_SILENCE: Final = 2.0


class FasterWhisper:
    """A loaded model.

    Raises:
        UnusableError: the model's name is unknown.
        WorkerError: the model cannot be loaded.
    """

    def __init__(self, spec: EngineSpec) -> None:
        # progress bars would share a lock among processes, and a killed worker would leave it behind
        tqdm.set_lock(threading.RLock())
        try:
            self._model: Any = WhisperModel(
                spec.source, device=spec.device, compute_type=spec.compute_type, cpu_threads=spec.threads
            )
        except ValueError as error:
            raise UnusableError(f"faster-whisper cannot use the model {spec.model}: {error}") from error
        except Exception as error:
            raise WorkerError(
                f"faster-whisper cannot load the model {spec.model} ({error}); "
                "STENOBUS_ASR_MODEL may also be a folder with a CTranslate2 model."
            ) from error
        self.options: dict[str, JsonValue] = {
            "beam_size": spec.beam_size,
            "compute_type": self._model.model.compute_type,
            "device": self._model.model.device,
            # a loop in one window would spread to the next
            "condition_on_previous_text": False,
        }
        self._beam_size = spec.beam_size
        self._language: str | None = None

    @property
    def language(self) -> str | None:
        """What was named, or detected."""
        return self._language

    def hear(self, sound: Samples, spans: Sequence[Span], language: str | None) -> Iterator[Utterance]:
        """Utterances of the stretches of speech."""
        if not spans:
            return  # no clips would mean everything
        try:
            segments, info = self._model.transcribe(
                sound.astype(np.float32) / 32768.0,
                language=language,
                beam_size=self._beam_size,
                condition_on_previous_text=False,
                word_timestamps=True,
                clip_timestamps=[edge / RATE for edge in chain.from_iterable(together(spans))],
            )
        except ValueError as error:
            raise UnusableError(f"faster-whisper cannot hear this recording: {error}") from error
        self._language = info.language
        for segment in segments:
            yield Utterance(
                text=segment.text.strip(),
                start=segment.start,
                end=segment.end,
                words=tuple(
                    HeardWord(text=word.word.strip(), start=word.start, end=word.end, probability=word.probability)
                    for word in segment.words or ()
                ),
            )


def together(spans: Sequence[Span]) -> list[Span]:
    """Stretches of speech in groups that the model can hear at once."""
    groups: list[Span] = []
    for start, end in spans:
        if groups and start - groups[-1][1] <= _SILENCE * RATE and end - groups[-1][0] <= _TOGETHER * RATE:
            groups[-1] = (groups[-1][0], end)
        else:
            groups.append((start, end))
    return groups
