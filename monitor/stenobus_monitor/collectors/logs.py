"""What containers write, sorted into templates: how many lines of which kind, and how bad they are."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any, Final

from ..containers import moment
from ..engine import Engine
from ..errors import NoSuchContainer
from ..observations import LogLines, LogSeen
from ..templates import Template, Templates
from . import Emit

#: Lines of one container that are read in one look.
_LINES: Final = 2000
#: Templates of one container that are told in one look: the worst and the most frequent.
_TOLD: Final = 20
#: Characters of a line that are kept.
_LONGEST: Final = 400
_ERROR: Final = re.compile(r"\b(error|errors|fatal|critical|panic|traceback|exception|failed|refused|denied)\b", re.I)
#: A line says itself that it is none, or that there were none.
_CALM: Final = re.compile(r"\b(?:0|no|zero|without) (?:errors?|failed|failures?|exceptions?)\b", re.I)
_FINE: Final = re.compile(r"\A\W{0,3}(?:[\dTZ:.,+/-]+\W{1,3}){0,3}(?:INFO|DEBUG|TRACE|NOTICE)\b", re.I)
_WARNING: Final = re.compile(r"\b(warn|warning)\b", re.I)
#: Levels that programs write by themselves.
_LEVELS: Final = {
    **dict.fromkeys(("error", "critical", "fatal", "exception"), "error"),
    **dict.fromkeys(("warning", "warn"), "warning"),
}
#: What a structured line says, in this order; the rest of its fields varies.
_FIELDS: Final = ("event", "message", "msg", "error", "reason")


class LogCollector:
    """Reads what the running ones wrote since the last look.

    Args:
        names: names of the containers that matter; wildcards allowed.
        every: seconds between two looks.
    """

    name = "logs"

    def __init__(
        self,
        engine: Engine,
        names: tuple[str, ...] = ("*",),
        every: float = 10.0,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._engine, self._names, self._every, self._clock = engine, names, every, clock
        #: Time of the last line, by container.
        self._places: dict[str, float] = {}

    async def run(self, emit: Emit) -> None:
        """Read again and again."""
        begin = self._clock().timestamp()
        while True:
            there = set()
            for listed in await self._engine.containers():
                name, id = str((listed.get("Names") or [""])[0]).lstrip("/"), str(listed["Id"])
                if listed.get("State") == "running" and any(fnmatchcase(name, each) for each in self._names):
                    there.add(id)
                    await self._read(id, name, begin, emit)
            self._places = {id: place for id, place in self._places.items() if id in there}
            await asyncio.sleep(self._every)

    async def _read(self, id: str, name: str, begin: float, emit: Emit) -> None:
        since = self._places.get(id, begin)
        try:
            lines = await self._engine.logs(id, tail=_LINES, since=since, stamped=True)
        except NoSuchContainer:
            return
        texts = []
        for line in lines:
            stamp, _, text = line.partition(" ")
            try:
                at = moment(stamp)
            except ValueError:
                continue  # the middle of a line that was cut off
            if at is not None and at.timestamp() > since:
                self._places[id] = max(self._places.get(id, 0.0), at.timestamp())
                texts.append(text)
        if texts:
            await emit(LogSeen(at=self._clock(), name=name, lines=sort(texts), more=len(lines) >= _LINES))


def sort(texts: list[str]) -> tuple[LogLines, ...]:
    """Lines as templates, errors first and then the most frequent."""
    templates, levels = Templates(), dict[int, str]()
    for text in texts:
        level, said = read(text)
        template = templates.add(said)
        if template is not None:
            levels[id(template)] = max(levels.get(id(template), ""), level, key=("", "warning", "error").index)

    def badness(template: Template) -> tuple[int, int]:
        return -("", "warning", "error").index(levels[id(template)]), -template.count

    return tuple(
        LogLines(
            template=str(each)[:_LONGEST],
            count=each.count,
            level=levels[id(each)],
            first=each.first[:_LONGEST],
            last=each.last[:_LONGEST],
        )
        for each in sorted(templates.all, key=badness)[:_TOLD]
    )


def read(text: str) -> tuple[str, str]:
    """Level and words of a line; those of a structured one are in its fields."""
    if text.startswith("{"):
        try:
            fields: Any = json.loads(text)
        except (ValueError, RecursionError):
            fields = None
        if isinstance(fields, dict):
            level = _LEVELS.get(str(fields.get("level", fields.get("severity", ""))).lower(), "")
            return level, " ".join(str(fields[name]) for name in _FIELDS if fields.get(name)) or text
    if not _FINE.match(text) and _ERROR.search(_CALM.sub("", text)):
        return "error", text
    return "warning" if _WARNING.search(text) else "", text
