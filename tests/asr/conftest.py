"""A talk, and a Whisper model, for the tests of the speech plugin."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stenobus_asr.audio import Decoder

from .sounds import EXAMPLE, RATE, Samples
from .tiny_whisper import build

#: What the scripted model says.
SENTENCE = "the disk was full because a deleted log file was still open"


@pytest.fixture(scope="session")
def talk() -> Samples:
    """The example recording."""
    return np.concatenate(list(Decoder(EXAMPLE / "disk-full.ogg", "the talk", 600).blocks()))


@pytest.fixture(scope="session")
def opening(talk: Samples) -> Samples:
    """Its first two sentences: ten seconds."""
    return talk[: 10 * RATE]


@pytest.fixture(scope="session")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Whisper model that says one sentence of six seconds."""
    return build(tmp_path_factory.mktemp("whisper") / "model", SENTENCE, seconds=6.0)


@pytest.fixture(autouse=True)
def no_models_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Models that happen to lie in the user's cache do not decide a test, and no hub is asked."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
