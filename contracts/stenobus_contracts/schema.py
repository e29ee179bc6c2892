"""JSON Schemas of the contracts, and what may change in them.

Inside a major version a change must be additive. For somebody who produces with the old schema and somebody who
consumes with the new one (and the other way round), that means: no field disappears, none becomes required, and no
type, pattern or limit gets narrower.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from .dead_letter import DeadLetter
from .event import Event

Schema = dict[str, Any]

#: Keywords that only tighten, with the comparison (old, new) that says so. A missing value is the loosest.
_LIMITS: dict[str, Callable[[Any, Any], bool]] = {
    "minimum": operator.lt,
    "exclusiveMinimum": operator.lt,
    "minLength": operator.lt,
    "minItems": operator.lt,
    "maximum": operator.gt,
    "exclusiveMaximum": operator.gt,
    "maxLength": operator.gt,
    "maxItems": operator.gt,
    "multipleOf": operator.ne,
    "uniqueItems": operator.ne,
    "pattern": operator.ne,
    "format": operator.ne,
}


def schemas(contracts: Iterable[type[Event]]) -> dict[str, Schema]:
    """JSON Schema (2020-12) of every contract and of the dead letter, by CloudEvents type."""
    models: list[type[BaseModel]] = [*contracts, DeadLetter]
    return {_type(model): _schema(model) for model in models}


def export(contracts: Iterable[type[Event]], folder: Path) -> list[Path]:
    """Write one ``<type>.json`` per contract.

    Returns:
        The files, sorted. Files of contracts that are gone are left: a schema is a promise.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, schema in sorted(schemas(contracts).items()):
        path = folder / f"{name}.json"
        path.write_text(json.dumps(schema, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        files.append(path)
    return files


def check(contracts: Iterable[type[Event]], folder: Path) -> list[str]:
    """Compare today's contracts with the schemas in a folder.

    Returns:
        One sentence for each incompatible change; empty when every old producer and consumer still works.
    """
    now = schemas(contracts)
    problems = []
    for path in sorted(folder.glob("*.json")):
        old = json.loads(path.read_text(encoding="utf-8"))
        new = now.get(path.stem)
        if new is None:
            problems.append(f"{path.stem}: the contract is gone; keep it beside its successor")
        else:
            problems += [f"{path.stem}: {problem}" for problem in incompatibilities(old, new)]
    return problems


def incompatibilities(old: Schema, new: Schema) -> list[str]:
    """One sentence for each way in which ``new`` refuses or drops what ``old`` promised."""
    return list(_compare(old, new, old, new, "", frozenset()))


def _type(model: type[BaseModel]) -> str:
    return str(model.event_type)  # type: ignore[attr-defined]


def _schema(model: type[BaseModel]) -> Schema:
    subject = model.subject  # type: ignore[attr-defined]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:{_type(model).replace('.', ':')}",
        "x-subject": subject,
        **model.model_json_schema(),
    }


def _resolve(schema: Schema, root: Schema) -> Schema:
    while "$ref" in schema:
        target: Any = root
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
    return schema


def _compare(
    old: Schema, new: Schema, old_root: Schema, new_root: Schema, where: str, seen: frozenset[tuple[str, str]]
) -> Iterator[str]:
    pair = (str(old.get("$ref")), str(new.get("$ref")))
    if pair != ("None", "None"):
        if pair in seen:
            return  # a recursive model: this pair is being compared further up
        seen |= {pair}
    old, new = _resolve(old, old_root), _resolve(new, new_root)
    place = where or "the event"

    old_types, new_types = _types(old, old_root), _types(new, new_root)
    if new_types and (missing := (old_types or {"anything"}) - new_types):
        yield f"{place} no longer accepts {', '.join(sorted(missing))}"
        return
    if _alternatives(old) or _alternatives(new):
        for choice in _alternatives(old) or [old]:  # each must still fit a new one
            found = [list(_compare(choice, o, old_root, new_root, where, seen)) for o in _alternatives(new) or [new]]
            yield from min(found, key=len)
        return
    old_values, new_values = _values(old), _values(new)
    if new_values is not None and old_values is None:
        yield f"{place} is now limited to {', '.join(sorted(new_values))}"
    elif new_values is not None and old_values is not None and (gone := old_values - new_values):
        yield f"{place} no longer accepts {', '.join(sorted(gone))}"
    for keyword, tighter in _LIMITS.items():
        if keyword in new and (keyword not in old or tighter(old[keyword], new[keyword])):
            yield f"{place}: {keyword} is now {new[keyword]!r}" + (f", was {old[keyword]!r}" if keyword in old else "")

    old_fields, new_fields = old.get("properties", {}), new.get("properties", {})
    for name in sorted(old_fields.keys() - new_fields.keys()):
        yield f"{where}{'.' if where else ''}{name} is gone"
    for name in sorted(set(new.get("required", [])) - set(old.get("required", []))):
        yield f"{where}{'.' if where else ''}{name} is now required"
    for name in sorted(old_fields.keys() & new_fields.keys()):
        path = f"{where}.{name}" if where else name
        yield from _compare(old_fields[name], new_fields[name], old_root, new_root, path, seen)

    for keyword in ("items", "additionalProperties"):
        if new.get(keyword) is False and old.get(keyword) is not False:
            yield f"{place} no longer accepts further fields"
        elif isinstance(new.get(keyword), dict):
            inner = old.get(keyword)  # what is missing, or true, is anything
            yield from _compare(
                inner if isinstance(inner, dict) else {}, new[keyword], old_root, new_root, f"{where}[]", seen
            )


def _alternatives(schema: Schema) -> list[Schema]:
    return [*schema.get("anyOf", []), *schema.get("oneOf", [])]


def _values(schema: Schema) -> set[str] | None:
    """The only values a schema accepts; None when it does not name them."""
    if "const" in schema:
        return {str(schema["const"])}
    return set(map(str, schema["enum"])) if "enum" in schema else None


def _types(schema: Schema, root: Schema) -> set[str]:
    """JSON types a schema accepts, empty when it accepts all."""
    if choices := _alternatives(schema):
        each = [_types(_resolve(choice, root), root) for choice in choices]
        return set().union(*each) if all(each) else set()
    kinds = schema.get("type", [])
    found = {kinds} if isinstance(kinds, str) else set(kinds)
    return found | ({"integer"} if "number" in found else set())
