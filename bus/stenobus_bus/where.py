"""Conditions on stored events: a path into the payload or an attribute, an operator, a value."""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

_CONDITION: Final = re.compile(
    r"\s*(?P<path>[^\s=!<>~]+)\s*(?P<operator>!=|<=|>=|=|<|>|~)\s*(?P<value>.*?)\s*", re.DOTALL
)
_STEP: Final = re.compile(r"([^.\[\]]+)|\[(\d+|\*)\]")
_PATH: Final = re.compile(r"([^.\[\]]+|\[(\d+|\*)\])(\.[^.\[\]]+|\[(\d+|\*)\])*")
_ORDER: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}
_ATTRIBUTE, _HEADER = "ce-", "header:"


@dataclass(frozen=True, slots=True)
class Where:
    """One condition.

    ``media.size > 1000``, ``segments[0].speaker = Ada``, ``warnings[*] ~ cut``, ``ce-source ~ gateway``,
    ``header:acme-tenant = 7``. A value is JSON when it reads as JSON, else text. ``~`` means contains. What is not
    there matches nothing but ``!=``.
    """

    text: str
    path: str
    operator: str
    value: Any

    @classmethod
    def parse(cls, text: str) -> Where:
        """Read a condition.

        Raises:
            ValueError: it is none; the text says why.
        """
        match = _CONDITION.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is no condition; write PATH OPERATOR VALUE, with one of = != < > <= >= ~.")
        path = match["path"]
        if path.startswith((_ATTRIBUTE, _HEADER)):
            valid = path not in {_ATTRIBUTE, _HEADER}
        else:
            path = path.removeprefix("$.")
            valid = _PATH.fullmatch(path) is not None
        if not valid:
            raise ValueError(
                f"{text!r}: {match['path']!r} is no path; write names joined by dots, items as [0] or [*], ce-… for an "
                "attribute, header:… for a header."
            )
        if not match["value"]:
            raise ValueError(f'{text!r} has no value after {match["operator"]}; an empty text is written as "".')
        return cls(text, path, match["operator"], _value(match["value"]))

    @property
    def of_payload(self) -> bool:
        """It asks about the payload, so that the body is needed."""
        return not self.path.startswith((_ATTRIBUTE, _HEADER))

    def holds(self, payload: Any, attributes: Mapping[str, str], headers: Mapping[str, str]) -> bool:
        """Whether an event meets it.

        Args:
            payload: the parsed body.
            attributes: CloudEvents attributes, without their ``ce-``.
        """
        found = self._found(payload, attributes, headers)
        if self.operator == "!=":
            return not any(_equal(value, self.value) for value in found)
        return any(self._compare(value) for value in found)

    def _found(self, payload: Any, attributes: Mapping[str, str], headers: Mapping[str, str]) -> list[Any]:
        if self.path.startswith(_ATTRIBUTE):
            return [value for name, value in attributes.items() if name == self.path.removeprefix(_ATTRIBUTE).lower()]
        if self.path.startswith(_HEADER):
            wanted = self.path.removeprefix(_HEADER).lower()
            return [value for name, value in headers.items() if name.lower() == wanted]
        found = [payload]
        for name, index in _STEP.findall(self.path):
            found = [inner for outer in found for inner in _inside(outer, name, index)]
        return found

    def _compare(self, value: Any) -> bool:
        if self.operator == "=":
            return _equal(value, self.value)
        if self.operator == "~":
            return (
                any(_equal(item, self.value) for item in value)
                if isinstance(value, list)
                else _contains(value, self.value)
            )
        pair = _comparable(value, self.value)
        return pair is not None and _ORDER[self.operator](*pair)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _inside(outer: Any, name: str, index: str) -> list[Any]:
    if name:
        return [outer[name]] if isinstance(outer, dict) and name in outer else []
    if not isinstance(outer, list):
        return []
    return outer if index == "*" else outer[int(index) :][:1]


def _equal(value: Any, wanted: Any) -> bool:
    if isinstance(value, str) and not isinstance(wanted, str):
        return value == _plain(wanted)  # an attribute is text, and ids may look like numbers
    return bool(value == wanted) and isinstance(value, bool) == isinstance(wanted, bool)


def _contains(value: Any, wanted: Any) -> bool:
    if isinstance(value, dict):
        return wanted in value if isinstance(wanted, str) else False
    return isinstance(value, str) and _plain(wanted) in value


def _comparable(value: Any, wanted: Any) -> tuple[Any, Any] | None:
    """Both as numbers, or both as text: ISO times sort as text."""
    if isinstance(value, str) and isinstance(wanted, int | float):
        value = _value(value)
    numbers = [isinstance(side, int | float) and not isinstance(side, bool) for side in (value, wanted)]
    texts = isinstance(value, str) and isinstance(wanted, str)
    return (value, wanted) if all(numbers) or texts else None


def _plain(wanted: Any) -> str:
    return wanted if isinstance(wanted, str) else json.dumps(wanted)
