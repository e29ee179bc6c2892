"""A recording is cut into windows at its silences, and nothing is lost between them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stenobus_asr.windows import cut_at, voice, windows

from .sounds import EXAMPLE, RATE, Samples, silence, write_wav


def test_windows_follow_each_other_without_a_gap(talk: Samples) -> None:
    found = list(windows(EXAMPLE / "disk-full.ogg", "talk", 40, 600))
    assert len(found) >= 5
    assert all(20 * RATE <= window.length <= 40 * RATE for window in found[:-1])
    assert [window.start for window in found] == list(np.cumsum([0, *(window.length for window in found[:-1])]))
    assert b"".join(window.samples for window in found) == talk.tobytes()


def test_windows_are_cut_where_nobody_speaks(talk: Samples) -> None:
    loudness = np.abs(talk).mean()
    for window in list(windows(EXAMPLE / "disk-full.ogg", "talk", 40, 600))[1:]:
        assert np.abs(talk[window.start - 800 : window.start + 800]).mean() < loudness / 20


def test_speech_is_found_and_silence_is_not(opening: Samples) -> None:
    (first, second, *_) = voice(np.concatenate([silence(3), opening[: 2 * RATE], silence(3), opening[3 * RATE :]]))
    assert first[0] / RATE == pytest.approx(3.6, abs=0.5)
    assert second[0] / RATE == pytest.approx(8, abs=0.6)


@pytest.mark.parametrize("kind", ["silence", "noise", "tone", "clipped"])
def test_what_is_no_speech_is_not_taken_for_it(tmp_path: Path, kind: str) -> None:
    time = np.arange(20 * RATE) / RATE
    sounds = {
        "silence": silence(20),
        "noise": (np.random.default_rng(0).normal(size=time.size) * 2000).astype(np.int16),
        "tone": (np.sin(time * 440 * 2 * np.pi) * 8000).astype(np.int16),
        "clipped": np.full(time.size, 32767, dtype=np.int16),
    }
    path = write_wav(tmp_path / f"{kind}.wav", sounds[kind])
    assert [window.spans for window in windows(path, kind, 60, 600)] == [()]


def test_the_longest_silence_of_the_second_half_is_cut_in_its_middle() -> None:
    sound = silence(10)
    spans = [(RATE, 6 * RATE), (7 * RATE, 8 * RATE), (int(8.5 * RATE), 10 * RATE)]
    assert cut_at(sound, spans) == 6.5 * RATE


def test_speech_without_a_pause_is_cut_at_its_quietest_moment() -> None:
    sound = np.full(10 * RATE, 1000, dtype=np.int16)
    sound[8 * RATE : 8 * RATE + 800] = 3
    assert 8 * RATE <= cut_at(sound, [(0, 10 * RATE)]) <= 8 * RATE + 800


def test_no_speech_may_be_cut_anywhere_but_the_window_ends() -> None:
    assert 5 * RATE <= cut_at(silence(10), []) <= 10 * RATE
