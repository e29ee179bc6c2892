"""Declaring a plugin: what the types say, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional, Union

import pytest

from stenobus_contracts import Event
from stenobus_core import Context, Plugin, PluginError, RetryPolicy
from stenobus_core.plugin import Handler

from ..support.contracts import Ping, Pong


def declared(function: Any, **options: Any) -> Handler:
    plugin = Plugin("acme")
    plugin.handler(**options)(function)
    return plugin.handlers[0]


async def one(event: Ping) -> Pong: ...  # type: ignore[empty-body]
async def maybe(event: Ping) -> Pong | None: ...
async def old(event: Ping) -> Optional[Pong]: ...  # noqa: UP045
async def union(event: Ping) -> Union[Pong, Ping]: ...  # type: ignore[empty-body] # noqa: UP007
async def pair(event: Ping) -> tuple[Pong, Ping]: ...  # type: ignore[empty-body]
async def many(event: Ping) -> list[Pong]: ...  # type: ignore[empty-body]
async def endless(event: Ping) -> tuple[Pong, ...]: ...  # type: ignore[empty-body]
async def sequence(event: Ping) -> Sequence[Pong]: ...  # type: ignore[empty-body]
async def nothing(event: Ping) -> None: ...
async def unsaid(event: Ping): ...  # type: ignore[no-untyped-def]


@pytest.mark.parametrize(
    ("function", "outputs"),
    [
        (one, (Pong,)), (maybe, (Pong,)), (old, (Pong,)), (union, (Pong, Ping)), (pair, (Pong, Ping)),
        (many, (Pong,)), (endless, (Pong,)), (sequence, (Pong,)), (nothing, ()), (unsaid, ()),
    ],
)  # fmt: skip
def test_the_types_say_what_comes_in_and_goes_out(function: Any, outputs: tuple[type[Event], ...]) -> None:
    handler = declared(function)
    assert (handler.contract, handler.outputs) == (Ping, outputs)
    assert handler.plain
    assert handler.context_parameter is None


async def with_context(event: Ping, surroundings: Context) -> None: ...  # type: ignore[type-arg]
async def with_more(event: Ping, ctx: Context[Any, Any], more: int = 1) -> None: ...


def test_the_context_is_found_by_its_type() -> None:
    assert declared(with_context).context_parameter == "surroundings"
    assert declared(with_context).plain
    assert declared(with_more).context_parameter == "ctx"
    assert not declared(with_more).plain


def test_a_handler_becomes_a_consumer_of_its_domain() -> None:
    handler = declared(one, attempts=40)
    consumer = handler.consumer(ack_wait=7)
    assert (consumer.stream, consumer.name, consumer.subject, consumer.ack_wait) == ("TEST", "acme", "test.ping", 7)
    assert consumer.max_deliver >= 400
    assert declared(one, retry=RetryPolicy(attempts=2)).retry.attempts == 2
    assert declared(one, name="other").name == "other"


def synchronous(event: Ping) -> None: ...
async def no_parameter() -> None: ...
async def untyped(event) -> None: ...  # type: ignore[no-untyped-def]
async def no_contract(event: int) -> None: ...
async def family(event: Event) -> None: ...
async def returns_text(event: Ping) -> str: ...  # type: ignore[empty-body]
async def returns_anything(event: Ping) -> Any: ...
async def unknown_type(event: Ping) -> Nowhere: ...  # type: ignore[name-defined] # noqa: F821


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (synchronous, "acme: handler synchronous must be `async def`."),
        (no_parameter, "acme: handler no_parameter: annotate its first parameter with the contract it handles."),
        (untyped, "acme: handler untyped: annotate its first parameter with the contract it handles."),
        (no_contract, "acme: handler no_contract: annotate its first parameter with the contract it handles."),
        (family, "acme: handler family: annotate its first parameter with the contract it handles."),
        (returns_text, "acme: handler returns_text: returns str, which is no contract."),
        (returns_anything, "acme: handler returns_anything: returns Any, which is no contract."),
        (unknown_type, "acme: handler unknown_type: name 'Nowhere' is not defined; import the type at module level."),
    ],
)
def test_a_declaration_error_names_plugin_and_handler(function: Any, message: str) -> None:
    with pytest.raises(PluginError) as error:
        declared(function)
    assert str(error.value) == message


@pytest.mark.parametrize("name", ["", "Acme", "acme_one", "1acme", "acme.one", "acme one", "x" * 64])
def test_a_name_that_no_service_can_have_is_refused(name: str) -> None:
    with pytest.raises(PluginError, match="must be lower-case letters"):
        Plugin(name)
    with pytest.raises(PluginError, match="must be lower-case letters"):
        declared(one, name=name or "-")


def test_a_second_handler_needs_a_name_of_its_own() -> None:
    plugin = Plugin("acme")
    plugin.handler()(one)
    with pytest.raises(PluginError, match=r"acme: two handlers are named acme; give one a name=… of its own\."):
        plugin.handler()(maybe)
    plugin.handler(name="acme-maybe")(maybe)
    assert [handler.name for handler in plugin.handlers] == ["acme", "acme-maybe"]


@pytest.mark.parametrize("options", [{"concurrency": 0}, {"attempts": 0}, {"timeout": 0}, {"timeout": -1}])
def test_numbers_that_can_never_work_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(PluginError, match=f"acme: handler one: {next(iter(options))} must be"):
        declared(one, **options)
