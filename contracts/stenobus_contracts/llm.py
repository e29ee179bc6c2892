"""Ask a language model, or what stands in for one, and hear back."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from pydantic import Field, JsonValue

from .blob import BlobRef
from .event import Event, Model


class Tool(Model):
    """A function that the model may ask for. Whoever sent the request calls it, never the router."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    description: str = ""
    parameters: dict[str, JsonValue] = Field(
        default={"type": "object", "properties": {}}, description="JSON Schema of the arguments"
    )


class ToolCall(Model):
    """The model asks for a function."""

    id: str
    name: str
    arguments: str = Field(description="JSON as the model wrote it: check it before you use it")


class Message(Model):
    """One turn of a chat prompt."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    images: tuple[BlobRef, ...] = Field(default=(), description="what the user shows: PNG, JPEG, GIF or WebP")
    tool_calls: tuple[ToolCall, ...] = Field(default=(), description="what the assistant asked for in this turn")
    tool_call_id: str | None = Field(default=None, description="the call that a tool's message answers")


#: What a request may need of whoever answers it.
Capability = Literal["json_schema", "tools", "vision", "streaming"]


class TokenUsage(Model):
    """Tokens a completion took."""

    input: int = Field(default=0, ge=0)
    output: int = Field(default=0, ge=0)
    cached: int = Field(default=0, ge=0, description="of the input, what the provider had read before; often cheaper")
    estimated: bool = Field(default=False, description="true when the provider did not report them")

    @property
    def total(self) -> int:
        """Input and output together."""
        return self.input + self.output

    def __add__(self, other: TokenUsage) -> TokenUsage:
        return TokenUsage(
            input=self.input + other.input,
            output=self.output + other.output,
            cached=self.cached + other.cached,
            estimated=self.estimated or other.estimated,
        )


class LlmRequest(Event, subject="llm.request", lanes=("interactive",)):
    """Ask for a completion: on ``llm.request.interactive`` when a person waits for it, else on ``llm.request``."""

    task: str = Field(description="what the answer is for, such as documents.extract; accounting goes by it")
    messages: tuple[Message, ...] = Field(min_length=1)
    inputs: dict[str, JsonValue] | None = Field(
        default=None, description="the facts the prompt was made of, for providers that work without a language model"
    )
    response_schema: dict[str, JsonValue] | None = Field(default=None, description="JSON Schema of the wanted answer")
    tools: tuple[Tool, ...] = ()
    tool_choice: str | None = Field(
        default=None, description="auto, none, required, or the name of a tool; the model decides when absent"
    )
    stream: bool = Field(
        default=False, description="also send the answer in pieces (LlmChunk) while it is written, to who asked"
    )
    cache: bool | None = Field(
        default=None,
        description="whether an identical request's answer will do; when absent, at temperature 0 only",
    )
    max_output_tokens: int | None = Field(default=None, ge=1)
    temperature: float = Field(default=0.0, ge=0, le=2)
    target: str | None = Field(default=None, description="name of a provider; chosen by the router when absent")
    needs: tuple[Capability, ...] = Field(
        default=(), description="what the provider must be able to do itself, such as enforce the response_schema"
    )
    local_only: bool = Field(default=False, description="the prompt must not leave the hosts of whoever runs this")
    priority: Literal["interactive", "batch"] | None = Field(
        default=None, description="interactive: a person waits, and it is answered before batch; batch when absent"
    )

    @property
    def needed(self) -> frozenset[Capability]:
        """What the provider must be able to do: what is said, and what follows from the request."""
        tools: tuple[Capability, ...] = ("tools",) if self.tools else ()
        vision: tuple[Capability, ...] = ("vision",) if any(message.images for message in self.messages) else ()
        return frozenset((*self.needs, *tools, *vision))

    @property
    def lane(self) -> str | None:
        """Requests that somebody waits for have a lane of their own."""
        return self.priority if self.priority != "batch" else None


class LlmError(Model):
    """Why no completion came."""

    code: str = Field(
        description="throttled, overloaded, transport, truncated, invalid_answer, context_too_long, over_limit, "
        "over_budget, content_filter, auth, bad_request, unsupported"
    )
    message: str
    retryable: bool = Field(default=False, description="the same request may be answered later")
    final: bool = Field(
        default=False,
        description="the same request to the same model would end the same: the prompt is too long, or the answer in "
        "text is cut off or breaks its schema",
    )


class LlmChunk(Model):
    """A piece of an answer, on an ephemeral subject for whoever asked. Nobody stores it; ``llm.done`` has it all."""

    request_id: str = Field(description="event id of the request")
    attempt: int = Field(
        default=1, ge=1, description="what came with a lower one no longer counts: the process that wrote it died"
    )
    index: int = Field(ge=0, description="from 0, without a gap; a missing one is in llm.done")
    text: str = ""
    last: bool = Field(default=False, description="nothing follows but llm.done")
    error: LlmError | None = Field(default=None, description="why the answer ends here, in the last piece")


class LlmCandidate(Model):
    """A provider that was considered for a request."""

    target: str
    asked: bool
    reason: str = Field(description="why it was asked, or why not")


class LlmDone(Event, subject="llm.done", answers=LlmRequest):
    """A completion with its usage and cost, or the reason there is none."""

    request_id: str = Field(description="event id of the request")
    task: str
    text: str = ""
    data: JsonValue = Field(default=None, description="the parsed answer when a response_schema was given")
    tool_calls: tuple[ToolCall, ...] = ()
    provider: str
    model: str | None = None
    caller: str | None = Field(default=None, description="source of the request, such as stenobus/documents-extract")
    method: Literal["model", "extractive"] = "model"
    finish_reason: str | None = None
    usage: TokenUsage = TokenUsage()
    cost_usd: Decimal | None = Field(
        default=None, description="of all attempts; None when a price is not known, never a guess"
    )
    prices: str | None = Field(default=None, description="version of the price table the cost was worked out by")
    cached: bool = Field(default=False, description="an earlier answer to the identical request, at no cost")
    calls: int = Field(default=0, ge=0, description="how often a provider was asked, failed attempts and repairs too")
    repairs: int = Field(default=0, ge=0, description="how often it was asked again to mend an invalid answer")
    first_token_seconds: float | None = Field(
        default=None, ge=0, description="until the first piece of the answer; None where it came in one"
    )
    seconds: float = Field(default=0.0, ge=0)
    error: LlmError | None = None
    candidates: tuple[LlmCandidate, ...] = Field(
        default=(), description="every provider that was considered, in the order of choice"
    )
