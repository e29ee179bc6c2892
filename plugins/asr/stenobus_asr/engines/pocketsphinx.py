"""pocketsphinx: hears English offline, model included. Draft quality, and always there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Final

from pocketsphinx import Config, Decoder
from pydantic import JsonValue

from ..audio import Samples
from ..speech import RATE, HeardWord, Span, Utterance
from . import EngineSpec

#: Frames a second, the decoder's unit of time.
FRAMES: Final = 100
#: Eight Gaussians instead of four: a few words more are right, for a third more time.
OPTIONS: Final[dict[str, JsonValue]] = {"topn": 8}
#: Silence that ends a segment where the decoder hears one inside an utterance, seconds, and the fewest words of one.
_PAUSE: Final = 0.5
_FEWEST: Final = 3

_VARIANT = re.compile(r"\(\d+\)$")


class Pocketsphinx:
    """The decoder with its own American English model."""

    def __init__(self, spec: EngineSpec) -> None:
        self._decoder: Any = Decoder(Config(loglevel="FATAL", **OPTIONS))
        self.options: dict[str, JsonValue] = dict(OPTIONS)

    @property
    def language(self) -> str:
        """English is all it knows."""
        return "en"

    def hear(self, sound: Samples, spans: Sequence[Span], language: str | None) -> Iterator[Utterance]:
        """Utterances of each stretch of speech."""
        for start, end in spans:
            yield from _utterances(self._words(sound[start:end], start / RATE))

    def _words(self, speech: Samples, offset: float) -> list[HeardWord]:
        decoder = self._decoder
        # the feature extractor learns from what it hears: without this the same speech gives other words the next time
        decoder.reinit_feat()
        decoder.start_utt()
        decoder.process_raw(speech.tobytes(), full_utt=True)
        decoder.end_utt()
        # an entry is valid only until the next one is asked for, so everything is copied inside the loop
        return [
            HeardWord(
                text=_VARIANT.sub("", entry.word),
                start=offset + entry.start_frame / FRAMES,
                end=offset + (entry.end_frame + 1) / FRAMES,
                probability=min(1.0, entry.prob),
            )
            for entry in decoder.seg() or ()
            if entry.word[0] not in "<[+"
        ]


def _utterances(words: list[HeardWord]) -> Iterator[Utterance]:
    """Words in segments that end at pauses."""
    begun: list[HeardWord] = words[:1]
    for before, word in pairwise(words):
        if len(begun) >= _FEWEST and (word.start or 0.0) - (before.end or 0.0) >= _PAUSE:
            yield _utterance(begun)
            begun = []
        begun.append(word)
    if begun:
        yield _utterance(begun)


def _utterance(words: list[HeardWord]) -> Utterance:
    text = " ".join(word.text for word in words)
    return Utterance(text=text, start=words[0].start, end=words[-1].end, words=tuple(words))
