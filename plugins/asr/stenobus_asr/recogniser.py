"""From a recording to its transcript: windows, checkpoints, progress."""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Protocol, TypeVar

from pydantic import JsonValue

from stenobus_contracts import Model, Recognition, Transcript

from .choice import Choice
from .errors import UnusableError
from .jobs import listen, recognise
from .repetition import without_loops
from .settings import Settings
from .speech import RATE, VOICE, HeardWindow, Span, Utterance
from .times import segments
from .workers import Workers

#: Raised when the same window would be heard or put together differently, so that nothing old is reused.
VERSION: Final = 1
#: Part of the progress that decoding and finding speech take.
_LISTENING: Final = 0.05

M = TypeVar("M", bound=Model)
Progress = Callable[[float, str], Awaitable[None]]


class Cached(Protocol):
    """The kept result under ``parts``, or the one that ``produce`` makes and is then kept."""

    def __call__(self, shape: type[M], produce: Callable[[], Awaitable[M]], *parts: JsonValue) -> Awaitable[M]:
        """Keep what ``produce`` makes."""
        ...


class Recognised(Model):
    """A transcript and how it came to be."""

    transcript: Transcript
    recognition: Recognition


@dataclass(frozen=True, slots=True)
class _Stretch:
    """A window whose sound lies in the scratch file."""

    start: int
    length: int
    spans: tuple[Span, ...]


class Recogniser:
    """The chosen engine and its worker processes.

    Args:
        choice: of the engine.
    """

    def __init__(self, settings: Settings, choice: Choice) -> None:
        self.settings, self.choice = settings, choice
        self._hearing = Workers(choice.workers, settings.stall_timeout)
        # decoding has a process of its own: its messages are many, and the engines' memory is not for hostile files
        self._decoding = Workers(1, settings.stall_timeout)

    def identity(self, language: str | None) -> dict[str, JsonValue]:
        """What decides the words of a window, for cache keys."""
        return {"version": VERSION, "language": language, **self.choice.spec.identity()}

    async def recognise(
        self, path: Path, name: str, language: str | None, cached: Cached, progress: Progress
    ) -> Recognised:
        """The words of a recording.

        Args:
            path: of the file.
            name: for messages.
            language: ISO 639 code, None to detect it.
            cached: keeps what each window said, so that the next attempt goes on from there.
            progress: told how far it is, from 0 to 1.

        Raises:
            UnusableError: the file cannot be heard, or nobody is heard to speak in it.
            WorkerError: a worker process died or stalled.
        """
        with tempfile.TemporaryFile(prefix="stenobus-asr-") as scratch:
            stretches, damaged = await self._listen(path, name, scratch, progress)
            seconds = sum(stretch.length for stretch in stretches) / RATE
            spoken = [stretch for stretch in stretches if stretch.spans]
            if not spoken:
                raise UnusableError(f"No speech was found in {name} ({seconds:.0f} s of sound).")
            heard = await self._hear(scratch, spoken, language, cached, progress)
        result = self._recognised(spoken, heard, seconds, damaged)
        if not result.transcript.segments:
            raise UnusableError(f"No words were recognised in {name}, though something in it sounds like a voice.")
        return result

    async def close(self) -> None:
        """End the worker processes."""
        await asyncio.gather(self._hearing.close(), self._decoding.close())

    async def _listen(
        self, path: Path, name: str, scratch: IO[bytes], progress: Progress
    ) -> tuple[list[_Stretch], int]:
        """Decode the recording once, into a file without a name that is gone when we are."""
        stretches: list[_Stretch] = []
        damaged = 0
        job = self._decoding.run(listen, path, name, self.settings.window, self.settings.max_duration)
        async with aclosing(job) as found:
            async for window in found:
                await asyncio.to_thread(scratch.write, window.samples)
                stretches.append(_Stretch(window.start, window.length, window.spans))
                damaged = window.damaged
                await progress(0.0, f"{(window.start + window.length) / RATE / 60:.0f} min decoded")
        scratch.flush()
        return stretches, damaged

    async def _hear(
        self,
        scratch: IO[bytes],
        stretches: Sequence[_Stretch],
        language: str | None,
        cached: Cached,
        progress: Progress,
    ) -> list[HeardWindow]:
        total = sum(stretch.length for stretch in stretches)
        done = finished = 0
        places = asyncio.Semaphore(self._hearing.size)

        async def hear(number: int, language: str | None) -> HeardWindow:
            nonlocal done, finished
            stretch = stretches[number]
            async with places:
                samples = await asyncio.to_thread(_read, scratch, stretch)
                heard = await cached(
                    HeardWindow,
                    lambda: self._window(samples, stretch.spans, language),
                    self.identity(language),
                    hashlib.sha256(samples).hexdigest(),
                    [list(span) for span in stretch.spans],
                )
            done, finished = done + stretch.length, finished + 1
            await progress(_LISTENING + (1 - _LISTENING) * done / total, f"window {finished} of {len(stretches)}")
            return heard

        if language is not None:
            return await _together([hear(number, language) for number in range(len(stretches))])
        # one recording has one language: the first window finds it
        first = await hear(0, None)
        rest = await _together([hear(number, first.language) for number in range(1, len(stretches))])
        return [first, *rest]

    async def _window(self, samples: bytes, spans: tuple[Span, ...], language: str | None) -> HeardWindow:
        utterances: list[Utterance] = []
        result = HeardWindow()
        async with aclosing(self._hearing.run(recognise, self.choice.spec, samples, spans, language)) as parts:
            async for part in parts:
                if isinstance(part, Utterance):
                    utterances.append(part)
                else:
                    result = HeardWindow(utterances=tuple(utterances), language=part.language, options=part.options)
        return result

    def _recognised(
        self, stretches: Sequence[_Stretch], heard: Sequence[HeardWindow], seconds: float, damaged: int
    ) -> Recognised:
        utterances = [
            utterance.moved(stretch.start / RATE)
            for stretch, window in zip(stretches, heard, strict=True)
            for utterance in window.utterances
        ]
        kept, dropped = without_loops(utterances)
        language = heard[0].language
        options: dict[str, JsonValue] = {
            **heard[0].options,
            "package": f"{self.choice.spec.name} {self.choice.spec.version}",
            "voice_detection": {"engine": "silero", **VOICE},
            "windows": len(stretches),
        }
        if dropped:
            options["dropped"] = [drop.model_dump(mode="json") for drop in dropped]
        if damaged:
            options["damaged_packets"] = damaged
        speech = sum(end - start for stretch in stretches for start, end in stretch.spans) / RATE
        return Recognised(
            transcript=Transcript(
                segments=segments(kept, seconds), language=language, duration_seconds=round(seconds, 3)
            ),
            recognition=Recognition(
                engine=self.choice.spec.name,
                model=self.choice.spec.model,
                reason=self.choice.reason,
                options=options,
                audio_seconds=round(seconds, 3),
                speech_seconds=round(speech, 3),
            ),
        )


def _read(scratch: IO[bytes], stretch: _Stretch) -> bytes:
    return os.pread(scratch.fileno(), stretch.length * 2, stretch.start * 2)  # several windows are read at once


async def _together(jobs: Sequence[Awaitable[HeardWindow]]) -> list[HeardWindow]:
    """All results in order. The first failure cancels the other jobs and is raised as it is."""
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
