"""Notifications become events: an object that was made is an upload, one that was removed is to be found no more."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from pydantic import JsonValue

from stenobus_bus.cell import Cell
from stenobus_bus.envelope import derived_id
from stenobus_contracts import KbSync, Media, MediaUploaded, StoreNotified
from stenobus_core import Context, PermanentError

from .notifications import Change, NotUnderstood, changes, later
from .place import document_id
from .settings import Settings

SOURCE: Final = "ingest"
#: Goes up when objects that were taken before should be taken anew.
PIPELINE: Final = 1


async def take(event: StoreNotified, ctx: Context[Settings, Any]) -> list[MediaUploaded | KbSync]:
    """What follows from a notification: nothing for what is known, older than what is known, or our own.

    Raises:
        PermanentError: it has no known shape.
    """
    try:
        told = changes(event.model_extra or {})
    except NotUnderstood as error:
        raise PermanentError(str(error)) from error
    counted = Counter[str]()
    outputs: list[MediaUploaded | KbSync] = []
    for change in told:
        outcome = await _decide(change, ctx)
        counted[outcome] += 1
        if outcome == "made":
            outputs.append(_uploaded(change))
        elif outcome == "removed":
            outputs.append(
                KbSync(
                    collection=ctx.settings.collection_of(change.uri),
                    delete=(document_id(change.uri),),
                    source=SOURCE,
                )
            )
    ctx.note(**dict[str, JsonValue](counted))
    return outputs


async def _decide(change: Change, ctx: Context[Settings, Any]) -> str:
    """What becomes of a change: made, removed, known, older, kept or ignored."""
    if change.is_ours or any(change.uri.startswith(start) for start in ctx.settings.ignored):
        return "ignored"
    if ctx.shadow:
        return "made" if change.made else "removed"

    def step(known: dict[str, Any]) -> tuple[dict[str, Any], str]:
        return decide(change, known, ctx.event_id)

    outcome: str = await _cell(change.uri, ctx).change(step)
    return outcome


async def superseded(event: MediaUploaded, ctx: Context[Settings, Any]) -> bool:
    """Whether the object that an upload tells of was removed or replaced since; another event tells of that."""
    if ctx.shadow or event.metadata.get("store") not in {"s3", "nats"}:
        return False

    def step(known: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        current = not known or (known["made"] and known["version"] == event.metadata.get("version"))
        return known, not current

    outcome: bool = await _cell(event.media.uri, ctx).change(step)
    return outcome


def _cell(uri: str, ctx: Context[Settings, Any]) -> Cell:
    return ctx.cell(f"object-{derived_id(uri)}")


def decide(change: Change, known: dict[str, Any], by: str) -> tuple[dict[str, Any], str]:
    """What is known of an object after a change, and what becomes of the change.

    Args:
        known: what earlier changes left; empty when there was none.
        by: id of the event that tells of the change. The same event again has to have the same outcome.
    """
    outcome = _outcome(change, known, by)
    if outcome in {"made", "removed"}:
        return {
            "version": change.version,
            "made": change.made,
            "sequencer": change.sequencer,
            "pipeline": PIPELINE,
            "by": by,
        }, outcome
    if outcome == "known" and later(change.sequencer, known["sequencer"]):
        return {**known, "sequencer": change.sequencer}, outcome  # what comes between the two comes too late
    return known, outcome


def _outcome(change: Change, known: dict[str, Any], by: str) -> str:
    if not known:
        return "kept" if change.one_version else "made" if change.made else "removed"
    same = known["made"] == change.made and (not change.made or known["version"] == change.version)
    if same and known["by"] == by:
        return "made" if change.made else "removed"
    if later(known["sequencer"], change.sequencer):
        return "older"
    if change.made:  # without a version nobody knows whether it is the same content
        return "known" if same and change.version and known["pipeline"] == PIPELINE else "made"
    if same:
        return "known"
    # an old version was removed, and the one that is found is another
    return "kept" if change.one_version and change.version != known["version"] else "removed"


def _uploaded(change: Change) -> MediaUploaded:
    facts: dict[str, JsonValue] = {
        "store": change.store,
        "bucket": change.bucket,
        "key": change.key,
        "version": change.version,
    }
    return MediaUploaded(
        # the size is no promise: by the time it is read, a later version may be there
        media=Media(uri=change.uri, name=change.key.rpartition("/")[2]),
        metadata={name: value for name, value in facts.items() if value is not None},
    )
