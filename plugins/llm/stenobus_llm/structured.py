"""Structured answers: asking for them, and never believing them unchecked."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError, best_match
from jsonschema.validators import validator_for
from pydantic import JsonValue
from referencing import Registry
from referencing.exceptions import Unresolvable

from .failures import Failure

Schema = Mapping[str, JsonValue]

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
        data: JsonValue = json.loads(fenced[1] if fenced else text)
    except json.JSONDecodeError as error:
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
    return data


def instruction(schema: Schema) -> str:
    """The schema in words, for models whose servers do not enforce one."""
    return (
        "Answer with one JSON document and nothing else: no explanation, no Markdown. It must be valid against this "
        f"JSON Schema:\n{json.dumps(schema)}"
    )


def strict(schema: JsonValue) -> bool:
    """Whether the schema fits OpenAI's strict mode: every object closed, every property required."""
    if isinstance(schema, list):
        return all(map(strict, schema))
    if not isinstance(schema, dict):
        return True
    if schema.get("type") == "object" or "properties" in schema:
        properties, required = schema.get("properties", {}), schema.get("required", [])
        assert isinstance(properties, dict) and isinstance(required, list)
        if schema.get("additionalProperties") is not False or set(required) != set(properties):
            return False
    return all(map(strict, schema.values()))


def _place(error: ValidationError) -> str:
    path = ".".join(str(part) for part in error.absolute_path) or "its root"
    return f"{path}: {error.message if len(error.message) < 200 else error.validator}"
