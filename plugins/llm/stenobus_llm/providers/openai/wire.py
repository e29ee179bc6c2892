"""What a chat completions server says, as it stands on the wire."""

from __future__ import annotations

import json
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError

from stenobus_bus.errors import first_fault
from stenobus_contracts import TokenUsage

#: Most bytes of an answer in one, and of one event of a stream.
LARGEST: Final = 16 * 1024 * 1024


class Malformed(Exception):
    """What came is not a chat completion."""


class _Wire(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)


class _Function(_Wire):
    name: str | None = None
    arguments: str | None = None


class Call(_Wire):
    """A tool call, or more of one."""

    index: NonNegativeInt | None = None
    id: str | None = None
    function: _Function = _Function()


class Part(_Wire):
    """A message, or more of one."""

    content: str | None = None
    refusal: str | None = None
    tool_calls: list[Call] | None = None


class _Choice(_Wire):
    index: int = 0
    message: Part | None = None
    delta: Part | None = None
    finish_reason: str | None = None


class Reply(_Wire):
    """A whole answer, or a chunk of one."""

    model: str | None = None
    choices: list[_Choice] = Field(default=[], max_length=16)
    usage: Any = None
    error: Any = None


class _Details(_Wire):
    cached_tokens: NonNegativeInt | None = None


class _Usage(_Wire):
    prompt_tokens: NonNegativeInt
    completion_tokens: NonNegativeInt | None = None
    prompt_tokens_details: _Details | None = None


class _Count(_Wire):
    count: NonNegativeInt


def count(data: bytes) -> int:
    """The number of tokens that a server counted.

    Raises:
        Malformed: it is no number.
    """
    try:
        return _Count.model_validate_json(data).count
    except ValidationError as error:
        raise Malformed(first_fault(error)) from error


class _Model(_Wire):
    id: str


class _Models(_Wire):
    data: list[_Model]


def models(data: bytes) -> list[str]:
    """The names of the models that a server lists.

    Raises:
        Malformed: it is no such list.
    """
    try:
        return [model.id for model in _Models.model_validate_json(data).data]
    except ValidationError as error:
        raise Malformed(first_fault(error)) from error


def reply(data: bytes) -> Reply:
    """Read a JSON document.

    Raises:
        Malformed: it is none, or has another shape.
    """
    try:
        return Reply.model_validate_json(data)
    except ValidationError:
        pass  # it may hold what JSON can spell and UTF-8 cannot
    try:
        tidy = json.dumps(json.loads(data), ensure_ascii=False).encode(errors="replace")
        return Reply.model_validate_json(tidy)
    except ValidationError as error:
        raise Malformed(first_fault(error)) from error
    except (ValueError, RecursionError) as error:
        raise Malformed(str(error)) from error


def usage(counted: Any) -> TokenUsage | None:
    """What the server counted; None when that makes no sense."""
    try:
        found = _Usage.model_validate(counted)
    except ValidationError:
        return None
    cached = found.prompt_tokens_details and found.prompt_tokens_details.cached_tokens
    return TokenUsage(
        input=found.prompt_tokens, output=found.completion_tokens or 0, cached=min(cached or 0, found.prompt_tokens)
    )
