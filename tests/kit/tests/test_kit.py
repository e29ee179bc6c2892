"""The kit's own parts: what it says when it cannot be used, and servers in containers."""

from __future__ import annotations

from typing import Literal

import pytest
from pydantic import Field

from stenobus_contracts import BlobRef, Event, Media
from stenobus_core import Plugin, PluginError
from stenobus_testing import conformance
from stenobus_testing.samples import NoSample, sample

from ...support.contracts import Ping, Pong

pytest_plugins = ["pytester"]

REF = BlobRef(uri="memory://1", sha256="0" * 64, size=3)


async def put(data: bytes, content_type: str) -> BlobRef:
    return REF


class Everything(Event, subject="test.everything"):
    """Every kind of field that can be guessed."""

    text: str = Field(min_length=9)
    number: int = Field(ge=5)
    share: float = Field(gt=0, le=1)
    kind: Literal["a", "b"]
    wanted: bool
    content: BlobRef
    media: Media
    parts: tuple[Media, ...] = Field(min_length=1)
    maybe: str | None = None


class Guarded(Event, subject="test.guarded"):
    """A field nobody can guess."""

    code: str = Field(pattern=r"^[A-Z]{3}-\d{4}$")


class Shown(Event, subject="test.shown"):
    """A field nobody can guess, with an example."""

    code: str = Field(pattern=r"^[A-Z]{3}-\d{4}$", examples=["ABC-1234"])


async def test_an_example_has_every_required_field_and_content_behind_its_references() -> None:
    event = await sample(Everything, put)
    assert isinstance(event, Everything)
    assert (event.content, event.media.uri, event.parts[0].uri) == (REF, REF.uri, REF.uri)
    assert (event.number, event.kind, event.maybe) == (5, "a", None)


async def test_what_cannot_be_guessed_is_named_unless_the_contract_shows_it() -> None:
    with pytest.raises(NoSample, match=r"Guarded\.code must match"):
        await sample(Guarded, put)
    assert (await sample(Shown, put)).model_dump() == {"code": "ABC-1234"}


plugin = Plugin("passing")


@plugin.handler()
async def work(event: Ping) -> Pong:
    return Pong(number=event.number)


def test_a_plugin_that_is_not_installed_and_a_rule_that_is_none_are_named() -> None:
    with pytest.raises(PluginError, match="No plugin is named nobody"):
        conformance("nobody")
    with pytest.raises(PluginError, match="There is no rule speed; there are blocking, crash"):
        conformance(plugin, rules={"speed"})


def test_an_example_that_no_handler_takes_is_named() -> None:
    with pytest.raises(PluginError, match="passing: no handler takes the example"):
        conformance(plugin, examples=[Pong(number=1)])


@pytest.mark.parametrize(("ci", "wanted"), [("", {"skipped": 2}), ("true", {"skipped": 1, "errors": 1})])
def test_without_an_engine_a_container_is_skipped_on_a_laptop_and_missing_where_it_counts(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, ci: str, wanted: dict[str, int]
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setenv("DOCKER_HOST", "unix:///nobody/docker.sock")
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    pytester.makepyfile(
        """
        import pytest

        def test_it(nats_server): pass

        @pytest.mark.embedded_nats("it looks into its folder")
        def test_folder(nats_server): pass
        """
    )
    result = pytester.runpytest("--nats=container", "-rs", "-p", "no:cacheprovider")
    assert wanted.items() <= result.parseoutcomes().items()
    result.stdout.fnmatch_lines(["*no container of nats:2.15.1-alpine can be started: *"])
    result.stdout.fnmatch_lines(["*embedded server only: it looks into its folder*"])
