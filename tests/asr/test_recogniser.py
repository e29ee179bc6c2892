"""From a file to a transcript: windows, checkpoints, progress, and what stops it."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from stenobus_asr.choice import choose
from stenobus_asr.errors import UnusableError, WorkerError
from stenobus_asr.recogniser import Recognised, Recogniser
from stenobus_asr.settings import Settings

from .conftest import SENTENCE
from .sounds import RATE, Memory, Samples, Steps, silence, write_wav

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def recogniser(whisper: Path) -> AsyncIterator[Recogniser]:
    """With the scripted model, which is quick."""
    settings = Settings.load("asr", model=str(whisper), window=12)
    recogniser = Recogniser(settings, choose(settings))
    yield recogniser
    await recogniser.close()
    assert not multiprocessing.active_children()


@pytest.fixture(scope="module")
def minute(talk: Samples, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first minute of the talk."""
    return write_wav(tmp_path_factory.mktemp("talk") / "minute.wav", talk[: 60 * RATE])


async def hear(
    recogniser: Recogniser, path: Path, memory: Memory | None = None, steps: Steps | None = None
) -> Recognised:
    return await recogniser.recognise(path, path.name, None, memory or Memory(), steps or Steps())


async def test_a_long_recording_is_heard_window_by_window(recogniser: Recogniser, minute: Path) -> None:
    steps, memory = Steps(), Memory()
    result = await hear(recogniser, minute, memory, steps)
    windows = len(memory.made)
    assert windows >= 5
    assert steps.fractions == sorted(steps.fractions) and steps.fractions[-1] == pytest.approx(1)
    assert steps.messages[-windows:] == [f"window {number} of {windows}" for number in range(1, windows + 1)]
    assert {segment.text for segment in result.transcript.segments} == {SENTENCE}


async def test_text_that_an_engine_repeats_is_kept_apart(recogniser: Recogniser, minute: Path) -> None:
    result = await hear(recogniser, minute)
    dropped = result.recognition.options["dropped"]
    assert len(result.transcript.segments) == 1 and isinstance(dropped, list)
    starts = [drop["start"] for drop in dropped if isinstance(drop, dict)]
    assert starts == sorted(starts) and starts[-1] > 45
    assert all(isinstance(drop, dict) and "times in a row" in str(drop["reason"]) for drop in dropped)


async def test_the_result_says_how_it_came_to_be(recogniser: Recogniser, minute: Path) -> None:
    recognition = (await hear(recogniser, minute)).recognition
    assert (recognition.engine, recognition.model) == ("faster-whisper", recogniser.choice.spec.model)
    assert recognition.reason == recogniser.choice.reason
    assert recognition.audio_seconds == 60.0
    assert 40 < (recognition.speech_seconds or 0) < 60
    assert recognition.options["condition_on_previous_text"] is False


async def test_the_next_attempt_goes_on_where_the_last_one_stopped(recogniser: Recogniser, minute: Path) -> None:
    memory = Memory()

    async def until_two_windows(fraction: float, message: str) -> None:
        if message.startswith("window 2"):
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await recogniser.recognise(minute, "talk", None, memory, until_two_windows)
    before = list(memory.made)
    assert len(before) >= 2
    result = await hear(recogniser, minute, memory)
    assert memory.made[: len(before)] == before and len(memory.made) == len(set(memory.made))
    assert result == await hear(recogniser, minute)


async def test_after_a_cancelled_recording_the_next_one_is_heard(recogniser: Recogniser, minute: Path) -> None:
    begun = asyncio.Event()

    async def progress(fraction: float, message: str) -> None:
        begun.set()

    task = asyncio.create_task(recogniser.recognise(minute, "talk", None, Memory(), progress))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await hear(recogniser, minute)).transcript.segments


async def test_a_worker_that_dies_fails_the_attempt_and_not_the_next_one(recogniser: Recogniser, minute: Path) -> None:
    killed: list[multiprocessing.process.BaseProcess] = []

    async def kill(fraction: float, message: str) -> None:
        if message.startswith("window 1"):
            for child in multiprocessing.active_children():
                child.kill()
                killed.append(child)

    memory = Memory()
    with pytest.raises(WorkerError, match="died"):
        await recogniser.recognise(minute, "talk", None, memory, kill)
    for child in killed:
        with contextlib.suppress(ValueError):  # closed: its end was noticed
            child.join()  # a killed process counts as alive until the kernel is done with it
    assert (await hear(recogniser, minute, memory)).transcript.segments


async def test_a_window_of_the_same_sound_is_heard_once(
    recogniser: Recogniser, minute: Path, talk: Samples, tmp_path: Path
) -> None:
    memory = Memory()
    await hear(recogniser, minute, memory)
    before = len(memory.made)
    await hear(recogniser, write_wav(tmp_path / "copy.wav", talk[: 60 * RATE]), memory)
    assert len(memory.made) == before


async def test_silence_is_refused(recogniser: Recogniser, tmp_path: Path) -> None:
    with pytest.raises(UnusableError, match=r"No speech was found in quiet\.wav \(65 s of sound\)\."):
        await hear(recogniser, write_wav(tmp_path / "quiet.wav", silence(65)))


async def test_silence_around_speech_is_not_listened_to(
    recogniser: Recogniser, tmp_path: Path, opening: Samples
) -> None:
    memory = Memory()
    sound = np.concatenate([silence(60), opening, silence(60)])
    result = await hear(recogniser, write_wav(tmp_path / "talk.wav", sound), memory)
    assert len(memory.made) == 1
    assert (result.transcript.segments[0].start or 0) == pytest.approx(60.2, abs=0.6)
    assert result.transcript.duration_seconds == 120 + opening.size / RATE


async def test_a_file_that_is_gone_is_refused(recogniser: Recogniser, tmp_path: Path) -> None:
    with pytest.raises(UnusableError, match=r"gone\.wav"):
        await hear(recogniser, tmp_path / "gone.wav")


async def test_two_recordings_at_once_share_the_workers(recogniser: Recogniser, minute: Path) -> None:
    first, second = await asyncio.gather(hear(recogniser, minute), hear(recogniser, minute))
    assert first == second
