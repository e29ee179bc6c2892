"""What every engine does, and what one of them does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from stenobus_asr.choice import choose
from stenobus_asr.engines import Engine, EngineSpec, load
from stenobus_asr.engines.faster_whisper import together
from stenobus_asr.errors import UnusableError, WorkerError
from stenobus_asr.settings import Settings
from stenobus_asr.speech import RATE, Utterance
from stenobus_asr.windows import voice

from .conftest import SENTENCE
from .sounds import Samples, silence


@pytest.fixture(params=["pocketsphinx", "faster-whisper"])
def spec(request: pytest.FixtureRequest, whisper: Path) -> EngineSpec:
    return choose(Settings.load("asr", engine=request.param, model=str(whisper))).spec


@pytest.fixture
def engine(spec: EngineSpec) -> Iterator[Engine]:
    yield load(spec)
    load.cache_clear()


@pytest.fixture
def short(talk: Samples) -> Samples:
    """The first sentence, two words and some silence."""
    return talk[: 3 * RATE]


def heard(engine: Engine, sound: Samples) -> list[Utterance]:
    return list(engine.hear(sound, voice(sound), "en"))


class TestEveryEngine:
    def test_hears_words_with_times_and_probabilities(self, engine: Engine, short: Samples) -> None:
        utterances = heard(engine, short)
        words = [word for utterance in utterances for word in utterance.words]
        assert words
        assert all(word.text and word.text == word.text.strip() for word in words)
        assert all(word.start is not None and word.end is not None and word.start <= word.end for word in words)
        assert all(0 <= (word.probability or 0) <= 1 for word in words)
        assert [utterance.text.split() for utterance in utterances] == [
            [word.text for word in utterance.words] for utterance in utterances
        ]

    def test_hears_the_same_every_time(self, engine: Engine, short: Samples, talk: Samples) -> None:
        first = heard(engine, short)
        heard(engine, talk[40 * RATE : 44 * RATE])
        assert heard(engine, short) == first

    def test_listens_only_where_somebody_speaks(self, engine: Engine, short: Samples) -> None:
        sound = np.concatenate([silence(5), short])
        assert all((utterance.start or 0) >= 5 for utterance in heard(engine, sound))
        assert list(engine.hear(sound, [], "en")) == []

    def test_says_how_it_hears(self, engine: Engine, short: Samples) -> None:
        heard(engine, short)
        assert engine.language == "en"
        assert engine.options

    def test_gives_utterances_as_they_come(self, engine: Engine, talk: Samples) -> None:
        sound = np.concatenate([talk[: 3 * RATE], silence(30), talk[: 3 * RATE]])
        utterances = engine.hear(sound, voice(sound), "en")
        assert (next(iter(utterances)).end or 0) < 10


def test_the_offline_engine_understands_english(opening: Samples) -> None:
    engine = load(choose(Settings.load("asr", engine="pocketsphinx")).spec)
    text = " ".join(utterance.text for utterance in heard(engine, opening))
    assert text.startswith("hello and welcome i will tell you about")
    assert "web server" in text and "root cause" in text


def test_whisper_models_are_loaded_and_heard(whisper: Path, opening: Samples) -> None:
    engine = load(choose(Settings.load("asr", model=str(whisper))).spec)
    (utterance,) = heard(engine, opening)
    assert utterance.text == SENTENCE
    assert [word.end - word.start for word in utterance.words] == pytest.approx([0.5] * 12)  # type: ignore[operator]
    assert engine.options["condition_on_previous_text"] is False


def test_a_whisper_model_can_compute_in_integers(whisper: Path, opening: Samples) -> None:
    engine = load(choose(Settings.load("asr", model=str(whisper), compute_type="int8")).spec)
    assert str(engine.options["compute_type"]).startswith("int8")
    assert heard(engine, opening)[0].text == SENTENCE


def test_whisper_hears_neighbours_together_and_skips_long_silence() -> None:
    spans = [(start * RATE, end * RATE) for start, end in [(0, 5), (6, 12), (13, 27), (28, 31), (40, 50)]]
    assert [(start / RATE, end / RATE) for start, end in together(spans)] == [(0, 27), (28, 31), (40, 50)]


def test_an_unknown_whisper_model_is_refused() -> None:
    with pytest.raises(UnusableError, match="cannot use the model gigantic"):
        load(choose(Settings.load("asr", model="gigantic")).spec)


def test_a_model_that_cannot_be_downloaded_may_be_there_later() -> None:
    with pytest.raises(WorkerError, match="cannot load the model acme/whisper"):
        load(choose(Settings.load("asr", model="acme/whisper")).spec)


def test_a_damaged_model_is_reported(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"no weights")
    with pytest.raises(WorkerError, match="cannot load the model"):
        load(choose(Settings.load("asr", model=str(tmp_path))).spec)


def test_a_language_that_does_not_exist_is_refused(whisper: Path, short: Samples) -> None:
    engine = load(choose(Settings.load("asr", model=str(whisper))).spec)
    assert [utterance.text for utterance in engine.hear(short, voice(short), "de")] == [SENTENCE]
    assert engine.language == "en"  # an English-only model says so
