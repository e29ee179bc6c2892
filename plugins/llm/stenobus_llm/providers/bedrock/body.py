"""A request as Converse wants it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from stenobus_contracts import LlmRequest, Message

from ... import structured
from ...settings import Target
from ..images import shown
from .failures import failed

Block = dict[str, Any]

_NO_TOOLS: Final = "Do not ask for a tool now. Answer in words."


def body(target: Target, request: LlmRequest, images: Mapping[str, bytes]) -> dict[str, Any]:
    """The parameters of converse and converse_stream.

    Raises:
        Failure: bad_request, there is no way to say it.
    """
    turns = _turns(target, request, images)
    # The service refuses blank texts.
    system: list[Block] = [
        {"text": message.content}
        for message in request.messages
        if message.role == "system" and message.content.strip()
    ]
    result: dict[str, Any] = {"modelId": target.model, "messages": turns}
    if request.response_schema is not None:
        schema = structured.bounded(request.response_schema, target.bound_items, target.bound_characters)
        if target.structured == "json_schema":
            wanted = {"name": structured.name(request.task), "schema": json.dumps(schema)}
            result["outputConfig"] = {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": wanted}}}
        else:
            system.insert(0, {"text": structured.instruction(schema)})
    if (tools := _tools(request)) is not None:
        result["toolConfig"] = tools
        if not _may_call(request):
            system.append({"text": _NO_TOOLS})
    if system:
        result["system"] = [*system, {"cachePoint": {"type": "default"}}] if target.cache_point else system
    limits: dict[str, Any] = {"temperature": request.temperature}
    if request.max_output_tokens is not None:
        limits["maxTokens"] = request.max_output_tokens
    if kept := {name: limit for name, limit in limits.items() if name not in target.omit}:
        result["inferenceConfig"] = kept
    if target.extra:
        result["additionalModelRequestFields"] = target.extra
    return result


def _turns(target: Target, request: LlmRequest, images: Mapping[str, bytes]) -> list[dict[str, Any]]:
    """The conversation, in which user and assistant take turns. What a tool answered is said by the user."""
    turns: list[dict[str, Any]] = []
    for message in request.messages:
        if message.role == "system":
            continue
        role = "assistant" if message.role == "assistant" else "user"
        blocks = _blocks(target, message, images)
        if blocks and turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": role, "content": blocks})
    if not turns:
        raise failed(target, "bad_request", "needs a message of the user that is not blank")
    return turns


def _blocks(target: Target, message: Message, images: Mapping[str, bytes]) -> list[Block]:
    blocks: list[Block] = [
        {"image": {"format": kind, "source": {"bytes": data}}} for kind, data in shown(message, images)
    ]
    if message.content.strip():
        blocks.append({"text": message.content})
    for call in message.tool_calls:
        blocks.append({"toolUse": {"toolUseId": call.id, "name": call.name, "input": _input(call.arguments)}})
    if message.role != "tool":
        return blocks
    if not message.tool_call_id:
        raise failed(target, "bad_request", "needs the tool_call_id of every message of a tool")
    content = blocks or [{"text": "(nothing)"}]
    return [{"toolResult": {"toolUseId": message.tool_call_id, "content": content}}]


def _input(arguments: str) -> dict[str, Any]:
    """What an assistant asked of a tool: an object, whatever it wrote, so that it can be told of its mistake."""
    try:
        written = json.loads(arguments.strip() or "{}", parse_constant=_refuse)
    except (ValueError, RecursionError):
        written = None
    return written if isinstance(written, dict) else {"invalid": arguments}


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _may_call(request: LlmRequest) -> bool:
    return bool(request.tools) and request.tool_choice != "none"


def _tools(request: LlmRequest) -> dict[str, Any] | None:
    """What the model may call, or may have called: the service refuses a history with tools of which it hears nothing.

    It has no choice ``none``: without such a history the tools are kept from it, with one it is told in words.
    """
    called = {call.name for message in request.messages for call in message.tool_calls}
    if not _may_call(request) and not called:
        return None
    specs = [
        {
            "name": tool.name,
            **({"description": tool.description} if tool.description.strip() else {}),
            "inputSchema": {"json": tool.parameters},
        }
        for tool in request.tools
    ]
    known = {tool.name for tool in request.tools}
    specs += [{"name": name, "inputSchema": {"json": {"type": "object"}}} for name in sorted(called - known)]
    config: dict[str, Any] = {"tools": [{"toolSpec": spec} for spec in specs]}
    choice = request.tool_choice
    if choice is not None and choice != "none" and request.tools:
        named: dict[str, Block] = {"auto": {"auto": {}}, "required": {"any": {}}}
        config["toolChoice"] = named.get(choice, {"tool": {"name": choice}})
    return config
