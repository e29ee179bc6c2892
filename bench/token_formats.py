"""Instances of token formats from a list of rules as gitleaks writes it: ``[[rules]]`` with ``id`` and ``regex``."""

from __future__ import annotations

import random
import re
import string
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_PRINTED = string.ascii_letters + string.digits + "-_"
_CATEGORIES = {"CATEGORY_DIGIT": string.digits, "CATEGORY_WORD": _PRINTED.replace("-", ""), "CATEGORY_SPACE": " "}
#: Most repetitions of what surrounds a secret; the secret itself has the length that its format asks for.
_AROUND, _LONGEST = 2, 120


def instances(rules: Path, seed: int) -> Iterator[tuple[str, str, str]]:
    """Name, secret and line of each rule, in an order that the seed decides; rules that need no secret are left out."""
    dice = random.Random(seed)
    known: list[dict[str, Any]] = tomllib.loads(rules.read_text())["rules"]
    dice.shuffle(known)
    for rule in known:
        if not (expression := rule.get("regex")):
            continue
        # Go's syntax, as far as Python's differs.
        expression = re.sub(r"\(\?[a-z]*-i:", "(?:", expression).replace(r"\z", r"\Z")
        expression = expression.replace("[[:alnum:]]", "[A-Za-z0-9]")
        expression = re.sub(r"(?<!\A)\(\?i\)", "", expression)
        try:
            compiled = re.compile(expression)
            tree = re._parser.parse(expression)  # type: ignore[attr-defined]
        except re.error:
            continue
        for _ in range(50):
            text = _write(tree, dice, around=compiled.groups > 0)
            found = compiled.search(text)
            if found is not None:
                secret = next((group for group in found.groups() if group), found[0])
                break
        else:
            continue
        if len(secret) >= 8 and "\n" not in secret:
            yield rule["id"], secret, " ".join(f"upstream says no: {text} (attempt 3)".split())


def _write(tree: Any, dice: random.Random, *, around: bool) -> str:
    return "".join(_one(str(code), value, dice, around) for code, value in tree)


def _one(code: str, value: Any, dice: random.Random, around: bool) -> str:
    match code:
        case "LITERAL":
            return chr(value)
        case "NOT_LITERAL":
            return dice.choice([each for each in _PRINTED if ord(each) != value])
        case "ANY":
            return dice.choice(_PRINTED)
        case "IN":
            return dice.choice(_members(value))
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            least, most, inner = value
            most = min(int(most), _AROUND if around and least == 0 else _LONGEST)
            times = dice.randint(int(least), max(int(least), most))
            return "".join(_write(inner, dice, around=around) for _ in range(times))
        case "SUBPATTERN":
            return _write(value[3], dice, around=around and value[0] is None)
        case "BRANCH":
            return _write(dice.choice(value[1]), dice, around=around)
        case "ATOMIC_GROUP":
            return _write(value, dice, around=around)
        case _:
            return ""  # a place between two characters


def _members(parts: list[tuple[Any, Any]]) -> str:
    found = ""
    for code, value in parts:
        match str(code):
            case "LITERAL":
                found += chr(value)
            case "RANGE":
                found += "".join(map(chr, range(value[0], value[1] + 1)))
            case "CATEGORY":
                found += _CATEGORIES.get(str(value), _PRINTED)
            case "NEGATE":
                banned = _members(parts[1:])
                return "".join(each for each in _PRINTED if each not in banned) or "a"
    return "".join(each for each in found if each.isprintable() and each not in "\x0b\x0c") or "a"
