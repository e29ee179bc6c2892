"""What indexes say about a dataset that was sent: kept in one file per source, and waited for."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from stenobus_bus import PermanentError
from stenobus_contracts import KbSynced, Media
from stenobus_core import Context

from . import lease
from .catalogue import Origin
from .settings import Settings

#: Wakes whoever waits for an answer in this process.
Bell = asyncio.Event


async def keep(ctx: Context[Settings, Bell], origin: Origin, event: KbSynced) -> None:
    """Put an index's answer beside those of the others about the same dataset. Called one at a time."""
    answers = await _answers(ctx, origin, event.dataset)
    counts = event.model_dump(include={"added", "updated", "unchanged", "failed", "problems"}, mode="json")
    content = json.dumps({"dataset": event.dataset, "answers": {**answers, event.sink: counts}}).encode()
    await ctx.write(content, origin.places.answers, "application/json")


async def wait(ctx: Context[Settings, Bell], origin: Origin, dataset: str, sent: int) -> dict[str, Any]:
    """The counts by index, once all that must have answered have; any one of them where none is named.

    Raises:
        PermanentError: an index did not take all that was sent.
    """
    while True:
        ctx.state.clear()
        answers = await _answers(ctx, origin, dataset)
        if answers and set(ctx.settings.sinks) <= set(answers):
            break
        await ctx.progress(0.5, "waiting for the index")
        try:
            async with asyncio.timeout(lease.LOOK):  # another process may have heard it
                await ctx.state.wait()
        except TimeoutError:
            continue
    for sink, counts in answers.items():
        taken = counts["added"] + counts["updated"] + counts["unchanged"]
        if counts["failed"] or taken != sent:
            raise PermanentError(
                f"{origin.name}: {sent} documents were sent and {sink} took {taken} of them; all are sent again "
                f"with the next run. {' '.join(counts['problems'][:1])}".rstrip()
            )
    return answers


async def _answers(ctx: Context[Settings, Bell], origin: Origin, dataset: str | None) -> dict[str, Any]:
    try:
        found = json.loads(await ctx.read(Media(uri=origin.places.answers)))
    except (PermanentError, ValueError):  # nobody has answered yet
        return {}
    same = isinstance(found, dict) and found.get("dataset") == dataset
    return dict(found["answers"]) if same else {}
