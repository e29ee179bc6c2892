"""The plugin keeps every rule of the kit, with the engine that needs no download."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from stenobus_asr.audio import Decoder
from stenobus_contracts import Media, MediaUploaded
from stenobus_testing import Stage, conformance

from .sounds import EXAMPLE, RATE, write_wav

_folder = tempfile.TemporaryDirectory(prefix="stenobus-")


async def spoken(stage: Stage) -> MediaUploaded:
    """The first words of the example recording."""
    path = Path(_folder.name) / "words.wav"
    if not path.exists():
        talk = np.concatenate(list(Decoder(EXAMPLE / "disk-full.ogg", "the talk", 600).blocks()))
        write_wav(path, talk[: 3 * RATE])
    return MediaUploaded(media=Media(uri=path.as_uri()))


TestAsr = conformance("asr", examples=[spoken])
