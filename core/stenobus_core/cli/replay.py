"""``stenobus replay``."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import click
from rich.console import Console

from stenobus_bus import Bus, apply
from stenobus_bus.connection import ApiError
from stenobus_bus.history import Remembered, new_replay
from stenobus_bus.history import replay as replay_events
from stenobus_bus.rewind import rewind
from stenobus_bus.selection import Selection, select
from stenobus_bus.where import Where

from ..discovery import discover
from ..estimate import Cause, Estimate, behind, estimate
from ..plugin import Handler
from ..services import Services
from ..settings import CoreSettings
from .running import print_json, run, services, settings
from .times import ago

_NAME = r"[A-Za-z0-9_-]{1,64}"


@dataclass(frozen=True, slots=True)
class Way:
    """How the selected events reach whom."""

    in_place: bool
    #: The handler that works instead, and the shadow that takes what it makes.
    into: str | None
    shadow: str | None
    dry_run: bool


@click.command()
@click.argument("handler")
@click.option("--since", metavar="TIME", help="Stored since: 90s, 15m, 2h, 7d ago, or an ISO 8601 time.")
@click.option("--until", metavar="TIME", help="Stored before.")
@click.option("--from-seq", type=click.IntRange(1), help="From this stream sequence on.")
@click.option("--to-seq", type=click.IntRange(1), help="Up to this stream sequence.")
@click.option("--run", "run_id", metavar="ID", help="Of this run.")
@click.option("--subject", help="Of this subject: one lane of the contract.")
@click.option("--where", "conditions", multiple=True, metavar="'PATH = VALUE'", help="With this content; see below.")
@click.option("--limit", type=click.IntRange(1), help="So many at most, the oldest first.")
@click.option("--into", metavar="OTHER", help="Hand them to the handler OTHER instead, and divert what it makes.")
@click.option("--shadow", metavar="NAME", help="Divert what the handler makes to shadow.NAME.…")
@click.option("--in-place", is_flag=True, help="Move the handler's consumer back instead of publishing again.")
@click.option("--yes", is_flag=True, help="Do not ask before moving the consumer.")
@click.option("--dry-run", is_flag=True, help="Say what would run, and what it cost before; do nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def replay(
    handler: str,
    since: str | None,
    until: str | None,
    from_seq: int | None,
    to_seq: int | None,
    run_id: str | None,
    subject: str | None,
    conditions: tuple[str, ...],
    limit: int | None,
    into: str | None,
    shadow: str | None,
    in_place: bool,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Hand past events to HANDLER again.

    Other handlers of the same subject leave them alone; the handlers behind HANDLER work on its new results. Stages
    whose inputs did not change answer from the cache.

    --where takes a path into the payload (media.uri, segments[0].speaker, warnings[*]), an attribute (ce-source) or a
    header (header:acme-tenant), then = != < > <= >= or ~ (contains), and a value. It may be given several times.

    --into and --shadow let nothing behind the handler run; compare by `stenobus diff RUN NAME`.
    """
    if not (since or until or from_seq or to_seq or run_id or subject or conditions):
        raise click.UsageError("Say which events: --since, --until, --from-seq, --to-seq, --run, --subject or --where.")
    if in_place and (run_id or conditions or into or shadow):
        raise click.UsageError(
            "--in-place moves a consumer, which goes by place and time alone; leave out --run, --where, --into and "
            "--shadow, or replay without --in-place."
        )
    if in_place and as_json and not (yes or dry_run):
        raise click.UsageError("--in-place asks before it moves a consumer; with --json, say --yes.")
    found = settings()
    handlers = {known.name: known for plugin in discover(found).plugins.values() for known in plugin.handlers}
    if handler not in handlers:
        raise click.ClickException(f"No handler is named {handler}; known: {', '.join(sorted(handlers))}.")
    chosen = handlers[handler]
    if subject is not None and subject not in chosen.contract.subjects():
        raise click.BadParameter(
            f"{handler} handles {', '.join(chosen.contract.subjects())}, not {subject}.", param_hint="--subject"
        )
    selection = Selection(
        contract=chosen.contract,
        subject=subject,
        since=ago(since) if since else None,
        until=ago(until) if until else None,
        from_sequence=from_seq or 1,
        to_sequence=to_seq,
        run=run_id,
        where=tuple(map(_condition, conditions)),
        limit=limit,
    )
    if not chosen.ledger:
        _warn_of_no_ledger(chosen, selection, in_place)
    way = Way(in_place, into, _shadow(shadow), dry_run)
    run(_replay(found, handlers, chosen, selection, way, yes, as_json))


def _condition(text: str) -> Where:
    try:
        return Where.parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--where") from error


def _shadow(name: str | None) -> str | None:
    if name is not None and not re.fullmatch(_NAME, name):
        raise click.BadParameter(f"{name!r} must be letters, digits, _ and -, 64 at most.", param_hint="--shadow")
    return name


def _warn_of_no_ledger(handler: Handler, selection: Selection, in_place: bool) -> None:
    """Say what a handler without a memory of what it did makes of a replay."""
    if in_place and (selection.subject or selection.until or selection.to_sequence or selection.limit):
        raise click.ClickException(
            f"{handler.name} keeps no ledger, so moved back it works on everything from the first event on; leave out "
            "--subject, --until, --to-seq and --limit, or replay without --in-place."
        )
    what = "works on everything from the first event on" if in_place else "repeats what is delivered to it twice"
    click.echo(f"Warning: {handler.name} keeps no ledger: it {what}.", err=True)


async def _replay(
    found: CoreSettings,
    handlers: Mapping[str, Handler],
    handler: Handler,
    selection: Selection,
    way: Way,
    yes: bool,
    as_json: bool,
) -> None:
    report = Report(handler, way, as_json)
    async with services(found) as (session, opened):
        bus = session.bus
        if way.into:
            await _ready(bus, found, handlers, handler, way)
        if way.dry_run:
            await _look(bus, opened, handlers, selection, report)
        elif way.in_place:
            await _move(bus, selection, report, yes)
        else:
            await _hand_over(bus, selection, report)
    report.end()


async def _hand_over(bus: Bus, selection: Selection, report: Report) -> None:
    handler, way, replay_id = report.handler, report.way, new_replay()
    shadow = way.shadow or (f"{way.into}-{replay_id}" if way.into else None)
    instead = handler.name if way.into else None
    events = report.each(select(bus, selection))
    await replay_events(bus, way.into or handler.name, events, replay_id=replay_id, instead_of=instead, shadow=shadow)
    if report.number:
        report.replay, report.shadow = replay_id, shadow


async def _move(bus: Bus, selection: Selection, report: Report, yes: bool) -> None:
    handler = report.handler
    async for _ in report.each(select(bus, selection)):
        pass
    if not report.number:
        return
    if not yes:
        click.confirm(
            f"Move {handler.name} back to {report.begin} and forget that it completed "
            f"{report.count}? Its outputs keep their ids; nothing behind it runs again.",
            abort=True,
        )
    again = select(bus, replace(selection, from_sequence=report.first))
    report.forgotten = await rewind(bus, handler.name, selection.stream, report.first, again)


async def _look(
    bus: Bus, opened: Services, handlers: Mapping[str, Handler], selection: Selection, report: Report
) -> None:
    way = report.way
    causes = [Cause(event.event_id, event.run, event.time) async for event in report.each(select(bus, selection))]
    shadowed = bool(way.into or way.shadow or way.in_place)
    report.behind = behind(report.handler, handlers.values(), shadowed=shadowed)
    report.estimate = await estimate(bus, opened.runs, report.handler.name, causes, report.behind, shadowed=shadowed)


async def _ready(bus: Bus, found: CoreSettings, handlers: Mapping[str, Handler], handler: Handler, way: Way) -> None:
    """See to it that the other handler has a consumer, which gets the copies and not the whole history."""
    subject, other = handler.contract.subject, handlers.get(way.into or "")
    if other is not None:
        if other.contract.subject != subject:
            raise click.ClickException(f"{other.name} handles {other.contract.subject}, not {subject}.")
        if not way.dry_run:
            await apply(bus, [replace(consumer, begin="new") for consumer in other.consumers(found.ack_wait)])
        return
    try:
        config = (await bus.api(f"CONSUMER.INFO.{handler.stream}.{way.into}"))["config"]
    except ApiError as error:
        raise click.ClickException(
            f"No handler is named {way.into}, here or on the server; `stenobus plugins list` shows what is installed."
        ) from error
    if config.get("filter_subject") != subject:
        raise click.ClickException(f"{way.into} handles {config.get('filter_subject')}, not {subject}.")


class Report:
    """What is said while it happens, and at the end."""

    def __init__(self, handler: Handler, way: Way, as_json: bool) -> None:
        self.handler, self.way, self._as_json = handler, way, as_json
        self._console = Console(highlight=False, markup=False, soft_wrap=True)
        #: How many events there were, and where the first one lies.
        self.number, self.first = 0, 0
        #: Every event, for the JSON document alone: on a terminal they pass by.
        self.rows: list[dict[str, Any]] = []
        self.replay: str | None = None
        self.shadow: str | None = way.shadow
        self.forgotten: int | None = None
        self.behind: list[str] = []
        self.estimate: Estimate | None = None

    @property
    def count(self) -> str:
        """How many events of which subject."""
        return f"{self.number} event{'' if self.number == 1 else 's'} of {self.handler.contract.subject}"

    @property
    def begin(self) -> str:
        """Where the first event lies."""
        return f"{self.handler.stream}/{self.first}"

    async def each(self, events: AsyncIterator[Remembered]) -> AsyncIterator[Remembered]:
        """Events as they pass."""
        async for event in events:
            self.first = self.first or event.sequence
            self.number += 1
            if self._as_json:
                self.rows.append(
                    {
                        "stream": event.stream,
                        "sequence": event.sequence,
                        "time": event.time,
                        "run": event.run,
                        "id": event.event_id,
                    }
                )
            else:
                self._console.print(f"{event.stream}/{event.sequence}  {event.time:%Y-%m-%d %H:%M:%S}  run {event.run}")
            yield event

    def end(self) -> None:
        """The summary, or the document."""
        if self._as_json:
            print_json(self._document())
            return
        for line in self._lines():
            self._console.print(line)

    def _document(self) -> dict[str, Any]:
        way = self.way
        document: dict[str, Any] = {
            "handler": self.handler.name,
            "replay": self.replay,
            "dry_run": way.dry_run,
            "in_place": way.in_place,
            "into": way.into,
            "shadow": self.shadow,
            "forgotten": self.forgotten,
            "events": self.rows,
        }
        if self.estimate is not None:
            document |= {"behind": self.behind, "estimate": _as_document(self.estimate)}
        return document

    def _lines(self) -> list[str]:
        name, to = self.handler.name, self.way.into or self.handler.name
        if not self.number:
            return [f"No event of {self.handler.contract.subject} matches."]
        if self.estimate is not None:
            return [self._intention(), *_lines(self.estimate, self.behind)]
        if self.forgotten is not None:
            return [
                f"{name} is back at {self.begin} and works again on {self.count}; "
                f"{self.forgotten} of them it had completed before."
            ]
        lines = [f"{self.count} handed to {to} again, replay {self.replay}."]
        if self.shadow:
            lines.append(f"What it makes goes to the shadow {self.shadow}; `stenobus diff RUN {self.shadow}` compares.")
        return lines

    def _intention(self) -> str:
        way = self.way
        if way.in_place:
            return (
                f"{self.handler.name} would go back to {self.begin} and work again on "
                f"{self.count}; its outputs keep their ids, so nothing behind it would work on them."
            )
        return f"{self.count} would be handed to {way.into or self.handler.name} again."


def _as_document(found: Estimate) -> dict[str, Any]:
    return {
        "work": {
            name: {"steps": work.steps, "cached": work.cached, "kept": work.kept} for name, work in found.work.items()
        },
        "unrecorded": found.unrecorded,
        "cost_usd": found.cost_usd,
        "tokens": found.tokens,
        "priced": found.priced,
        "unpriced": found.unpriced,
    }


def _lines(found: Estimate, behind: list[str]) -> list[str]:
    lines = [f"As far as the cache does not answer, these would run too: {', '.join(behind) or 'none'}."]
    for name, work in sorted(found.work.items()):
        if work.steps:
            lines.append(
                f"{name}: {work.steps} earlier step{'' if work.steps == 1 else 's'}, {work.cached} answered from the "
                f"cache, which keeps {work.kept} of its results."
            )
    if found.unrecorded:
        lines.append(f"Of {found.unrecorded} of the events the run record knows nothing: what they cost is unknown.")
    tokens = "" if found.tokens is None else f" and {found.tokens} tokens"
    if found.cost_usd is not None:
        lines.append(f"Earlier cost: ${found.cost_usd:.4f}{tokens}, as noted by {found.priced} steps.")
    else:
        lines.append(f"Earlier cost: unknown{tokens}; no step noted a price.")
    if found.unpriced and found.cost_usd is not None:
        lines.append(f"The cost of {found.unpriced} further steps is unknown.")
    return lines
