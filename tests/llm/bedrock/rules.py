"""What Converse refuses: unknown members, what its shapes forbid, and what it says about conversations."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(frozen=True)
class Shape:
    """A structure by the names of its members.

    Args:
        members: the shape of each, in a list where there are many; None where nothing is looked at.
        required: those that must be there.
        union: exactly one is there.
    """

    members: Mapping[str, str | list[str] | None]
    required: frozenset[str] = field(default_factory=frozenset)
    union: bool = False


def _shape(*required: str, union: bool = False, **members: str | list[str] | None) -> Shape:
    return Shape(members, frozenset(required), union)


#: The shapes by their names in the service's model.
SHAPES: Final = {
    "ConverseRequest": _shape(
        "modelId",
        modelId=None,
        messages=["Message"],
        system=["SystemContentBlock"],
        inferenceConfig="InferenceConfiguration",
        toolConfig="ToolConfiguration",
        guardrailConfig=None,
        additionalModelRequestFields=None,
        promptVariables=None,
        additionalModelResponseFieldPaths=None,
        requestMetadata=None,
        performanceConfig=None,
        serviceTier=None,
        outputConfig="OutputConfig",
    ),
    "Message": _shape("role", "content", role="ConversationRole", content=["ContentBlock"]),
    "ContentBlock": _shape(
        union=True,
        text="Text",
        image="ImageBlock",
        document=None,
        video=None,
        audio=None,
        toolUse="ToolUseBlock",
        toolResult="ToolResultBlock",
        guardContent=None,
        cachePoint="CachePointBlock",
        reasoningContent=None,
        citationsContent=None,
        searchResult=None,
        toolAddition=None,
        toolRemoval=None,
    ),
    "SystemContentBlock": _shape(union=True, text="Text", guardContent=None, cachePoint="CachePointBlock"),
    "CachePointBlock": _shape("type", type="CachePointType", ttl="CacheTTL"),
    "ImageBlock": _shape("format", "source", format="ImageFormat", source="ImageSource", error=None),
    "ImageSource": _shape(union=True, bytes="Bytes", s3Location=None),
    "InferenceConfiguration": _shape(maxTokens="Number", temperature="Number", topP="Number", stopSequences=None),
    "ToolConfiguration": _shape("tools", tools=["Tool"], toolChoice="ToolChoice"),
    "Tool": _shape(union=True, toolSpec="ToolSpecification", systemTool=None, cachePoint="CachePointBlock"),
    "ToolSpecification": _shape(
        "name", "inputSchema", name="ToolName", description="Text", inputSchema="ToolInputSchema", strict=None
    ),
    "ToolInputSchema": _shape(union=True, json="Object"),
    "ToolChoice": _shape(union=True, auto="AutoToolChoice", any="AnyToolChoice", tool="SpecificToolChoice"),
    "AutoToolChoice": _shape(),
    "AnyToolChoice": _shape(),
    "SpecificToolChoice": _shape("name", name="ToolName"),
    "ToolUseBlock": _shape(
        "toolUseId", "name", "input", toolUseId="ToolUseId", name="ToolName", input="Object", type=None
    ),
    "ToolResultBlock": _shape(
        "toolUseId", "content", toolUseId="ToolUseId", content=["ToolResultContentBlock"], status=None, type=None
    ),
    "ToolResultContentBlock": _shape(
        union=True, json="Object", text="Text", image="ImageBlock", document=None, video=None, searchResult=None
    ),
    "OutputConfig": _shape(textFormat="OutputFormat", effort=None),
    "OutputFormat": _shape("type", "structure", type="OutputFormatType", structure="OutputFormatStructure"),
    "OutputFormatStructure": _shape(union=True, jsonSchema="JsonSchemaDefinition"),
    "JsonSchemaDefinition": _shape("schema", schema="Text", name="Text", description="Text"),
}
ENUMS: Final = {
    "ConversationRole": {"user", "assistant", "system"},
    "ImageFormat": {"png", "jpeg", "gif", "webp"},
    "CachePointType": {"default"},
    "CacheTTL": {"5m", "1h"},
    "OutputFormatType": {"json_schema"},
}
PATTERNS: Final = {"ToolName": "[a-zA-Z0-9_-]+", "ToolUseId": "[a-zA-Z0-9_.:-]+"}
_BEGINNINGS: Final = {"png": b"\x89PNG", "jpeg": b"\xff\xd8\xff", "gif": b"GIF8", "webp": b"RIFF"}


def complaint(way: str, body: dict[str, Any]) -> str:
    """Why the service refuses a request; empty when it takes it."""
    if way not in {"converse", "converse-stream"}:
        return f"there is no {way}"
    if "modelId" in body:
        return "extraneous key modelId, which is in the path"
    wrong = next(_broken("ConverseRequest", {"modelId": "in the path", **body}, "request"), "")
    return wrong or _conversation(body) or _tools(body)


def _broken(name: str, value: Any, where: str) -> Iterator[str]:
    if name in ENUMS and value not in ENUMS[name]:
        yield f"{where} is {value}, and must be one of {sorted(ENUMS[name])}"
    if name in PATTERNS and not (0 < len(value) <= 64 and re.fullmatch(PATTERNS[name], value)):
        yield f"{where} does not satisfy the regular expression pattern {PATTERNS[name]}"
    if name == "Text" and not (isinstance(value, str) and value.strip()):
        yield f"The text field in the ContentBlock object at {where} is blank. Add text to the text field."
    if name == "Object" and not isinstance(value, dict):
        yield f"The format of the value at {where} is invalid. Provide a json object for the field and try again."
    if name == "Number" and not isinstance(value, int | float):
        yield f"{where} is no number"
    if name == "Bytes":
        base64.b64decode(value, validate=True)
    if name not in SHAPES:
        return
    shape = SHAPES[name]
    if unknown := set(value) - set(shape.members):
        yield f"extraneous key {sorted(unknown)} is not permitted at {where}"
    if missing := shape.required - set(value):
        yield f"{where} misses {sorted(missing)}"
    if shape.union and len(value) != 1:
        yield f"{where} must have exactly one member"
    for member, part in value.items():
        inner = shape.members.get(member)
        if isinstance(inner, list):
            if not part:
                yield f"{where}.{member} is empty"
            for number, each in enumerate(part):
                yield from _broken(inner[0], each, f"{where}.{member}.{number}")
        elif inner is not None:
            yield from _broken(inner, part, f"{where}.{member}")


def _conversation(body: dict[str, Any]) -> str:
    roles = [message["role"] for message in body.get("messages", [])]
    if not roles or roles != [("user", "assistant")[number % 2] for number in range(len(roles))]:
        return "A conversation must start with a user message and alternate between user and assistant roles."
    for block in _blocks(body):
        if image := block.get("image"):
            data = base64.b64decode(image["source"]["bytes"])
            if not data.startswith(_BEGINNINGS[image["format"]]):
                return f"Could not process image: it is no {image['format']}."
    return ""


def _tools(body: dict[str, Any]) -> str:
    used = [block for block in _blocks(body) if "toolUse" in block or "toolResult" in block]
    if used and "toolConfig" not in body:
        return "The toolConfig field must be defined when using toolUse and toolResult content blocks."
    names = {tool["toolSpec"]["name"] for tool in body.get("toolConfig", {}).get("tools", []) if "toolSpec" in tool}
    named = body.get("toolConfig", {}).get("toolChoice", {}).get("tool", {}).get("name")
    if named is not None and named not in names:
        return f"The tool {named} of toolChoice is not among the tools."
    waiting: list[str] = []
    for message in body["messages"]:
        answered = [block["toolResult"]["toolUseId"] for block in message["content"] if "toolResult" in block]
        if sorted(answered) != sorted(waiting):
            return f"Expected toolResult blocks for the ids {waiting} and found {answered}."
        waiting = [block["toolUse"]["toolUseId"] for block in message["content"] if "toolUse" in block]
    return ""


def _blocks(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for message in body["messages"]:
        yield from message["content"]
