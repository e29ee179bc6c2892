"""What a handler's annotations say: what comes in, what goes out."""

from __future__ import annotations

import inspect
import types
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, TypeGuard, Union, get_args, get_origin, get_type_hints

from stenobus_contracts import Event

from .context import Context
from .errors import PluginError

HandlerFunction = Callable[..., Awaitable[Event | Sequence[Event] | None]]


class Signature(NamedTuple):
    """What a handler's function takes and returns."""

    contract: type[Event]
    outputs: tuple[type[Event], ...]
    #: It takes nothing but the event and the context.
    plain: bool
    #: Name of the context's parameter, None when there is none.
    context: str | None


def signature(plugin: str, function: HandlerFunction) -> Signature:
    """Read a handler's annotations. Raises PluginError when they do not say what comes in or what goes out."""
    where = f"{plugin}: handler {function.__name__}"
    if not inspect.iscoroutinefunction(function):
        raise PluginError(f"{where} must be `async def`.")
    try:
        hints = get_type_hints(function)
    except NameError as error:
        raise PluginError(f"{where}: {error}; import the type at module level.") from error
    parameters = list(inspect.signature(function).parameters.values())
    contract = hints.get(parameters[0].name) if parameters else None
    if not is_contract(contract):
        raise PluginError(f"{where}: annotate its first parameter with the contract it handles.")
    context = next((p.name for p in parameters[1:] if _is_context(hints.get(p.name))), None)
    plain = len(parameters) == 1 + (context is not None)
    return Signature(contract, tuple(_outputs(where, hints.get("return"))), plain, context)


def is_contract(hint: Any) -> TypeGuard[type[Event]]:
    """Whether an annotation is an event with a subject of its own."""
    return isinstance(hint, type) and issubclass(hint, Event) and hasattr(hint, "subject")


def _is_context(hint: Any) -> bool:
    return hint is Context or get_origin(hint) is Context


def _outputs(where: str, hint: Any) -> list[type[Event]]:
    """Contracts in a return annotation: an event, None, a union, or a sequence of them."""
    if hint is None or hint is type(None) or hint is Ellipsis:
        return []
    if isinstance(hint, type) and get_origin(hint) is None:
        if issubclass(hint, Event):
            return [hint]
        raise PluginError(f"{where}: returns {hint.__name__}, which is no contract.")
    if get_origin(hint) in {Union, types.UnionType, tuple, list, Sequence}:
        return [contract for part in get_args(hint) for contract in _outputs(where, part)]
    raise PluginError(f"{where}: the return annotation {hint} is not understood.")
