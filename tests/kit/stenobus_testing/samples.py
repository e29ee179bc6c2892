"""Example events made from contracts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from stenobus_contracts import BlobRef, Event

#: What a blob holds that an automatic example refers to.
TEXT: Final = b"The disk was full. A deleted log file was still open, so restart the service.\n"

_FORMATS: Final = {
    "date-time": "2026-01-01T12:00:00Z",
    "date": "2026-01-01",
    "time": "12:00:00Z",
    "duration": "PT1M",
    "uuid": "00000000-0000-4000-8000-000000000001",
    "uri": "file:///example.txt",
    "email": "someone@example.org",
}


class NoSample(Exception):
    """A contract of which no example can be made."""


async def sample(contract: type[Event], put: Callable[[bytes, str], Awaitable[BlobRef]]) -> Event:
    """An event with every required field, and a short text behind every reference.

    Args:
        put: stores content.

    Raises:
        NoSample: a field takes only values that cannot be guessed; the message names it.
    """
    schema = contract.model_json_schema()
    if examples := schema.get("examples"):
        return contract.model_validate(examples[0])
    ref = await put(TEXT, "text/plain")
    try:
        return contract.model_validate_json(_json(_value(schema, schema.get("$defs", {}), ref, contract.__name__)))
    except ValueError as error:
        raise NoSample(f"{contract.__name__}: {str(error).splitlines()[0]}") from error


def _json(value: Any) -> bytes:
    import json

    return json.dumps(value).encode()


def _value(schema: dict[str, Any], definitions: dict[str, Any], ref: BlobRef, where: str) -> Any:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if name in {"BlobRef", "Media"}:
            return ref.model_dump(mode="json")
        return _value(definitions[name], definitions, ref, where)
    if examples := schema.get("examples"):
        return examples[0]
    for known in ("const", "default"):
        if known in schema:
            return schema[known]
    if "enum" in schema:
        return schema["enum"][0]
    for choices in ("anyOf", "oneOf", "allOf"):
        if choices in schema:
            return _value(schema[choices][0], definitions, ref, where)
    match schema.get("type"):
        case "object":
            fields = schema.get("properties", {})
            return {
                name: _value(fields[name], definitions, ref, f"{where}.{name}") for name in schema.get("required", [])
            }
        case "array":
            return [_value(schema["items"], definitions, ref, f"{where}[]") for _ in range(schema.get("minItems", 0))]
        case "string":
            if "pattern" in schema:
                raise NoSample(f"{where} must match {schema['pattern']}")
            text = _FORMATS.get(schema.get("format", ""), "example")
            return text.ljust(schema.get("minLength", 0), "x")[: schema.get("maxLength")]
        case "integer" | "number":
            return _number(schema)
        case "boolean":
            return False
        case "null":
            return None
    return {}


def _number(schema: dict[str, Any]) -> float:
    low = schema.get("minimum", schema.get("exclusiveMinimum", 0) + ("exclusiveMinimum" in schema))
    high = schema.get("maximum", schema.get("exclusiveMaximum", low + 2) - 1)
    number: float = max(low, min(1, high))
    return number
