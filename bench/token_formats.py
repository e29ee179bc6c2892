"""Instances of token formats that others wrote down: gitleaks in a file of ``[[rules]]`` with ``id`` and ``regex``, and
trufflehog in a folder of detectors, each a Go file with expressions of what comes behind a word."""

from __future__ import annotations

import random
import re
import string
import tomllib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

#: An expression of a detector, with the words that stand before its secret.
_DETECTOR = re.compile(r'MustCompile\((?:detectors\.PrefixRegex\(\[\]string\{"([^"]*)"[^)]*\)\s*\+\s*)?`([^`]+)`\s*\)')
_PRINTED = string.ascii_letters + string.digits + "-_"
_CATEGORIES = {"CATEGORY_DIGIT": string.digits, "CATEGORY_WORD": _PRINTED.replace("-", ""), "CATEGORY_SPACE": " "}
#: Most repetitions of what surrounds a secret; the secret itself has the length that its format asks for.
_AROUND, _LONGEST = 2, 120
#: Characters that a format leaves open, at least: fewer are a name, a number or a place.
_LEAST = 10
#: Secrets of a format that are drawn, to know what all of them have.
_DRAWN = 10


class Planted(NamedTuple):
    """A secret in a line of a log."""

    name: str
    secret: str
    line: str
    #: Other secrets of the same format: what they have as well is none, such as a prefix or the name of a host.
    others: str = ""


def instances(rules: Path, seed: int) -> Iterator[Planted]:
    """One of each rule, in an order that the seed decides; rules that need no secret are left out."""
    dice = random.Random(seed)
    known = list(_detectors(rules) if rules.is_dir() else _rules(rules))
    dice.shuffle(known)
    for name, word, expression in known:
        # Go's syntax, as far as Python's differs.
        expression = re.sub(r"\(\?[a-z]*-i:", "(?:", expression).replace(r"\z", r"\Z")
        expression = expression.replace("[[:alnum:]]", "[A-Za-z0-9]")
        expression = re.sub(r"(?<!\A)\(\?i\)", "", expression)
        try:
            compiled = re.compile(expression)
            tree = re._parser.parse(expression)  # type: ignore[attr-defined]
        except re.error:
            continue
        drawn = list(islice(_drawn(compiled, tree, dice), _DRAWN))
        if len(drawn) > 1 and _open(tree) >= _LEAST and len(secret := drawn[0][0]) >= 8 and "\n" not in secret:
            line = " ".join(f"upstream says no: {word} {drawn[0][1]} (attempt 3)".split())
            yield Planted(name, secret, line, "\n".join(other for other, _ in drawn[1:]))


def _drawn(expression: re.Pattern[str], tree: Any, dice: random.Random) -> Iterator[tuple[str, str]]:
    """Secrets and the texts that hold them, as far as they match."""
    for _ in range(100):
        text = _write(tree, dice, around=expression.groups > 0)
        if found := expression.search(text):
            yield next((group for group in found.groups() if group), found[0]), text


def _open(tree: Any) -> int:
    """Characters that a format leaves open, at least."""
    found = 0
    for code, value in tree:
        match str(code):
            case "IN":
                found += len(_members(value)) >= 10
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                found += int(value[0]) * _open(value[2])
            case "SUBPATTERN":
                found += _open(value[3])
            case "BRANCH":
                found += min(map(_open, value[1]))
            case "ATOMIC_GROUP":
                found += _open(value)
    return found


def _rules(file: Path) -> Iterator[tuple[str, str, str]]:
    """Name, word before the secret, and expression."""
    for rule in tomllib.loads(file.read_text())["rules"]:
        if expression := rule.get("regex"):
            yield rule["id"], "", expression


def _detectors(folder: Path) -> Iterator[tuple[str, str, str]]:
    for file in sorted(folder.rglob("*.go")):
        if not file.name.endswith("_test.go"):
            for number, found in enumerate(_DETECTOR.finditer(file.read_text(errors="replace"))):
                yield f"{file.stem}-{number}", found[1] or "", found[2]


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
