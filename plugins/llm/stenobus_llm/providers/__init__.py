"""What answers a request: one narrow port, and its members by kind of target."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Protocol, runtime_checkable

from pydantic import JsonValue

from stenobus_contracts import LlmRequest, TokenUsage, ToolCall

from ..failures import Failure
from ..settings import Target

#: Takes the next piece of an answer's text.
Piece = Callable[[str], Awaitable[None]]
NO_IMAGES: Final[Mapping[str, bytes]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Completion:
    """A usable answer."""

    text: str
    data: JsonValue = None
    tool_calls: tuple[ToolCall, ...] = ()
    model: str | None = None
    finish_reason: str = "stop"
    usage: TokenUsage = field(default_factory=TokenUsage)


class Provider(Protocol):
    """Turns a request into a completion."""

    async def complete(
        self, request: LlmRequest, piece: Piece | None = None, images: Mapping[str, bytes] = NO_IMAGES
    ) -> Completion:
        """Ask once.

        Args:
            request: what is asked.
            piece: takes the answer's text as it comes, in order, where the server streams; None to have it in one.
            images: what is behind the URIs of the messages' images.

        Raises:
            Failure: there is no usable completion; retrying is the bus's business, never the provider's.
        """
        ...

    async def close(self) -> None:
        """Give back connections."""
        ...


@runtime_checkable
class Counts(Protocol):
    """A provider whose server counts tokens."""

    async def count(self, request: LlmRequest) -> int:
        """Tokens of the prompt, exactly.

        Raises:
            Failure: the server does not say.
        """
        ...


def build(target: Target) -> Provider:
    """The provider for a target. The client library of a kind is loaded when its first target is built.

    Raises:
        Failure: the target's key is named but missing, or its client library is not installed.
    """
    if target.kind == "extractive":
        from .extractive import Extractive

        return Extractive()
    if target.kind == "bedrock":
        try:
            from .bedrock import Bedrock
        except ImportError as error:
            raise Failure(
                "bad_request", f"The target {target.name} needs boto3: pip install stenobus-llm[bedrock]."
            ) from error
        return Bedrock(target)
    from .openai import OpenAI

    return OpenAI(target)
