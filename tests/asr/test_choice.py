"""Which engine is taken, and why."""

from __future__ import annotations

from pathlib import Path

import pytest

from stenobus_asr.choice import KNOWN, ChoiceError, choose
from stenobus_asr.settings import Settings


def settings(**values: object) -> Settings:
    return Settings.load("asr", **values)


def cache(hub: Path, name: str) -> Path:
    """A model as a download leaves it in the local cache."""
    folder = hub / f"models--{name.replace('/', '--')}"
    snapshot = folder / "snapshots/0a1b2c"
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs/main").write_text("0a1b2c")
    (snapshot / "model.bin").write_bytes(b"weights")
    return snapshot


def test_without_a_model_the_offline_engine_is_taken_and_says_why() -> None:
    choice = choose(settings())
    assert (choice.spec.name, choice.spec.model) == ("pocketsphinx", "en-us")
    assert "STENOBUS_ASR_MODEL" in choice.reason


def test_a_named_folder_is_taken(whisper: Path) -> None:
    choice = choose(settings(model=str(whisper)))
    assert (choice.spec.name, choice.spec.source, choice.workers) == ("faster-whisper", str(whisper), 1)
    assert choice.reason == f"The settings name the Whisper model in {whisper}."


def test_a_named_model_of_the_hub_is_left_to_the_worker_to_load() -> None:
    choice = choose(settings(model="small"))
    assert (choice.spec.name, choice.spec.source) == ("faster-whisper", "small")


def test_the_best_model_of_the_local_cache_is_taken(tmp_path: Path) -> None:
    cache(tmp_path / "hub", "Systran/faster-whisper-tiny")
    folder = cache(tmp_path / "hub", "Systran/faster-whisper-small")
    choice = choose(settings())
    assert (choice.spec.model, choice.spec.source) == ("Systran/faster-whisper-small", str(folder))
    assert choice.reason == "The Whisper model Systran/faster-whisper-small lies in the local cache."


def test_the_offline_engine_is_taken_when_it_is_asked_for(tmp_path: Path) -> None:
    cache(tmp_path / "hub", KNOWN[0])
    assert choose(settings(engine="pocketsphinx")).spec.name == "pocketsphinx"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"engine": "faster-whisper"}, "no Whisper model is named by STENOBUS_ASR_MODEL or lies in the local cache"),
        ({"model": "/models/small"}, "names the folder /models/small, which does not exist"),
    ],
)
def test_what_is_not_there_is_refused(values: dict[str, str], message: str) -> None:
    with pytest.raises(ChoiceError, match=message):
        choose(settings(**values))


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ChoiceError, match=r"holds no model\.bin"):
        choose(settings(model=str(tmp_path)))


def test_another_model_in_the_same_folder_is_another_model(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"one")
    before = choose(settings(model=str(tmp_path))).spec
    (tmp_path / "model.bin").write_bytes(b"another")
    assert choose(settings(model=str(tmp_path))).spec.identity() != before.identity()
