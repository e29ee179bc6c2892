"""Runs that somebody asked for by hand: tried out, or done and followed to their ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import click

from stenobus_bus import Envelope, HandlerError
from stenobus_contracts import Event
from stenobus_core import CoreSettings, Host, Plugin
from stenobus_core.cli.progress import Progress
from stenobus_core.cli.running import services
from stenobus_core.discovery import discover
from stenobus_core.errors import PluginError
from stenobus_core.runs import Step

from .catalogue import Origin, Posts
from .errors import SourceError
from .events import Pass, SourceDue
from .extraction import alone, extract
from .prepare import prepare
from .settings import Settings
from .stored import read_state, stored_records

#: The steps of a run, in their order.
STEPS: Final = ("sources-extract", "sources-prepare", "sources-load", "sources-verify")
_SHOWN: Final = ("found", "listed", "changed", "unchanged", "quarantined", "failed", "gone", "sent", "requests")


@dataclass(slots=True)
class End:
    """How a run of one source ended."""

    source: str
    facts: dict[str, Any] = field(default_factory=dict)
    error: str = ""

    def document(self) -> dict[str, Any]:
        """For scripts."""
        return {"source": self.source, "ok": not self.error, "error": self.error or None, **self.facts}

    def lines(self) -> list[str]:
        """For people."""
        counts = ", ".join(f"{self.facts[name]} {name}" for name in _SHOWN if self.facts.get(name))
        more = [f"  {name}: {self.facts[name]}" for name in ("dataset", "doubt") if self.facts.get(name)]
        bad = [f"  {name}" for key in ("quarantine", "failures") for name in self.facts.get(key) or ()]
        return [f"{'✗' if self.error else '✓'} {self.source}: {self.error or counts or 'nothing'}", *more, *bad]


async def tried(core: CoreSettings, settings: Settings, known: Mapping[str, Origin], reads: Pass) -> list[End]:
    """Read and check each source, and write and send nothing."""
    async with services(core) as (_, opened):
        ends = []
        for origin in known.values():
            try:
                ends.append(End(origin.name, await _tried(opened.blobs, settings, origin, reads)))
            except (SourceError, HandlerError) as error:
                ends.append(End(origin.name, error=str(error)))
        return ends


async def _tried(store: Any, settings: Settings, origin: Origin, reads: Pass) -> dict[str, Any]:
    said = ""

    async def progress(_: float, message: str) -> None:
        nonlocal said
        if message != said:
            click.echo(f"{origin.name}: {message}", err=True)
            said = message

    state = await read_state(store, origin)
    pace = alone(origin.site.rate if isinstance(origin, Posts) else 1.0)
    found = await extract(store, origin, reads, state, pace=pace, most=settings.max_bytes, progress=progress)
    before = await stored_records(store, state.records, settings.max_bytes) if state.records else {}
    result = prepare(origin, state, before, found.records, found.listing, complete=found.complete)
    return {
        "found": len(found.records),
        "listed": len(found.listing or ()),
        "complete": found.complete,
        "changed": len(result.changed),
        "unchanged": result.unchanged,
        "quarantined": len(result.refused),
        "failed": len(found.failures),
        "gone": result.gone,
        "requests": found.requests,
        **({"doubt": found.doubt} if found.doubt else {}),
        "quarantine": [f"{name}: {one.reason}" for name, one in list(result.refused.items())[:10]],
        "failures": found.failures[:10],
    }


async def done(core: CoreSettings, known: Mapping[str, Origin], reads: Pass) -> list[End]:
    """Run each source, here on the embedded server, and follow the runs to their ends.

    Raises:
        PluginError: a plugin cannot start.
        BusError: the server is out of order.
    """
    async with AsyncExitStack() as stack:
        session, opened = await stack.enter_async_context(services(core))
        if session.server is not None:
            host = Host(core, session.bus, _needed(list(discover(core).plugins.values())))
            stack.push_async_callback(host.stop)
            await host.start()
            if host.failed:
                raise PluginError(next(iter(host.failed.values())))
        event = SourceDue(reads=reads, sources=tuple(known))
        envelope = Envelope.new(event, "stenobus/sources", run=f"sources-by-hand-{datetime.now(UTC):%Y%m%dT%H%M%S%f}")
        await session.bus.publish(event, envelope)
        progress = stack.enter_context(Progress([]))
        steps: dict[str, Step] = {}
        async with aclosing(opened.runs.follow(envelope.run)) as changes:
            async for step in changes:
                progress.update(step)
                steps[step.key] = step
                if ends := _ends(list(known), list(steps.values())):
                    return ends
        raise AssertionError("changes come without end")


def _needed(plugins: Sequence[Plugin]) -> list[Plugin]:
    """Whoever has a part in a run: by what they handle of what a run leads to."""
    reached: set[type[Event]] = {SourceDue}
    while True:
        handlers = [handler for plugin in plugins for handler in plugin.handlers if handler.contract in reached]
        more = {output for handler in handlers for output in handler.outputs} - reached
        if not more:
            return [plugin for plugin in plugins if any(handler in handlers for handler in plugin.handlers)]
        reached |= more


def _ends(names: list[str], steps: list[Step]) -> list[End] | None:
    """How each source's run ended, once all have."""
    ends, over = {name: End(name) for name in names}, set[str]()
    for step in steps:
        if step.handler == "sources-plan" and step.status == "failed":
            return [End(name, error=step.message or "it failed") for name in names]
    for step in sorted((step for step in steps if step.handler in STEPS), key=lambda step: STEPS.index(step.handler)):
        name = str(step.facts.get("source"))
        if name not in ends:
            continue
        ends[name].facts |= {fact: value for fact, value in step.facts.items() if fact != "source"}
        if step.status == "failed":
            ends[name].error = step.message or "it failed"
        if step.status == "failed" or (step.status == "done" and step.handler == STEPS[-1]):
            over.add(name)
    return list(ends.values()) if over == ends.keys() else None
