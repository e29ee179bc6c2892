"""A request as the body of a chat completion."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final

from stenobus_contracts import LlmRequest, Message

from ... import structured
from ...failures import Failure
from ...settings import Target
from ..images import shown

#: Choices of a tool that are no tool's name.
_CHOICES: Final = frozenset({"auto", "none", "required"})


def body(request: LlmRequest, target: Target, model: str, images: Mapping[str, bytes], stream: bool) -> dict[str, Any]:
    """All fields but those that the target adds by itself (``extra``).

    Args:
        request: what is asked.
        target: whom.
        model: its name there.
        images: the bytes behind the URIs of the messages' images.
        stream: ask for the answer in pieces, and for its usage at the end.

    Raises:
        Failure: bad_request, when no server would take the messages or tools.
    """
    found: dict[str, Any] = {
        "model": model,
        "messages": messages(request, target, images),
        "temperature": request.temperature,
    }
    if request.max_output_tokens is not None:
        found["max_completion_tokens"] = request.max_output_tokens
    if wanted := _format(request, target):
        found["response_format"] = wanted
    if request.tools:
        found["tools"] = tools(request)
    if request.tool_choice is not None:
        found["tool_choice"] = _choice(request, request.tool_choice)
    if stream:
        found |= {"stream": True, "stream_options": {"include_usage": True}}
    return {field: value for field, value in found.items() if field not in target.omit}


def messages(request: LlmRequest, target: Target, images: Mapping[str, bytes]) -> list[dict[str, Any]]:
    """The turns, and before them the schema in words where the server does not enforce one.

    Raises:
        Failure: bad_request.
    """
    turns = [_message(message, images) for message in request.messages]
    if request.response_schema is not None and target.structured != "json_schema":
        schema = structured.bounded(request.response_schema, target.bound_items, target.bound_characters)
        turns.insert(0, {"role": "system", "content": structured.instruction(schema)})
    return turns


def tools(request: LlmRequest) -> list[dict[str, Any]]:
    """The functions that the model may ask for."""
    return [{"type": "function", "function": tool.model_dump(mode="json")} for tool in request.tools]


def _message(message: Message, images: Mapping[str, bytes]) -> dict[str, Any]:
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    if pictures := shown(message, images):
        text = [{"type": "text", "text": message.content}] if message.content else []
        turn["content"] = [*text, *(_picture(kind, data) for kind, data in pictures)]
    if message.tool_calls:
        if message.role != "assistant":
            raise Failure(
                "bad_request", f"A message of the {message.role} cannot call tools; only the assistant's can."
            )
        turn["content"] = message.content or None
        turn["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if (message.role == "tool") != (message.tool_call_id is not None):
        raise Failure("bad_request", "A tool's message, and no other, says which call it answers (tool_call_id).")
    if message.tool_call_id is not None:
        turn["tool_call_id"] = message.tool_call_id
    return turn


def _picture(kind: str, data: bytes) -> dict[str, Any]:
    url = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}


def _format(request: LlmRequest, target: Target) -> dict[str, Any] | None:
    if request.response_schema is None or target.structured == "prompt":
        return None
    if target.structured == "json_object":
        return {"type": "json_object"}
    schema = structured.bounded(request.response_schema, target.bound_items, target.bound_characters)
    named = {"name": structured.name(request.task), "schema": schema, "strict": structured.strict(schema)}
    return {"type": "json_schema", "json_schema": named}


def _choice(request: LlmRequest, choice: str) -> str | dict[str, Any]:
    names = [tool.name for tool in request.tools]
    if choice in _CHOICES and names:
        return choice
    if choice not in names:
        offered = f"offers {', '.join(names)}" if names else "offers none"
        raise Failure("bad_request", f"The request chooses the tool {choice}, and {offered}.")
    return {"type": "function", "function": {"name": choice}}
