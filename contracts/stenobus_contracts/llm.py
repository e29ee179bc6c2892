"""Ask a language model, or what stands in for one, and hear back."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from pydantic import Field, JsonValue

from .event import Event, Model


class Message(Model):
    """One turn of a chat prompt."""

    role: Literal["system", "user", "assistant"]
    content: str


#: What a request may need of whoever answers it.
Capability = Literal["json_schema", "tools", "vision", "streaming"]


class TokenUsage(Model):
    """Tokens a completion took."""

    input: int = Field(default=0, ge=0)
    output: int = Field(default=0, ge=0)
    estimated: bool = Field(default=False, description="true when the provider did not report them")

    @property
    def total(self) -> int:
        """Input and output together."""
        return self.input + self.output

    def __add__(self, other: TokenUsage) -> TokenUsage:
        return TokenUsage(
            input=self.input + other.input,
            output=self.output + other.output,
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
    def lane(self) -> str | None:
        """Requests that somebody waits for have a lane of their own."""
        return self.priority if self.priority != "batch" else None


class LlmError(Model):
    """Why no completion came."""

    code: str = Field(
        description="throttled, overloaded, transport, truncated, invalid_answer, context_too_long, over_limit, "
        "content_filter, auth, bad_request, unsupported"
    )
    message: str
    retryable: bool = Field(default=False, description="the same request may be answered later")
    final: bool = Field(
        default=False,
        description="the same request to the same model would end the same: the prompt is too long, or the answer in "
        "text is cut off or breaks its schema",
    )


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
    provider: str
    model: str | None = None
    method: Literal["model", "extractive"] = "model"
    finish_reason: str | None = None
    usage: TokenUsage = TokenUsage()
    cost_usd: Decimal | None = Field(default=None, description="None when the price is not known; never a guess")
    seconds: float = Field(default=0.0, ge=0)
    error: LlmError | None = None
    candidates: tuple[LlmCandidate, ...] = Field(
        default=(), description="every provider that was considered, in the order of choice"
    )
