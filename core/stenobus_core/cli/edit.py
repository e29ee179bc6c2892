"""Edits of an event's payload: some fields set, the whole replaced, or a person's own in an editor."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from stenobus_bus import LetterRefused
from stenobus_bus.envelope import structured
from stenobus_contracts import DeadLetter

#: Makes a new body of a dead letter's original one. Raises LetterRefused when it cannot.
Edit = Callable[[DeadLetter, bytes], bytes]


def setting(assignments: Sequence[str]) -> Edit:
    """Set fields of the payload, each written as ``path.to.field=JSON``; numbers in a path count list items from 0.

    Raises:
        click.BadParameter: an assignment is none.
    """
    parsed = [_assignment(text) for text in assignments]

    def edit(letter: DeadLetter, body: bytes) -> bytes:
        try:
            document = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise LetterRefused("its body is no JSON, so that no field of it can be set") from error
        inside = structured(body, letter.headers)
        payload = document["data"] if inside else document
        for path, value in parsed:
            _set(payload, path, value)
        return json.dumps(document, ensure_ascii=False).encode()

    return edit


def replacing(payload: bytes) -> Edit:
    """Take another body."""
    return lambda letter, body: payload


def in_editor(letter: DeadLetter, body: bytes) -> bytes:
    """Open the body in $EDITOR, indented when it is JSON.

    Raises:
        LetterRefused: it is no text.
        click.ClickException: it was left as it was.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise LetterRefused("its body is no text; edit what `show --raw` writes, and give it to --payload") from error
    with suppress(ValueError, RecursionError):  # what is no JSON yet may become JSON
        text = json.dumps(json.loads(text), ensure_ascii=False, indent=2)
    changed = click.edit(text, extension=".json")
    if changed is None or changed.strip() == text.strip():
        raise click.ClickException("The payload was left as it was; nothing was published.")
    return changed.encode()


def keep(number: int, body: bytes) -> Path:
    """Save an edit that could not be published, so that it can be mended."""
    with tempfile.NamedTemporaryFile(prefix=f"stenobus-dlq-{number}-", suffix=".json", delete=False) as file:
        file.write(body)
    return Path(file.name)


def _assignment(text: str) -> tuple[list[str], Any]:
    path, equals, value = text.partition("=")
    if not equals or not all(path.split(".")):
        raise click.BadParameter(f"{text!r} is no path=JSON, such as media.language='\"en\"'", param_hint="--set")
    try:
        return path.split("."), json.loads(value)
    except ValueError as error:
        quoted = json.dumps(value, ensure_ascii=False)
        raise click.BadParameter(
            f"{path}: {value!r} is no JSON; a text is written as {path}='{quoted}'", param_hint="--set"
        ) from error


def _set(document: Any, path: Sequence[str], value: Any) -> None:
    """Set a field; objects on the way to it are made, list items must be there."""
    *parents, last = path
    for done, name in enumerate(parents):
        if isinstance(document, dict):
            document = document.setdefault(name, {})
        else:
            document = document[_index(document, path[: done + 1])]
    if isinstance(document, dict):
        document[last] = value
    else:
        document[_index(document, path)] = value


def _index(items: Any, path: Sequence[str]) -> int:
    """Which item of a list the last part of a path means."""
    if not isinstance(items, list):
        raise LetterRefused(f"nothing can be set at {'.'.join(path)}, since what holds it is no object and no list")
    if not path[-1].isdecimal() or int(path[-1]) >= len(items):
        raise LetterRefused(f"there is no {'.'.join(path)}; the list has {len(items)} items, counted from 0")
    return int(path[-1])
