"""``stenobus new``."""

from __future__ import annotations

import keyword
import re
from pathlib import Path

import click


@click.group()
def new() -> None:
    """Write the beginning of something."""


@new.command()
@click.argument("name")
@click.option("--dir", "folder", type=click.Path(path_type=Path, file_okay=False), help="Where; ./NAME by default.")
def plugin(name: str, folder: Path | None) -> None:
    """Write a working plugin with a test: it counts the words of every transcript.

    \b
    stenobus new plugin acme-words
    pip install -e acme-words && stenobus plugins list
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or keyword.iskeyword(name):
        raise click.ClickException(f"{name!r} must be lower-case words joined by hyphens, such as acme-words.")
    target = folder or Path(name)
    if target.exists() and any(target.iterdir()):
        raise click.ClickException(f"{target} is not empty.")
    module = f"stenobus_{name.replace('-', '_')}"
    files = {
        target / "pyproject.toml": _PYPROJECT,
        target / module / "__init__.py": _MODULE,
        target / "tests" / f"test_{module}.py": _TEST,
    }
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_fill(text, name, module), encoding="utf-8")
            click.echo(path)
    except OSError as error:
        raise click.ClickException(f"{target} cannot be written: {error.strerror}.") from error
    click.echo(f"Try it: pip install -e {target}[test] && pytest {target} --write-schemas")


def _fill(text: str, name: str, module: str) -> str:
    subject = name.replace("-", ".")
    class_name = "".join(word.capitalize() for word in name.split("-"))
    for mark, value in {"@NAME@": name, "@MODULE@": module, "@SUBJECT@": subject, "@CLASS@": class_name}.items():
        text = text.replace(mark, value)
    return text


_PYPROJECT = """\
[project]
name = "stenobus-@NAME@"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["stenobus-core"]

[project.optional-dependencies]
test = ["stenobus-testing"]

[project.entry-points."stenobus.plugins"]
@NAME@ = "@MODULE@:plugin"

[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[tool.hatch.build.targets.wheel]
packages = ["@MODULE@"]

[tool.pytest.ini_options]
asyncio_mode = "auto"
"""

_MODULE = '''\
"""Counts the words of every transcript."""

from stenobus_contracts import AsrDone, Event
from stenobus_core import Context, Plugin


class @CLASS@Done(Event, subject="@SUBJECT@.counted"):
    """The number of words of a transcript."""

    words: int


plugin = Plugin("@NAME@", summary="Counts the words of a transcript")


@plugin.handler()
async def count(event: AsrDone, ctx: Context) -> @CLASS@Done:
    """Count what lies between blanks."""
    return @CLASS@Done(words=len((await ctx.read(event.transcript)).split()))
'''

_TEST = '''\
"""The plugin on a real server."""

from pathlib import Path

from @MODULE@ import @CLASS@Done, plugin
from stenobus_contracts import AsrDone, Media
from stenobus_testing import Stage, conformance

TestRules = conformance(plugin)


async def test_it_counts_the_words_of_a_transcript(stage: Stage, tmp_path: Path) -> None:
    talk = tmp_path / "talk.txt"
    talk.write_text("three short words")
    await stage.run(plugin)
    await stage.publish(AsrDone(transcript=Media(uri=talk.as_uri())))
    outcome = await stage.run_until_idle()
    assert [@CLASS@Done.model_validate_json(event.data).words for event in outcome.of(@CLASS@Done)] == [3]
'''
