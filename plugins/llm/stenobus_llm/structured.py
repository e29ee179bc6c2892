"""Structured answers: asking for them, and never believing them unchecked."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError, best_match
from jsonschema.validators import validator_for
from pydantic import JsonValue
from referencing import Registry
from referencing.exceptions import Unresolvable

from stenobus_contracts import LlmRequest, Message

from .failures import Failure

Schema = Mapping[str, JsonValue]

#: Upper bound of a repetition such as ``\\d{3,}``: nobody numbers further.
DIGITS = 9

#: Bound of a number that has none: a grammar's number is as long as the model likes.
LARGEST = 1_000_000_000

#: Characters of an invalid answer that go back to be mended: enough to correct it, not enough to double the cost.
SHOWN = 8000

_OPEN = re.compile(r"\{(\d+),\}")
_FENCE = re.compile(r"^\s*```[a-z]*\s*\n(.*)\n\s*```\s*$", re.DOTALL | re.IGNORECASE)


def check_schema(schema: Schema) -> None:
    """Refuse a schema that no answer can be held against.

    Raises:
        Failure: bad_request.
    """
    try:
        validator_for(schema, default=Draft202012Validator).check_schema(schema)
    except SchemaError as error:
        raise Failure("bad_request", f"response_schema is not a JSON Schema: {error.message}") from error


def parse(text: str, schema: Schema) -> JsonValue:
    """The JSON in a model's text, valid against the schema.

    Raises:
        Failure: invalid_answer; bad_request when the schema points at another document.
    """
    fenced = _FENCE.match(text)
    try:
        # Not strict: grammars of servers let control characters into strings, where JSON wants them escaped.
        data: JsonValue = json.loads(fenced[1] if fenced else text, strict=False, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise Failure("invalid_answer", f"The model's answer is not JSON: {error}.") from error
    # An empty registry: the validator's default one would fetch a remote $ref from wherever the schema says.
    validator = validator_for(schema, default=Draft202012Validator)(schema, registry=Registry())
    try:
        broken = best_match(validator.iter_errors(data))
    except Unresolvable as unresolvable:
        raise Failure(
            "bad_request", f"response_schema refers to {unresolvable.ref}, which is not part of it; put it in $defs."
        ) from unresolvable
    if broken is not None:
        raise Failure("invalid_answer", f"The model's answer breaks the response_schema at {_place(broken)}.")
    return _encodable(data)


def repair(request: LlmRequest, failure: Failure) -> LlmRequest:
    """The request once more, with the invalid answer to it and what is wrong with that; of earlier ones nothing.

    Args:
        request: as it was first sent.
        failure: of the latest answer.
    """
    complaint = (
        f"{failure.message} Answer again with the whole JSON document, corrected, and nothing else: no explanation, "
        "no Markdown."
    )
    wrong = Message(role="assistant", content=failure.text[:SHOWN] or "(nothing)")
    return request.model_copy(update={"messages": (*request.messages, wrong, Message(role="user", content=complaint))})


def bounded(schema: JsonValue, items: int | None, characters: int | None) -> JsonValue:
    """The schema with bounds where it has none: on arrays, on strings, on repetitions in their patterns, on numbers.

    A server that enforces a schema enforces its bounds too; without them a small model may write until its limit, or
    take the shortest way and write ``{}``. So objects have all their named properties, and no others.

    Args:
        schema: a JSON Schema.
        items: longest array.
        characters: longest string.
    """
    if items is None and characters is None:
        return schema
    if isinstance(schema, list):
        return [bounded(part, items, characters) for part in schema]
    if not isinstance(schema, dict):
        return schema
    result = {name: bounded(part, items, characters) for name, part in schema.items()}
    if schema.get("type") == "object" and isinstance(properties := schema.get("properties"), dict):
        result["required"] = list(properties)
        if schema.get("additionalProperties", True) is True:
            result["additionalProperties"] = False
    if items is not None and schema.get("type") == "array":
        result.setdefault("maxItems", items)
    if characters is not None and schema.get("type") == "string" and "enum" not in schema:
        if isinstance(pattern := schema.get("pattern"), str):
            result["pattern"] = _OPEN.sub(lambda match: f"{{{match[1]},{max(int(match[1]), DIGITS)}}}", pattern)
        else:
            result.setdefault("maxLength", characters)
    if schema.get("type") in ("number", "integer"):
        result.setdefault("minimum", -LARGEST)
        result.setdefault("maximum", LARGEST)
    return result


def name(task: str) -> str:
    """What the schema of a task's answer is called, in the letters that servers allow."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", task)[:64] or "answer"


def instruction(schema: JsonValue) -> str:
    """The schema in words, for models whose servers do not enforce one."""
    return (
        "Answer with one JSON document and nothing else: no explanation, no Markdown. It must be valid against this "
        f"JSON Schema:\n{json.dumps(schema)}"
    )


def strict(schema: JsonValue) -> bool:
    """Whether the schema fits OpenAI's strict mode: every object closed, every property required."""
    if not isinstance(schema, dict):
        return True
    properties, required = schema.get("properties", {}), schema.get("required", [])
    if schema.get("type") == "object" or properties:
        assert isinstance(properties, dict) and isinstance(required, list)  # check_schema saw to it
        if schema.get("additionalProperties") is not False or set(required) != set(properties):
            return False
    return all(map(strict, _parts(schema)))


def _parts(schema: Mapping[str, JsonValue]) -> Iterator[JsonValue]:
    """The schemas directly inside a schema."""
    for keyword in ("properties", "$defs", "definitions"):
        if isinstance(named := schema.get(keyword), dict):
            yield from named.values()
    for keyword in ("anyOf", "allOf", "oneOf", "prefixItems"):
        if isinstance(listed := schema.get(keyword), list):
            yield from listed
    yield schema.get("items")


def _encodable(data: JsonValue) -> JsonValue:
    """The data without lone surrogates, which JSON can spell and UTF-8 cannot."""
    text = json.dumps(data, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        replaced: JsonValue = json.loads(text.encode(errors="replace"))
        return replaced
    return data


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _place(error: ValidationError) -> str:
    path = ".".join(str(part) for part in error.absolute_path) or "its root"
    return f"{path}: {error.message if len(error.message) < 200 else error.validator}"
