"""Requests and answers of AWS's REST-JSON services, held against the service models that botocore ships."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from botocore.model import OperationModel, ServiceModel, Shape
from botocore.session import Session


class Broken(Exception):
    """Something is not what the model says."""


class Service:
    """A service's operations by method and path."""

    def __init__(self, name: str) -> None:
        self.model: ServiceModel = Session().get_service_model(name)
        self._routes = [
            (operation.http["method"], re.compile(_pattern(operation.http["requestUri"])), operation)
            for operation in map(self.model.operation_model, self.model.operation_names)
        ]

    def read(self, method: str, target: str, body: bytes) -> tuple[OperationModel, dict[str, Any]]:
        """The operation that is asked, and its input. Raises Broken."""
        url = urlsplit(target)
        routes = (
            (operation, pattern.fullmatch(url.path)) for wanted, pattern, operation in self._routes if wanted == method
        )
        operation, found = next(((operation, found) for operation, found in routes if found), (None, None))
        if operation is None or found is None:
            raise Broken(f"there is no {method} {url.path}")
        members = operation.input_shape.members if operation.input_shape else {}
        values: dict[str, Any] = json.loads(body) if body else {}
        outside = {name: shape for name, shape in members.items() if shape.serialization.get("location")}
        if wrong := values.keys() & outside.keys():
            raise Broken(f"{operation.name}: {sorted(wrong)} do not belong in the body")
        names = {shape.serialization.get("name", name): name for name, shape in outside.items()}
        for name, value in (*found.groupdict().items(), *parse_qsl(url.query, strict_parsing=bool(url.query))):
            if name not in names:
                raise Broken(f"{operation.name}: there is no parameter {name}")
            values[names[name]] = unquote(value)
        check(operation.input_shape, values, operation.name)
        return operation, values


def check(shape: Shape, value: Any, where: str) -> None:
    """Raise Broken at the first thing that the model does not allow, unknown members among it."""
    if wrong := next(_wrong(shape, value, where), None):
        raise Broken(wrong)


def dumps(shape: Shape, value: dict[str, Any]) -> bytes:
    """An answer as JSON, after a check that the model allows it."""
    check(shape, value, shape.name)
    return json.dumps(value, default=lambda when: when.isoformat()).encode()


def _pattern(uri: str) -> str:
    return "".join(
        f"(?P<{part[1:-1].rstrip('+')}>[^/]+)" if part.startswith("{") else re.escape(part)
        for part in re.split(r"(\{[^}]+\})", uri.partition("?")[0])
    )


def _wrong(shape: Shape, value: Any, where: str) -> Iterator[str]:
    kind, limits = shape.type_name, shape.metadata
    types: Mapping[str, Any] = {
        "structure": dict, "list": list, "map": dict, "string": str, "boolean": bool, "timestamp": (str, datetime),
        "integer": int, "long": int, "double": (int, float), "float": (int, float), "blob": str,
    }  # fmt: skip
    if not isinstance(value, types[kind]):
        yield f"{where} is {type(value).__name__}, not {kind}"
        return
    size = value if isinstance(value, int | float) else len(value) if hasattr(value, "__len__") else 0
    if not limits.get("min", size) <= size <= limits.get("max", size):
        yield f"{where} is {size}, not between {limits.get('min')} and {limits.get('max')}"
    if kind == "string":
        if "enum" in limits and value not in limits["enum"]:
            yield f"{where} is {value!r}, not one of {limits['enum']}"
        if "pattern" in limits and not re.fullmatch(limits["pattern"], value):
            yield f"{where} is {value!r}, which does not match {limits['pattern']}"
    elif kind == "structure":
        if unknown := value.keys() - shape.members.keys():
            yield f"{where} has unknown members {sorted(unknown)}"
            return
        if missing := set(shape.required_members) - value.keys():
            yield f"{where} misses {sorted(missing)}"
        for name, part in value.items():
            yield from _wrong(shape.members[name], part, f"{where}.{name}")
    elif kind == "list":
        for number, part in enumerate(value):
            yield from _wrong(shape.member, part, f"{where}[{number}]")
    elif kind == "map":
        for name, part in value.items():
            yield from _wrong(shape.value, part, f"{where}[{name}]")
