"""Pack whole segments into chunks that a language model accepts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from stenobus_contracts import Segment

from .text import clock

#: An estimate for European languages that errs high; Asian scripts are counted by their bytes.
CHARACTERS_PER_TOKEN = 3.5


#: No chunk is larger, however much a model takes.
CEILING = 100_000


def tokens(text: str) -> int:
    """Estimated tokens of a text; an estimate, labelled as such wherever it is shown."""
    size = len(text) if text.isascii() else max(len(text), len(text.encode(errors="replace")) * 2 // 3)
    return math.ceil(size / CHARACTERS_PER_TOKEN)


def line(segment: Segment) -> str:
    """How a segment stands in a prompt: ``[S0012 00:01:23 spk_0] text``."""
    head = " ".join(
        part for part in (segment.id, None if segment.start is None else clock(segment.start), segment.speaker) if part
    )
    return f"[{head}] {segment.text}"


def room(facts: Mapping[str, JsonValue], target: str | None) -> int:
    """Estimated tokens of transcript that the smallest target which may be asked has room for.

    Half of a context window is left to the prompt around the transcript, its schema and the answer. The ceiling stands
    where no target says how much it takes.

    Args:
        facts: what the router says about itself.
        target: the target that will be asked; any of them when None.
    """
    targets = facts.get("targets")
    windows = [
        window
        for offered in (targets if isinstance(targets, list) else [])
        if isinstance(offered, dict) and target in {None, offered.get("name")}
        if isinstance(window := offered.get("context_window"), int)
    ]
    if isinstance(longest := facts.get("max_prompt_tokens"), int):
        windows.append(longest)
    return max(200, min(windows) // 2) if windows else CEILING


def pack(segments: Sequence[Segment], budget: int, overlap: int) -> list[tuple[Segment, ...]]:
    """Chunks of at most ``budget`` estimated tokens, each beginning with the last ``overlap`` segments of the last one.

    A segment larger than the budget makes a chunk of its own. The overlap shrinks where it would leave no room for
    anything new.
    """
    sizes = [tokens(line(segment)) + 1 for segment in segments]
    chunks: list[tuple[Segment, ...]] = []
    first = fresh = 0
    while fresh < len(segments):
        last, used = fresh, sum(sizes[first:fresh])
        while first < fresh and used + sizes[fresh] > budget:
            used -= sizes[first]
            first += 1
        while last < len(segments) and (last == fresh or used + sizes[last] <= budget):
            used += sizes[last]
            last += 1
        chunks.append(tuple(segments[first:last]))
        first, fresh = max(last - overlap, first), last
    return chunks
