"""Times as people write them: a duration, or an ISO 8601 time."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import click

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def ago(text: str) -> datetime:
    """The time a duration before now, or the time that is named."""
    return _time(text, -1)


def ahead(text: str) -> datetime:
    """The time a duration after now, or the time that is named."""
    return _time(text, 1)


def _time(text: str, sign: int) -> datetime:
    if match := re.fullmatch(r"(\d+)([smhdw])", text.strip()):
        return datetime.now(UTC) + sign * timedelta(seconds=int(match[1]) * _UNITS[match[2]])
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no duration (90s, 15m, 2h, 7d) and no ISO 8601 time") from error
