"""``stenobus trace``."""

from __future__ import annotations

import click
from rich.console import Console
from rich.markup import escape
from rich.tree import Tree

from stenobus_bus.envelope import REPLAY, attributes
from stenobus_bus.history import Remembered, read
from stenobus_bus.topology import domain
from stenobus_contracts import registry

from ..discovery import discover
from ..runs import Step
from ..settings import CoreSettings
from .running import print_json, run, services, settings


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def trace(run_id: str, as_json: bool) -> None:
    """Show a run as a tree: which event led to which, by whom, how long it took."""
    run(_trace(settings(), run_id, as_json))


async def _trace(found: CoreSettings, run_id: str, as_json: bool) -> None:
    discover(found)
    async with services(found) as (session, opened):
        events = [
            event
            for name in registry.domains()
            async for event in read(session.bus, domain(name).name, f"{name}.>", run=run_id)
        ]
        steps = await opened.runs.steps(run_id)
    if not events:
        raise click.ClickException(f"There is no event of a run {run_id}; `stenobus status` lists the latest runs.")
    events.sort(key=lambda event: event.time)
    if as_json:
        print_json(
            {"run": run_id, "events": [_event(event) for event in events], "steps": [_step(step) for step in steps]}
        )
        return
    Console(highlight=False).print(_tree(run_id, events, steps))


def _tree(run_id: str, events: list[Remembered], steps: list[Step]) -> Tree:
    root = Tree(f"[bold]{escape(run_id)}")
    nodes: dict[tuple[str, str | None], Tree] = {}
    first = events[0].time
    for event in events:
        found = attributes(event.headers)
        replay = found.get(REPLAY)
        parent = nodes.get((found.get("causationid", ""), replay), root)
        after = (event.time - first).total_seconds()
        again = f" replay {escape(replay)}" if replay and parent is root else ""
        node = parent.add(
            f"{event.subject}{again} [dim]+{after:.2f} s, {event.stream}/{event.sequence}, {len(event.data)} bytes"
        )
        nodes[event.event_id, replay] = node
        for step in steps:
            if (step.event_id, step.replay) == (event.event_id, replay):
                took = f"{step.seconds:.2f} s" if step.seconds is not None else ""
                extra = ", ".join(
                    part for part in (took, "from cache" if step.cached else "", step.message or "") if part
                )
                node.add(f"[green]{step.handler}[/] {step.status}{escape(f' ({extra})') if extra else ''}")
    return root


def _event(event: Remembered) -> dict[str, object]:
    return {
        "id": event.event_id,
        "subject": event.subject,
        "stream": event.stream,
        "sequence": event.sequence,
        "time": event.time,
        "causation": attributes(event.headers).get("causationid"),
    }


def _step(step: Step) -> dict[str, object]:
    return step.model_dump(mode="json", exclude_none=True)
