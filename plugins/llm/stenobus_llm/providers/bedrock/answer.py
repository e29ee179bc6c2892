"""What Converse answered, as a completion."""

from __future__ import annotations

import json
from typing import Any, Final

from stenobus_contracts import LlmRequest, TokenUsage, ToolCall
from stenobus_core.tokens import tokens_of

from ... import structured, tokens
from ...failures import Failure
from ...settings import Target
from .. import Completion
from .call import Answer
from .failures import failed, member, strange
from .stream import LARGEST, MOST_CALLS, endless

_FILTERED: Final = frozenset({"guardrail_intervened", "content_filtered"})
_SPOILT: Final = frozenset({"malformed_model_output", "malformed_tool_use"})
#: Why a model stopped, in OpenAI's words.
_FINISHED: Final = {"end_turn": "stop", "stop_sequence": "stop", "tool_use": "tool_calls"}


def completion(target: Target, request: LlmRequest, answer: Answer) -> Completion:
    """The completion in an answer, gathered from a stream or not.

    Raises:
        Failure: transport, it is no answer of Converse; else what its reason to stop says, or invalid_answer.
    """
    stop = member(target, answer, "stopReason", str)
    content = member(target, member(target, member(target, answer, "output", dict), "message", dict), "content", list)
    blocks = [block for block in content if isinstance(block, dict)]
    # A lone surrogate, which JSON can spell, would fail in everything that is written as UTF-8.
    text = "".join(member(target, block, "text", str) for block in blocks if "text" in block)
    text = text.encode(errors="replace").decode()
    asked = [member(target, block, "toolUse", dict) for block in blocks if "toolUse" in block]
    if len(asked) > MOST_CALLS:
        raise strange(target, f"more than {MOST_CALLS} calls of tools")
    calls = tuple(_call(target, tool) for tool in asked)
    if len(text) + sum(len(call.id) + len(call.name) + len(call.arguments) for call in calls) > LARGEST:
        raise endless(target)
    used = usage(request, answer.get("usage"), text)
    known: dict[str, Any] = {"usage": used, "text": text, "model": target.model}
    if stop in _FILTERED:
        raise failed(target, "content_filter", "declined to answer this request", **known)
    if stop == "max_tokens":
        what = f"stopped at {used.output} tokens before the answer was complete"
        raise failed(target, "truncated", f"{what}; raise max_output_tokens or ask for less", **known)
    if stop == "model_context_window_exceeded":
        raise failed(target, "context_too_long", "ran out of its context window; send less", **known)
    if stop in _SPOILT:
        raise failed(target, "invalid_answer", f"could not finish a well-formed answer ({stop})", **known)
    if calls and (not request.tools or request.tool_choice == "none"):
        raise failed(target, "invalid_answer", "asked for a tool where it was to answer itself", **known)
    data = None
    if request.response_schema is not None and not calls:
        try:
            data = structured.parse(text, request.response_schema)
        except Failure as failure:
            raise Failure(failure.code, failure.message, **known) from failure
    finish = "tool_calls" if calls else _FINISHED.get(stop, stop[:64])
    return Completion(text=text, data=data, tool_calls=calls, model=target.model, finish_reason=finish, usage=used)


def usage(request: LlmRequest, counted: Any, text: str) -> TokenUsage:
    """What the service counted, or an estimate labelled as one."""
    counts = counted if isinstance(counted, dict) else {}
    fresh, output, read, written = (
        number if isinstance(number := counts.get(name), int) and number >= 0 else None
        for name in ("inputTokens", "outputTokens", "cacheReadInputTokens", "cacheWriteInputTokens")
    )
    if fresh is None or output is None:
        return TokenUsage(input=tokens.estimate(request), output=tokens_of(text), estimated=True)
    # inputTokens are those behind the last cache point; the prompt is all three.
    return TokenUsage(input=fresh + (read or 0) + (written or 0), output=output, cached=read or 0)


def _call(target: Target, tool: dict[str, Any]) -> ToolCall:
    """What the model asks of a tool. From a stream its input is the text that the model wrote."""
    written = tool.get("input")
    try:
        arguments = written if isinstance(written, str) else json.dumps(written or {}, ensure_ascii=False)
    except RecursionError as error:
        raise strange(target, "arguments of a tool that are nested too deep") from error
    return ToolCall(
        id=member(target, tool, "toolUseId", str),
        name=member(target, tool, "name", str),
        arguments=arguments.encode(errors="replace").decode() or "{}",
    )
