"""Dead letters as people see them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from stenobus_bus.dead_letters import Entry, Unreadable
from stenobus_bus.dead_letters import Group as LetterGroup
from stenobus_bus.history import Remembered
from stenobus_contracts import DeadLetter

#: Bytes of a payload that a terminal gets to see.
_SEEN = 16_384
_COLOURS = {
    "invalid": "yellow",
    "permanent": "magenta",
    "exhausted": "red",
    "crashed": "bold red",
    "undelivered": "bold red",
    "terminated": "blue",
}


def overview(console: Console, groups: Sequence[LetterGroup], now: datetime) -> None:
    """Groups with their newest letters, the newest one first."""
    for group in groups:
        head = Text.assemble(
            (group.reason or "no dead letter", _COLOURS.get(group.reason or "", "yellow")),
            "  ",
            (_plain(group.handler), "bold"),
            f"  {_counted(group.count)}, ",
            f"{age(group.oldest, now)} old" if group.count == 1 else f"up to {age(group.oldest, now)} old",
        )
        _line(console, head)
        for entry in reversed(group.newest):
            _line(console, _row(entry, now))
        if hidden := group.count - len(group.newest):
            _line(console, Text(f"  … {hidden:,} older", style="dim"))
        console.print()
    total = sum(group.count for group in groups)
    _line(console, Text(f"{_counted(total)}. `stenobus dlq show NUMBER` shows one whole."))


def page(entry: Entry, body: bytes | None, causes: Sequence[Remembered], now: datetime) -> RenderableType:
    """One dead letter whole.

    Args:
        body: the original body, None when it is gone.
        causes: the events that led to it, the first one first.
    """
    letter = entry.letter
    return Group(
        Text.assemble(
            (f"Dead letter {entry.sequence}", "bold"),
            "  ",
            (letter.reason, _COLOURS[letter.reason]),
            "  ",
            (_plain(letter.handler), "bold"),
        ),
        Padding(Text(_plain(letter.message)), (0, 0, 1, 2)),
        _indented(
            ("event", f"{letter.event_id}, {letter.original_subject} in {letter.stream}/{letter.sequence}"),
            ("run", letter.run),
            ("failed", f"{letter.failed_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC, {age(letter.failed_at, now)} ago"),
            ("attempts", str(letter.attempts)),
            ("error", letter.error),
        ),
        *_section("Led to by", _chain(letter, causes) if letter.causation else None),
        *_section("Headers", _facts(*letter.headers.items()) if letter.headers else None),
        *_section(_measure(body), _payload(body)),
        *_section("Traceback", Text(_plain(letter.traceback.rstrip())) if letter.traceback else None),
        Text(),
        Text(f"stenobus dlq retry {entry.sequence}          again, for {_plain(letter.handler)} and nobody else"),
        Text(f"stenobus dlq retry {entry.sequence} --edit   the same, with another payload"),
    )


def unreadable_page(entry: Unreadable) -> RenderableType:
    """What is no dead letter, as far as it can be shown."""
    message = entry.message
    return Group(
        Text.assemble((f"Dead letter {entry.sequence}", "bold"), "  ", ("unreadable", "yellow")),
        Padding(Text(_plain(entry.why)), (0, 0, 1, 2)),
        _indented(("subject", message.subject), ("stored", f"{message.time:%Y-%m-%d %H:%M:%S} UTC")),
        *_section("Headers", _facts(*message.headers.items()) if message.headers else None),
        *_section(_measure(message.data), _payload(message.data)),
        Text(),
        Text(f"stenobus dlq purge {entry.sequence}   delete it"),
    )


def described(entry: Entry | Unreadable, *, whole: bool = False) -> dict[str, Any]:
    """A dead letter as JSON.

    Args:
        whole: with headers, data and traceback.
    """
    if isinstance(entry, Entry):
        left_out = set() if whole else {"headers", "data", "data_base64", "traceback"}
        return {"number": entry.sequence, **entry.letter.model_dump(mode="json", exclude_none=True, exclude=left_out)}
    return {
        "number": entry.sequence,
        "unreadable": entry.why,
        "subject": entry.message.subject,
        "stored_at": entry.message.time.isoformat(),
    }


def age(then: datetime, now: datetime) -> str:
    """How long ago: the largest unit that is full."""
    seconds = max(0, int((now - then).total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _row(entry: Entry | Unreadable, now: datetime) -> Text:
    if isinstance(entry, Unreadable):
        when, who, what = age(entry.message.time, now), "", f"unreadable: {entry.why}"
    else:
        letter = entry.letter
        when, who, what = age(letter.failed_at, now), f"run {letter.run}  ", letter.message
    return Text.assemble(
        (f"  {entry.sequence:<7}", "bold"), (f"{when:>7}  ", "dim"), (_plain(who), "cyan"), _plain(what, lines=False)
    )


def _facts(*rows: tuple[str, str]) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, value in rows:
        table.add_row(Text(_plain(name), style="dim"), Text(_plain(value), overflow="fold"))
    return table


def _chain(letter: DeadLetter, causes: Sequence[Remembered]) -> Tree:
    """From the first cause down to the event that died."""
    steps = [
        Text.assemble(
            (_plain(event.subject), "bold"),
            f"  {event.stream}/{event.sequence}  {event.time:%H:%M:%S} UTC  ",
            (_plain(event.event_id), "dim"),
        )
        for event in causes
    ]
    first = causes[0].attributes.get("causationid") if causes else letter.causation
    if first:
        steps.insert(0, Text(f"{_plain(first)}, which is stored no more", style="dim"))
    tree = node = Tree(steps[0])
    for step in (*steps[1:], Text.assemble((_plain(letter.original_subject), "bold"), "  this one")):
        node = node.add(step)
    return tree


def _indented(*rows: tuple[str, str]) -> Padding:
    return Padding(_facts(*rows), (0, 0, 0, 2))


def _section(title: str, content: RenderableType | None) -> list[RenderableType]:
    return [Text(), Text(title, style="bold"), Padding(content, (0, 0, 0, 2))] if content is not None else []


def _measure(body: bytes | None) -> str:
    return "Payload" if body is None else f"Payload, {len(body):,} byte{'' if len(body) == 1 else 's'}"


def _payload(body: bytes | None) -> RenderableType:
    if body is None:
        return Text("It is gone.", style="dim")
    seen = body[:_SEEN]
    rest = f"\n… {len(body) - _SEEN:,} more bytes; --raw writes all" if len(body) > _SEEN else ""
    try:
        return Syntax(
            _plain(json.dumps(json.loads(body), ensure_ascii=False, indent=2)[:_SEEN]) + rest,
            "json",
            background_color="default",
            word_wrap=True,
        )
    except (ValueError, RecursionError):
        pass  # anything can be published
    try:
        return Text(_plain(seen.decode()) + rest)
    except UnicodeDecodeError:
        return Text("\n".join(seen[i : i + 16].hex(" ") for i in range(0, min(len(seen), 512), 16)) + rest)


def _plain(text: str, *, lines: bool = True) -> str:
    """A stranger's text without what a terminal would obey."""
    kept = "\n\t" if lines else ""
    return "".join(c if c.isprintable() or c in kept else c.encode("unicode_escape").decode() for c in text)


def _line(console: Console, text: Text) -> None:
    """One line: cut on a terminal, whole for a program that reads it."""
    if console.is_terminal:
        console.print(text, no_wrap=True, overflow="ellipsis")
    else:
        console.print(text, soft_wrap=True)


def _counted(count: int) -> str:
    return f"{count:,} dead letter{'' if count == 1 else 's'}"


def now() -> datetime:
    """The time that ages are measured by."""
    return datetime.now(UTC)
