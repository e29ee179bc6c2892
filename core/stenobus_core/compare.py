"""A run's outputs beside those of a shadow: what another version makes of the same events."""

from __future__ import annotations

import difflib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any, Final, Literal

from stenobus_bus import BlobNotFound, Bus, PermanentError, shadow
from stenobus_bus.envelope import INSTEAD, ONLY, REPLAY, SHADOW
from stenobus_bus.history import Remembered, read
from stenobus_bus.selection import payload_of
from stenobus_bus.topology import domain
from stenobus_contracts import BlobRef, registry

from .blobs import Blobs
from .differences import Difference, blob, differences

#: Texts larger than this, in bytes, are compared by their hash.
_MOST_TEXT: Final = 4 * 1024 * 1024

Status = Literal["equal", "different", "missing", "added"]


@dataclass(frozen=True, slots=True)
class Pair:
    """One output, and what the shadow has in its place."""

    causation: str
    #: Subject of the contract.
    contract: str
    #: Which of the outputs of this contract for this event, from 0.
    ordinal: int
    original: Remembered | None
    shadow: Remembered | None
    differences: tuple[Difference, ...] = ()

    @property
    def status(self) -> Status:
        """What became of the output."""
        if self.original is None:
            return "added"
        if self.shadow is None:
            return "missing"
        return "different" if self.differences else "equal"


@dataclass(slots=True)
class _Story:
    """What is known of a run: what was handed to whom in the shadow, and what was made of what the first time."""

    #: Event id → the copy that was handed over last.
    copies: dict[str, Remembered]
    made: Mapping[str, list[Remembered]]


async def compare(
    bus: Bus, blobs: Blobs, run: str, name: str, *, handler: str | None = None, ignore: Iterable[str] = ()
) -> list[Pair]:
    """Pair what a run's handler made with what a shadow holds, by causing event, contract and ordinal.

    Questions to others (``ctx.request``) are no outputs, and their answers belong to who was asked: neither counts.

    Args:
        name: the shadow.
        handler: whose outputs are the original ones; by default the one in whose place the shadow's handler worked.
        ignore: paths that may differ.

    Raises:
        ServerUnavailable: a stream does not answer.
    """
    story = await _story(bus, run, name)
    trials: dict[str, list[Remembered]] = defaultdict(list)
    async for event in shadow.outputs(bus, name, run=run):
        trials[event.attributes.get("causationid", "")].append(event)
    pairs = []
    for cause in [*story.copies, *(cause for cause in trials if cause not in story.copies)]:
        copy = story.copies.get(cause)
        made, tried = _outputs(story.made.get(cause, ())), _outputs(trials.get(cause, ()))
        if copy is None:
            tried = [event for event in tried if not _answers(event.subject)]
            contracts = {_contract(event.subject) for event in tried}
            made = [event for event in made if handler or _contract(event.subject) in contracts]
        else:
            tried = [event for event in tried if event.attributes.get(REPLAY) == copy.attributes.get(REPLAY)]
        if who := handler or _worker(copy):
            made = [event for event in made if event.attributes.get("source") == f"stenobus/{who}"]
        pairs += _paired(cause, _of_one_replay(made), _of_one_replay(tried))
    return [await _compared(bus, blobs, pair, tuple(ignore)) for pair in pairs]


async def _story(bus: Bus, run: str, name: str) -> _Story:
    copies: dict[str, Remembered] = {}
    made: dict[str, list[Remembered]] = defaultdict(list)
    for word in registry.domains():
        async for event in read(bus, domain(word).name, f"{word}.>", run=run):
            found = event.attributes
            if SHADOW not in found:
                if "causationid" in found:
                    made[found["causationid"]].append(event)
            elif found[SHADOW] == name and ONLY in found:
                copies[event.event_id] = event
    return _Story(copies, made)


def _worker(copy: Remembered | None) -> str | None:
    """The handler in whose place the shadow's handler worked: itself, unless the copy says otherwise."""
    return None if copy is None else copy.attributes.get(INSTEAD) or copy.attributes[ONLY]


def _outputs(events: Iterable[Remembered]) -> list[Remembered]:
    """Events that are no questions."""
    return [event for event in events if not _is_question(event.subject)]


def _contract(subject: str) -> str:
    """The subject of the contract, whichever lane an event took."""
    contract = registry.by_subject(subject)
    return contract.subject if contract else subject


def _is_question(subject: str) -> bool:
    contract = registry.by_subject(subject)
    return contract is not None and registry.answer_to(contract) is not None


def _answers(subject: str) -> bool:
    contract = registry.by_subject(subject)
    return contract is not None and contract.answers is not None


def _of_one_replay(events: list[Remembered]) -> list[Remembered]:
    """The events of the first time, else of the last replay; each once."""
    replays = [event.attributes.get(REPLAY) for event in events]
    chosen = None if None in replays or not replays else replays[-1]
    found = {event.event_id: event for event in events if event.attributes.get(REPLAY) == chosen}
    return list(found.values())


def _paired(cause: str, made: list[Remembered], tried: list[Remembered]) -> list[Pair]:
    pairs = []
    for subject in dict.fromkeys(_contract(event.subject) for event in (*made, *tried)):
        sides = ([event for event in side if _contract(event.subject) == subject] for side in (made, tried))
        pairs += [Pair(cause, subject, n, before, after) for n, (before, after) in enumerate(zip_longest(*sides))]
    return pairs


async def _compared(bus: Bus, blobs: Blobs, pair: Pair, ignore: tuple[str, ...]) -> Pair:
    if pair.original is None or pair.shadow is None:
        return pair
    before, after = await payload_of(bus, pair.original), await payload_of(bus, pair.shadow)
    if before is None and after is None:  # neither can be read: only equal bytes, or references, are equal
        before, after = pair.original.data.decode(errors="replace"), pair.shadow.data.decode(errors="replace")
    counted = [found for found in differences(before, after) if not any(map(found.concerns, ignore))]
    return replace(pair, differences=tuple([await _explained(blobs, difference) for difference in counted]))


async def _explained(blobs: Blobs, difference: Difference) -> Difference:
    """A difference between two texts that were stored elsewhere, with their diff."""
    before, after = blob(difference.original), blob(difference.shadow)
    if before is None or after is None:
        return difference
    texts = [await _text(blobs, ref) for ref in (before, after)]
    if texts[0] is None or texts[1] is None:
        return difference
    lines = difflib.unified_diff(texts[0].splitlines(), texts[1].splitlines(), "original", "shadow", lineterm="", n=2)
    return replace(difference, text="\n".join(lines))


async def _text(blobs: Blobs, ref: BlobRef) -> str | None:
    """A text that is referred to; None when it is none, is too large, or is gone."""
    if ref.size > _MOST_TEXT:
        return None
    try:
        data = await blobs.read(ref)
        text = data.decode()
    except (BlobNotFound, PermanentError, UnicodeDecodeError):
        return None
    if "\0" in text:
        return None
    return _spread(text) if "json" in (ref.content_type or "") else text


def _spread(text: str) -> str:
    """JSON over several lines, so that its parts can be told apart."""
    try:
        parsed: Any = json.loads(text)
    except ValueError:
        return text
    return json.dumps(parsed, indent=1, ensure_ascii=False)
