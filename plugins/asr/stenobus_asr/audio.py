"""Decodes any recording to mono at 16 kHz, block by block. Runs in a worker process: libav meets hostile files here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
import numpy.typing as npt
from av.audio.resampler import AudioResampler

from .errors import UnusableError
from .speech import RATE

Samples = npt.NDArray[np.int16]

#: Containers that may be opened. Playlists are not among them: they would make libav open what they name.
FORMATS: Final = (
    "3gp,aac,aiff,amr,asf,au,avi,caf,flac,flv,m4a,matroska,mov,mp3,mp4,mpeg,mpegts,ogg,w64,wav,webm,mj2,3g2"
)
#: Pauses in the timestamps that are filled with silence, seconds: shorter ones are rounding, longer ones are breaks in
#: the clock and not in the talk.
_GAP: Final = (0.25, 60.0)


class Decoder:
    """One recording.

    Args:
        path: of the file.
        name: for messages.
        max_seconds: longest recording that is accepted.
    """

    def __init__(self, path: Path, name: str, max_seconds: float) -> None:
        self._path, self._name, self._limit = path, name, max_seconds
        #: Packets that could not be decoded so far.
        self.damaged = 0

    def blocks(self) -> Iterator[Samples]:
        """The sound from start to end.

        Raises:
            UnusableError: the file is empty, no recording, has no sound, or is too long.
        """
        try:
            container = av.open(
                str(self._path),
                options={"format_whitelist": FORMATS, "protocol_whitelist": "file"},
                metadata_errors="ignore",
            )
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise UnusableError(self._reason(error)) from error
        with container:
            if not container.streams.audio:
                raise UnusableError(f"{self._name} has no audio track; upload a recording with sound.")
            if container.duration is not None and container.duration / av.time_base > self._limit:
                raise self._too_long()
            yield from self._decoded(container)

    def _decoded(self, container: Any) -> Iterator[Samples]:
        resampler = AudioResampler(format="s16", layout="mono", rate=RATE)
        origin = (container.start_time or 0) / av.time_base
        position = 0
        for frame in self._frames(container):
            pause = 0.0 if frame.time is None else frame.time - origin - position / RATE
            if _GAP[0] < pause <= _GAP[1]:
                silence = np.zeros(round(pause * RATE), dtype=np.int16)
                position += silence.size
                yield silence
            elif pause > _GAP[1] or pause < -_GAP[1]:
                origin += pause
            frame.pts = None
            for block in self._resampled(resampler, frame):
                position += block.size
                yield block
            if position / RATE > self._limit:
                raise self._too_long()
        yield from self._resampled(resampler, None)
        if not position:
            raise UnusableError(f"{self._name} holds no sound that can be decoded; it may be damaged: upload it again.")

    def _frames(self, container: Any) -> Iterator[Any]:
        packets = container.demux(container.streams.audio[0])
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.error.FFmpegError:
                self.damaged += 1  # the rest cannot be reached; what was decoded stays useful
                return
            try:
                yield from packet.decode()
            except av.error.FFmpegError:
                self.damaged += 1

    def _resampled(self, resampler: AudioResampler, frame: Any) -> Iterator[Samples]:
        for block in resampler.resample(frame):
            yield block.to_ndarray()[0]

    def _reason(self, error: Exception) -> str:
        if self._path.exists() and self._path.stat().st_size == 0:
            return f"{self._name} is empty; upload it again."
        if isinstance(error, PermissionError):
            return f"{self._name} cannot be read: permission denied."
        return f"{self._name} is no recording that can be decoded; use WAV, FLAC, MP3, M4A, MP4, MKV, WebM or Ogg."

    def _too_long(self) -> UnusableError:
        return UnusableError(
            f"{self._name} is longer than the limit of {self._limit / 60:.0f} minutes; "
            "split it, or raise STENOBUS_ASR_MAX_DURATION."
        )
