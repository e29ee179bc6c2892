"""``stenobus search``."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from stenobus_kb.embedders.hashed import HashedEmbedder
from stenobus_kb.index import Index
from stenobus_kb.library import Library
from stenobus_kb.search_command import search

from .conftest import Put

Run = Callable[..., Result]


@pytest.fixture
def run(path: Path) -> Run:
    def run(*arguments: str) -> Result:
        return CliRunner().invoke(search, arguments, env={"STENOBUS_KB_PATH": str(path)})

    return run


TEXT = "## Cause\n\nThe [bold] disk was full [00:01:05]."


def test_people_see_title_section_time_and_passage(run: Run, put: Put) -> None:
    put("talk", TEXT, title="Outage", uri="file:///talk.md")
    result = run("disk", "full")
    assert result.exit_code == 0
    assert result.stdout == "Outage › Cause  00:01:05\nThe [bold] disk was full.\nfile:///talk.md#t=65\n\n"


def test_programs_get_one_json_document(run: Run, put: Put) -> None:
    put("talk", TEXT, title="Outage", uri="file:///talk.md")
    result = run("disk", "--json")
    found = json.loads(result.stdout)
    [hit] = found.pop("results")
    note = "Nothing has been embedded yet: only words were searched."
    assert found == {"query": "disk", "collection": None, "more": False, "model": None, "note": note}
    assert hit.pop("legs")["words"]["rank"] == 1 and hit.pop("score") > 0
    assert hit == {
        "document": "talk",
        "collection": "documents",
        "title": "Outage",
        "heading": "Cause",
        "snippet": "The [bold] disk was full.",
        "highlights": [[11, 15]],
        "uri": "file:///talk.md",
        "start": 65.0,
        "source": None,
        "metadata": {},
    }


def test_both_legs_are_explained(run: Run, put: Put, index: Index) -> None:
    put("talk", TEXT, title="Outage")
    Library(index, HashedEmbedder()).catch_up()
    result = run("full disks", "--explain")
    assert result.exit_code == 0 and result.stderr == ""
    line = result.stdout.splitlines()[-2]
    assert re.fullmatch(r"0\.0952 = words #1 \(0\.000\) \+ vectors #1 \(0\.[3-9]\d+\)", line), line


def test_restrictions_are_obeyed(run: Run, put: Put) -> None:
    put("a", "whale", metadata={"year": 2026, "draft": False, "lang": "es"}, principals=("group:sea",))
    put("b", "whale", metadata={"year": 2025})
    for options, found in (
        (["--where", "year=2026"], ["a"]),
        (["--where", "draft=false", "--where", "lang=es"], ["a"]),
        (["--as", "group:air"], ["b"]),
        (["--offset", "1"], ["b"]),
        (["--source", "web"], []),
    ):
        assert [hit["document"] for hit in json.loads(run("whale", "--json", *options).stdout)["results"]] == found
    assert "KEY=VALUE" in run("whale", "--where", "year").stderr


def test_collection_and_limit_are_obeyed(run: Run, put: Put) -> None:
    for collection in ("one", "two"):
        for name in "abc":
            put(name, "whale", collection=collection)
    assert len(json.loads(run("whale", "--json", "--limit", "4").stdout)["results"]) == 4
    found = json.loads(run("whale", "--json", "--collection", "two").stdout)["results"]
    assert {hit["collection"] for hit in found} == {"two"}


def test_nothing_found_is_told_and_exits_with_1(run: Run, put: Put) -> None:
    put("talk", TEXT)
    result = run("unicorn", "--collection", "zoo")
    assert (result.exit_code, result.stdout) == (1, "")
    note, error = result.stderr.splitlines()
    assert "only words were searched" in note
    assert error == 'Error: Nothing in the collection zoo matches "unicorn": try other or fewer words.'
    result = run("unicorn", "--json")
    assert result.exit_code == 1 and json.loads(result.stdout)["results"] == []


def test_no_index_is_told_and_exits_with_1(run: Run) -> None:
    result = run("disk")
    assert result.exit_code == 1 and "There is no index" in result.stderr


def test_a_document_cannot_write_to_the_terminal(run: Run, put: Put) -> None:
    put("talk", "disk \x1b[31mred\x9b31m", title="a\x1b]0;b", uri="file:///x\x1b[2J")
    assert not {"\x1b", "\x9b"} & set(run("disk").stdout)


def test_the_command_loads_nothing_heavy() -> None:
    code = (
        "import stenobus_kb.search_command, sys;"
        "print(*({'apsw', 'pydantic', 'rich', 'markdown_it', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
