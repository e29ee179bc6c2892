"""Any recording becomes 16 kHz mono; whatever is none is refused in one sentence."""

from __future__ import annotations

import os
from pathlib import Path

import av
import numpy as np
import pytest

from stenobus_asr.audio import Decoder
from stenobus_asr.errors import UnusableError

from .sounds import RATE, Samples, silence, write, write_wav


def decoded(path: Path, limit: float = 600.0) -> Samples:
    return np.concatenate(list(Decoder(path, path.name, limit).blocks()))


def refusal(path: Path, limit: float = 600.0) -> str:
    with pytest.raises(UnusableError) as caught:
        decoded(path, limit)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "codec", "rate", "picture"),
    [
        ("talk.wav", "pcm_s16le", 16_000, False),
        ("talk.flac", "flac", 44_100, False),
        ("talk.mp3", "libmp3lame", 44_100, False),
        ("talk.m4a", "aac", 48_000, False),
        ("talk.ogg", "libopus", 48_000, False),
        ("talk.webm", "libopus", 48_000, False),
        ("talk.mkv", "libopus", 48_000, True),
        ("talk.mp4", "aac", 44_100, True),
        ("talk.mov", "pcm_s16le", 8_000, True),
        ("talk.avi", "libmp3lame", 44_100, True),
        ("talk.ts", "aac", 48_000, False),
    ],
)
def test_every_usual_format_is_heard(
    tmp_path: Path, opening: Samples, name: str, codec: str, rate: int, picture: bool
) -> None:
    sound = decoded(write(tmp_path / name, opening, codec, rate, picture))
    assert sound.dtype == np.int16
    assert sound.size == pytest.approx(opening.size, abs=0.1 * RATE)
    # the same loudness at the same moments
    size = min(sound.size, opening.size) // 1600 * 1600
    loudness = [np.abs(each[:size].astype(float)).reshape(-1, 1600).mean(axis=1) for each in (sound, opening)]
    assert np.corrcoef(loudness)[0, 1] > 0.9


def test_a_recording_is_not_held_in_memory(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "long.wav", silence(120))
    assert max(block.size for block in Decoder(path, path.name, 600).blocks()) < RATE


def test_what_is_left_of_a_truncated_recording_is_heard(tmp_path: Path, opening: Samples) -> None:
    whole = write(tmp_path / "talk.ogg", opening, "libopus", 48_000).read_bytes()
    path = tmp_path / "part.ogg"
    path.write_bytes(whole[: len(whole) // 2])
    assert 2 * RATE < decoded(path).size < 8 * RATE


def test_damage_in_the_middle_costs_only_the_damaged_part(tmp_path: Path, opening: Samples) -> None:
    path = write(tmp_path / "talk.mp3", opening, "libmp3lame", 44_100)
    content = bytearray(path.read_bytes())
    content[20_000:22_000] = os.urandom(2_000)
    path.write_bytes(content)
    assert decoded(path).size > 8 * RATE


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "talk.wav"
    path.touch()
    assert refusal(path) == "talk.wav is empty; upload it again."


@pytest.mark.parametrize("content", [b"no sound at all" * 99, b"\0" * 5000, bytes(range(256)) * 40])
def test_what_is_no_recording_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "talk.mp3"
    path.write_bytes(content)
    assert "talk.mp3" in refusal(path)


def test_a_film_without_sound_is_refused(tmp_path: Path, opening: Samples) -> None:
    path = write(tmp_path / "film.mp4", opening, "", picture=True)
    assert refusal(path) == "film.mp4 has no audio track; upload a recording with sound."


def test_a_playlist_cannot_make_us_open_other_files(tmp_path: Path, opening: Samples) -> None:
    write(tmp_path / "secret.ts", opening, "aac", 48_000)
    path = tmp_path / "talk.m3u8"
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nsecret.ts\n#EXT-X-ENDLIST\n")
    assert "is no recording" in refusal(path)


def test_a_recording_over_the_limit_is_refused(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "talk.wav", silence(61))
    assert refusal(path, limit=60).startswith("talk.wav is longer than the limit of 1 minutes")


def test_a_recording_that_does_not_tell_its_length_is_stopped_at_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "talk.wav"
    content = bytearray(write_wav(tmp_path / "whole.wav", silence(61)).read_bytes())
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"  # as a recorder that was switched off leaves it
    path.write_bytes(content)
    assert "is longer than the limit" in refusal(path, limit=60)


def test_a_pause_in_the_clock_is_silence_so_that_times_stay_true(tmp_path: Path) -> None:
    path = tmp_path / "paused.mkv"
    second = np.full(RATE, 1000, dtype=np.int16)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=RATE, layout="mono")
        for start in (0, 1, 5):  # the recorder was paused for three seconds
            frame = av.AudioFrame.from_ndarray(second.reshape(1, -1), format="s16", layout="mono")
            frame.sample_rate, frame.pts = RATE, start * RATE
            container.mux(stream.encode(frame))
    sound = decoded(path)
    assert sound.size == pytest.approx(6 * RATE, abs=100)
    assert not sound[3 * RATE : 4 * RATE].any() and sound[int(5.5 * RATE)] == 1000


def test_a_clock_that_jumps_for_hours_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "jumped.mkv"
    second = np.full(RATE, 1000, dtype=np.int16)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=RATE, layout="mono")
        for start in (0, 1, 5000, 5001):
            frame = av.AudioFrame.from_ndarray(second.reshape(1, -1), format="s16", layout="mono")
            frame.sample_rate, frame.pts = RATE, start * RATE
            container.mux(stream.encode(frame))
    assert decoded(path, limit=6000).size == 4 * RATE
