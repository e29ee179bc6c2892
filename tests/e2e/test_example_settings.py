"""The example file names every setting, with the words, the default and a value that the settings themselves know."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

import pytest
from pydantic_core import PydanticUndefined

import stenobus_dynamodb.settings
import stenobus_s3.settings
from stenobus_core import CoreSettings, PluginSettings
from stenobus_core.discovery import GROUP
from stenobus_monitor.settings import CleanPolicy

FILE: Final = Path(__file__).parents[2] / "stenobus.example.toml"
#: A table, a table of a list, a setting with its default, a setting without one, and an example of it.
_TABLE: Final = re.compile(r"\[([a-z0-9-]+)\]$")
_LIST: Final = re.compile(r"#\[\[([a-z0-9_.-]+)\]\]$")
_VALUE: Final = re.compile(r"#([a-z_0-9]+) = (.+)$")
_UNSET: Final = re.compile(r"#([a-z_0-9]+): unset(?:, e\.g\. \1 = (.+)|; better .*)?$")


@dataclass
class Shown:
    """A setting as the file shows it."""

    words: str
    #: None where the file shows no value.
    text: str | None
    default: bool


@dataclass
class Section:
    """A table of the file."""

    settings: dict[str, Shown] = field(default_factory=dict)
    #: Names of lists of tables, with the TOML of their examples.
    lists: dict[str, list[str]] = field(default_factory=dict)


def example() -> dict[str, Section]:
    """The file, by its tables. Fails at a line that is none of what it may hold."""
    found: dict[str, Section] = {}
    section, table = Section(), None
    words: list[str] = []
    for number, line in enumerate(FILE.read_text().splitlines()[_header() :], _header() + 1):
        if match := _TABLE.match(line):
            section, words, table = found.setdefault(match[1], Section()), [], None
        elif match := _LIST.match(line):
            name, _, path = match[1].partition(".")
            table = found.setdefault(name, Section()).lists.setdefault(path.partition(".")[0], [])
            table.append(f"[[{path}]]")
        elif table is not None and line.startswith("#") and not line.startswith("# "):
            table.append(line[1:])
        elif match := _VALUE.match(line) or _UNSET.match(line):
            assert match[1] not in section.settings, f"line {number}: {match[1]} is there twice"
            section.settings[match[1]] = Shown(" ".join(words), match[2], " = " in line.split("e.g.")[0])
            words = []
        elif line.startswith("# "):
            words, table = [*words, line[2:]], None
        else:
            assert not line, f"line {number} is no setting: {line}"
            words, table = [], None
    return found


def _header() -> int:
    """Where the words about the file end."""
    return FILE.read_text().splitlines().index("")


def models() -> dict[str, type[PluginSettings]]:
    """All settings there are, by table: those of the host, of every plugin of ours, and of two stores that are none."""
    plugins = [point.load() for point in entry_points(group=GROUP) if point.name != "example-wordcount"]
    found = {"core": CoreSettings, **{plugin.name: plugin.settings_class for plugin in plugins}}
    found |= {"s3": stenobus_s3.settings.Settings, "dynamodb": stenobus_dynamodb.settings.Settings}
    return {name: settings for name, settings in found.items() if settings.model_fields}


EXAMPLE: Final = example()
MODELS: Final = models()
SETTINGS: Final = [
    pytest.param(name, key, id=f"{name}.{key}") for name, section in EXAMPLE.items() for key in section.settings
]


def value(name: str, key: str) -> Any:
    """What the file shows for a setting."""
    text = EXAMPLE[name].settings[key].text
    assert text is not None
    return tomllib.loads(f"{key} = {text}")[key]


@pytest.mark.parametrize("name", sorted(MODELS.keys() | EXAMPLE.keys()))
def test_every_setting_is_there_and_nothing_else(name: str) -> None:
    assert EXAMPLE[name].settings.keys() | EXAMPLE[name].lists.keys() == MODELS[name].model_fields.keys()


@pytest.mark.parametrize(("name", "key"), SETTINGS)
def test_a_setting_is_said_with_the_words_of_the_settings(name: str, key: str) -> None:
    assert EXAMPLE[name].settings[key].words == MODELS[name].model_fields[key].description


@pytest.mark.parametrize(("name", "key"), SETTINGS)
def test_a_value_is_one_that_the_setting_takes(name: str, key: str, tmp_path: Path) -> None:
    shown, info = EXAMPLE[name].settings[key], MODELS[name].model_fields[key]
    default = info.get_default(call_default_factory=True)
    if not shown.default:
        assert default in (None, (), {}) or info.default is PydanticUndefined, "it has a default, which belongs here"
    if shown.text is not None:
        given = value(name, key)
        if (name, key) == ("llm", "prices"):  # the one file that is read as soon as it is named
            (given := tmp_path / Path(given).name).write_text('version = "none"')
        (taken,) = _taken(name, {key: given})
        if shown.default:
            assert taken == default


@pytest.mark.parametrize("name", [name for name, section in EXAMPLE.items() if section.lists])
def test_an_example_of_a_list_is_one_that_the_settings_take(name: str) -> None:
    for key, lines in EXAMPLE[name].lists.items():
        tables = tomllib.loads("\n".join(lines))[key]
        tables = [each for table in tables for each in (table if isinstance(table, list) else [table])]
        (taken,) = _taken(name, {key: tables})
        assert len(taken) == len(tables) > 0


def test_an_example_of_a_policy_has_all_its_settings() -> None:
    (policy,) = tomllib.loads("\n".join(EXAMPLE["monitor"].lists["clean"]))["clean"]
    assert policy.keys() == CleanPolicy.model_fields.keys()
    shown = CleanPolicy.model_validate(policy)
    assert (shown.keep, shown.trash) == (
        CleanPolicy.model_fields["keep"].default,
        CleanPolicy.model_fields["trash"].default,
    )


def _taken(name: str, values: dict[str, Any]) -> Iterator[Any]:
    """What the settings make of values."""
    for key, given in values.items():
        yield getattr(MODELS[name].load(name, **{key: given}), key)
