"""What an action's parameters and what was kept of the time before it have to look like; both are read strictly."""

from __future__ import annotations

import re
from typing import Final, TypeVar

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from stenobus_bus.errors import first_fault
from stenobus_contracts import Action

from ..errors import ActionFailed

S = TypeVar("S", bound="Shape")

#: Names of handlers.
HANDLER: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,99}")


class Shape(BaseModel):
    """Parameters of a kind of action, or what it keeps: nothing unknown, nothing bent into its type."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def parameters(action: Action, shape: type[S]) -> S:
    """The action's own parameters, without why it is proposed. Raises ActionFailed, and names the wrong one."""
    own = {name: value for name, value in action.parameters.items() if name != "because"}
    return _read(own, shape, f"the parameters of {action.kind} are wrong")


def kept(before: JsonValue, shape: type[S]) -> S:
    """What a look kept. Raises ActionFailed where it was no look of this remedy."""
    return _read(before, shape, "nothing useful was kept of the time before")


def handler(action: Action) -> str:
    """The handler that the action is about. Raises ActionFailed for what no handler can be called."""
    if not HANDLER.fullmatch(action.target):
        raise ActionFailed(f"{action.target[:100]!r} is no handler.")
    return action.target


def _read(value: JsonValue, shape: type[S], what: str) -> S:
    try:
        return shape.model_validate(value)
    except ValidationError as error:
        raise ActionFailed(f"{what}: {first_fault(error)}.") from error
