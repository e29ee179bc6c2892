"""Sounds to hear: parts of the example recording, and files in many formats."""

from __future__ import annotations

import wave
from collections.abc import Awaitable, Callable
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from stenobus_contracts import Model

RATE = 16_000
EXAMPLE = Path(__file__).parents[2] / "examples/recording"

Samples = npt.NDArray[np.int16]


def silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * RATE), dtype=np.int16)


def write_wav(path: Path, samples: Samples) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.tobytes())
    return path


def write(path: Path, samples: Samples, codec: str, rate: int = RATE, picture: bool = False) -> Path:
    """Encode as the path's suffix says, with a picture track if wanted."""
    with av.open(str(path), "w") as container:
        if picture:
            film = container.add_stream("mpeg4", rate=5)
            film.width, film.height, film.pix_fmt = 64, 64, "yuv420p"
        sound = container.add_stream(codec, rate=rate, layout="mono") if codec else None
        if picture:
            for _ in range(5):
                frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), dtype=np.uint8), format="rgb24")
                container.mux(film.encode(frame))
            container.mux(film.encode(None))
        if sound is not None:
            frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
            frame.sample_rate = RATE
            resampler = av.AudioResampler(sound.format.name, "mono", rate, frame_size=sound.frame_size or 1024)
            for part in (*resampler.resample(frame), *resampler.resample(None)):
                container.mux(sound.encode(part))
            container.mux(sound.encode(None))
    return path


class Memory:
    """A stage cache in memory, which counts what was made."""

    def __init__(self) -> None:
        self.kept: dict[str, Model] = {}
        self.made: list[str] = []

    async def __call__(self, shape: type[Model], produce: Callable[[], Awaitable[Model]], *parts: JsonValue) -> Model:
        key = repr((shape, parts))
        if key not in self.kept:
            self.kept[key] = await produce()
            self.made.append(key)
        return self.kept[key]


class Steps:
    """Progress as it was told."""

    def __init__(self) -> None:
        self.fractions: list[float] = []
        self.messages: list[str] = []

    async def __call__(self, fraction: float, message: str) -> None:
        self.fractions.append(fraction)
        self.messages.append(message)
