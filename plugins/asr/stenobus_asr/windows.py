"""Finds speech and cuts a recording into windows at its silences. Runs in a worker process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from .audio import Decoder, Samples
from .speech import RATE, VOICE, Span, Window

#: Length of the stretches whose loudness is compared where nothing better than a quiet moment can be found.
_MOMENT: Final = RATE // 50


def windows(path: Path, name: str, longest: float, max_seconds: float) -> Iterator[Window]:
    """Decode a recording and give it out in windows, each with its stretches of speech.

    At most one window and one decoded block are in memory.

    Args:
        longest: seconds a window may last.
        max_seconds: longest recording that is accepted.

    Raises:
        UnusableError: the file cannot be heard.
    """
    decoder = Decoder(path, name, max_seconds)
    limit = round(longest * RATE)
    start = 0
    pending: list[Samples] = []
    size = 0
    for block in decoder.blocks():
        pending.append(block)
        size += block.size
        while size >= limit:
            sound = np.concatenate(pending)
            spans = voice(sound[:limit])
            cut = cut_at(sound[:limit], spans)
            yield _window(start, sound[:cut], spans, decoder.damaged)
            pending, start, size = [sound[cut:]], start + cut, size - cut
    if size:
        sound = np.concatenate(pending)
        yield _window(start, sound, voice(sound), decoder.damaged)


def voice(sound: Samples) -> list[Span]:
    """Stretches of speech."""
    from faster_whisper.vad import VadOptions, get_speech_timestamps

    if not sound.any():
        return []
    found = get_speech_timestamps(sound.astype(np.float32) / 32768.0, VadOptions(**VOICE))
    return [(stretch["start"], min(stretch["end"], sound.size)) for stretch in found]


def cut_at(sound: Samples, spans: list[Span]) -> int:
    """Where to end a window: in the longest silence of its second half, else at its quietest moment."""
    half = sound.size // 2
    silences = list(zip([0, *(end for _, end in spans)], [*(start for start, _ in spans), sound.size], strict=True))
    if spans and spans[-1][1] == sound.size:
        silences.pop()  # speech goes on beyond the end
    # padded utterances may touch: a silence of no length is still one
    ends = [(max(start, half), end) for start, end in silences if end > half]
    if ends:
        start, end = max(ends, key=lambda silence: (silence[1] - silence[0], silence[1]))
        return (start + end) // 2
    moments = sound[half : half + (sound.size - half) // _MOMENT * _MOMENT].reshape(-1, _MOMENT).astype(np.float32)
    return half + int(np.argmin((moments**2).mean(axis=1))) * _MOMENT + _MOMENT // 2


def _window(start: int, sound: Samples, spans: list[Span], damaged: int) -> Window:
    inside = tuple((begin, min(end, sound.size)) for begin, end in spans if begin < sound.size)
    return Window(start=start, samples=sound.astype("<i2").tobytes(), spans=inside, damaged=damaged)
