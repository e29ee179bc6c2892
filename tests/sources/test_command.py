"""`stenobus sources`, as people and scripts see it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..support.command import Command
from .conftest import Setup
from .site import Site


@pytest.fixture
def command(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command, on an embedded server of its own."""
    monkeypatch.setenv("STENOBUS_NATS_PORT", "0")
    monkeypatch.setenv("STENOBUS_PLUGINS", "sources,kb")
    return Command()


@pytest.fixture
def events(setup: Setup) -> Iterator[Site]:
    """A site in a thread of its own: the command takes signals, and so the main one."""
    loop, site = asyncio.new_event_loop(), Site()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(site.start(), loop).result()
    site.add("event", "Feria del libro", fecha_inicio="20260910")
    site.add("event", "Sin fecha", fecha_inicio="pronto")
    setup.wordpress(site)
    yield site
    asyncio.run_coroutine_threadsafe(site.stop(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def ran(setup: Setup) -> bool:
    return any(path.is_file() for path in setup.output.rglob("*"))


def test_a_run_by_hand_is_done_here_and_told(command: Command, events: Site, setup: Setup) -> None:
    result = command("sources", "run", "agenda.event")
    assert "✓ agenda.event: 2 found, 2 listed, 1 changed, 1 quarantined, 1 sent" in result.stdout
    assert "  102: starts: Value error, 'pronto' is no date" in result.stdout
    assert ran(setup)
    [again] = command.json("sources", "run")
    assert (again["ok"], again["changed"], again["unchanged"]) == (True, 0, 1)
    [status] = command.json("sources", "list")
    assert (status["source"], status["documents"], status["quarantined"]) == ("agenda.event", 1, 1)
    listed = command("sources", "list")
    assert "agenda.event" in listed.stdout and "1 documents, 1 in quarantine, dataset 20" in listed.stdout


def test_a_dry_run_writes_nothing(command: Command, events: Site, setup: Setup) -> None:
    [told] = command.json("sources", "run", "--dry-run", "--full")
    assert (told["found"], told["changed"], told["quarantined"], told["complete"]) == (2, 1, 1, True)
    assert told["quarantine"][0].startswith("102: starts:") and not ran(setup)


def test_a_failed_run_is_one_sentence_and_exit_code_1(command: Command, events: Site, setup: Setup) -> None:
    events.robots = "User-agent: *\nDisallow: /\n"
    result = command("sources", "run", expect=1)
    assert 'set robots = "ignore" for agenda if the site is yours.' in result.stdout
    assert result.stderr.endswith("if the site is yours.\n") and "Error: 1 of 1 runs failed;" in result.stderr
    result = command("sources", "run", "--dry-run", expect=1)
    assert "forbids /wp-json" in result.stdout


def test_check_says_what_a_source_would_become(command: Command, events: Site, setup: Setup, tmp_path: Path) -> None:
    setup(
        files=[
            {"name": "notes", "place": str(tmp_path), "collection": "notes"},
            {"name": "gone", "place": str(tmp_path / "gone"), "collection": "notes"},
        ]
    )
    told = command.json("sources", "check", expect=1)
    assert [(one["name"], one["ok"]) for one in told] == [("agenda.event", True), ("notes", True), ("gone", False)]
    assert told[0]["detail"].startswith(
        "2 posts, clock of America/Santiago; the newest would be in quarantine: starts:"
    )
    assert "check place of gone, and whether it is mounted" in told[2]["detail"]
    events.edit("event", 102, fecha_inicio="2026-09-11", lugar="Teatro")
    result = command("sources", "check", "agenda.event")
    assert "✓ agenda.event: 2 posts" in result.stdout and "“Sin fecha”, with starts, venue" in result.stdout


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"url": "sitio.example"}, "'sitio.example' is no address of a site; write https://example.org"),
        ({"url": "https://a:b@sitio.example"}, "put the password into a variable"),
        ({"per_page": 101}, "less than or equal to 100"),
        ({"overlap": 1}, "greater than or equal to 2"),
        ({"timezone": "Chile"}, "there is no time zone 'Chile'"),
        ({"username": "x"}, "username and password_env belong together"),
        ({"colour": "red"}, "Extra inputs are not permitted"),
        (
            {"types": [{"type": "event", "collection": "e", "kind": "concert"}]},
            "there is no kind 'concert'; write one of",
        ),
        ({"types": [{"type": "event", "collection": "e", "fields": {"x": "y"}}]}, "page has no field 'x'; it has body"),
        ({"types": [{"type": "event", "collection": "e"}] * 2}, "two sources are called agenda.event"),
    ],
)
def test_a_wrong_setting_is_one_sentence(
    command: Command, setup: Setup, settings: dict[str, Any], sentence: str
) -> None:
    kind = {"type": "event", "collection": "eventos"}
    if settings.get("timezone") == "Chile":
        settings = {"timezone": "Chile/Nowhere"}
        sentence = "there is no time zone 'Chile/Nowhere'"
    setup(wordpress=[{"name": "agenda", "url": "https://sitio.example", "types": [kind], **settings}])
    assert sentence in command.fails("sources", "list")


def test_without_sources_the_command_says_what_to_write(command: Command) -> None:
    assert "add [[sources.wordpress]] or [[sources.files]] to" in command("sources", "list").stdout
    assert command.fails("sources", "run") == "There are no sources; see [[sources.wordpress]] and [[sources.files]]."
    assert command.fails("sources", "check", "x").startswith("There is no source x: none is configured")


def test_the_example_is_a_valid_configuration(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    from stenobus_sources.settings import Settings

    example = Path(__file__).parents[2] / "examples" / "sources" / "stenobus.toml"
    monkeypatch.setenv("STENOBUS_CONFIG", str(example))
    assert Settings.load("sources").names == [
        "agenda.event",
        "agenda.stores",
        "agenda.restaurant",
        "agenda.faq",
        "manuals",
    ]
