"""Settings: code over environment over file, and one sentence for each mistake."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field

from stenobus_core import CoreSettings, PluginSettings, SettingsError


class Acme(PluginSettings):
    volume: int = Field(default=3, le=10)
    names: tuple[str, ...] = ()
    token: str | None = None


class Strict(PluginSettings):
    key: str


def write(text: str, path: Path = Path("stenobus.toml")) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_code_wins_over_environment_which_wins_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Acme.load("acme").volume == 3
    write("[acme]\nvolume = 4\n")
    assert Acme.load("acme").volume == 4
    monkeypatch.setenv("STENOBUS_ACME_VOLUME", "5")
    assert Acme.load("acme").volume == 5
    assert Acme.load("acme", volume=6).volume == 6


def test_the_hosts_settings_follow_the_same_order(monkeypatch: pytest.MonkeyPatch) -> None:
    write('[core]\nbucket = "from-file"\nack_wait = 7\n')
    monkeypatch.setenv("STENOBUS_BUCKET", "from-environment")
    settings = CoreSettings.load("core")
    assert (settings.bucket, settings.ack_wait) == ("from-environment", 7)
    assert CoreSettings.load("core", bucket="from-code").bucket == "from-code"


def test_each_plugin_has_a_section_and_a_prefix_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    write("[acme]\nvolume = 4\n[acme-two]\nvolume = 5\n[core]\nvolume = 9\n")
    monkeypatch.setenv("VOLUME", "1")
    monkeypatch.setenv("STENOBUS_VOLUME", "2")
    assert Acme.load("acme").volume == 4
    assert Acme.load("acme-two").volume == 5
    monkeypatch.setenv("STENOBUS_ACME_TWO_VOLUME", "6")
    assert (Acme.load("acme").volume, Acme.load("acme-two").volume) == (4, 6)


def test_the_file_is_the_named_one_or_the_folders_or_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write("[acme]\nvolume = 1\n", tmp_path / "config" / "stenobus" / "config.toml")
    assert Acme.load("acme").volume == 1
    write("[acme]\nvolume = 2\n")
    assert Acme.load("acme").volume == 2
    write("[acme]\nvolume = 4\n", tmp_path / "mine.toml")
    monkeypatch.setenv("STENOBUS_CONFIG", str(tmp_path / "mine.toml"))
    assert Acme.load("acme").volume == 4


def test_lists_are_separated_by_commas_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STENOBUS_PLUGINS", " asr, documents ,,kb")
    monkeypatch.setenv("STENOBUS_FILE_ROOTS", "/a,/b")
    settings = CoreSettings.load("core")
    assert settings.plugins == ("asr", "documents", "kb")
    assert settings.file_roots == (Path("/a"), Path("/b"))


def sentence(error: pytest.ExceptionInfo[SettingsError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


def test_a_wrong_value_names_its_variable_and_its_place_in_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STENOBUS_ACME_VOLUME", "11")
    with pytest.raises(SettingsError) as error:
        Acme.load("acme")
    assert sentence(error).startswith("STENOBUS_ACME_VOLUME (or volume in [acme]): Input should be less than")
    monkeypatch.setenv("STENOBUS_NATS_PORT", "many")
    with pytest.raises(SettingsError) as error:
        CoreSettings.load("core")
    assert sentence(error).startswith("STENOBUS_NATS_PORT (or nats_port in [core]): Input should be a valid integer")


def test_a_missing_value_names_its_variable() -> None:
    with pytest.raises(SettingsError) as error:
        Strict.load("acme")
    assert sentence(error) == "STENOBUS_ACME_KEY (or key in [acme]): Field required."


def test_a_list_that_is_no_json_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STENOBUS_ACME_NAMES", "not json")
    with pytest.raises(SettingsError) as error:
        Acme.load("acme")
    assert 'field "names"' in sentence(error)


@pytest.mark.parametrize(
    ("content", "message"),
    [("volume = ", "cannot be read"), ("acme = 3", "acme must be a table"), ("[acme]\nvolume = [1]", "volume in")],
)
def test_a_file_that_is_wrong_is_one_sentence(content: str, message: str) -> None:
    write(content)
    with pytest.raises(SettingsError) as error:
        Acme.load("acme")
    assert message in sentence(error)


def test_a_file_that_is_no_text_is_one_sentence() -> None:
    Path("stenobus.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="cannot be read"):
        Acme.load("acme")


def test_a_named_file_must_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STENOBUS_CONFIG", "/nowhere.toml")
    with pytest.raises(SettingsError) as error:
        CoreSettings.load("core")
    assert sentence(error) == "The settings file /nowhere.toml (STENOBUS_CONFIG) does not exist."


def test_what_others_put_into_the_file_is_no_mistake() -> None:
    write("[other]\nvolume = 'x'\n[acme]\nunknown = 1\n")
    assert Acme.load("acme").volume == 3
