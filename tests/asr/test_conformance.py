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
        write_wav(path, talk[: 2 * RATE])
    return MediaUploaded(media=Media(uri=path.as_uri()))


async def written(stage: Stage) -> MediaUploaded:
    """Subtitles, which are a transcript already: they have all the handler's ways but the engine's."""
    ref = await stage.put(b"1\n00:00:01,000 --> 00:00:04,000\nThe disk was full.\n", "application/octet-stream")
    return MediaUploaded(media=Media(uri=ref.uri))


TestAsr = conformance("asr", examples=[written])
#: Every start of an engine costs seconds: what can go wrong between it and the bus, and nothing else.
TestEngine = conformance("asr", examples=[spoken], rules={"example", "crash", "drain"}, within=100)
