"""Pack whole segments into chunks that a language model accepts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from stenobus_contracts import Segment
from stenobus_core.tokens import tokens_of

from .text import clock

#: A budget smaller than this cuts sentences from their context.
LEAST = 200
#: No chunk is larger, however much a model takes.
CEILING = 100_000
#: Tokens that the prompt around the transcript and the schema of its answer take, at most.
PROMPT = 1500


def line(segment: Segment) -> str:
    """How a segment stands in a prompt: ``[S0012 00:01:23 spk_0] text``."""
    head = " ".join(
        part for part in (segment.id, None if segment.start is None else clock(segment.start), segment.speaker) if part
    )
    return f"[{head}] {segment.text}"


def room(facts: Mapping[str, JsonValue], target: str | None) -> int:
    """Estimated tokens of transcript that the smallest target which may be asked has room for.

    Half of what prompt and answer have together (a context window, a quota per minute) is left to the answer and to
    the prompt around the transcript; of a limit on prompts alone, only :data:`PROMPT` is. :data:`CEILING` where nobody
    says how much is taken.

    Args:
        facts: what the router says about itself.
        target: the target that will be asked; any of them when None.
    """
    targets = facts.get("targets")
    offered = [each for each in (targets if isinstance(targets, list) else []) if isinstance(each, dict)]
    rooms = [
        limit // 2
        for each in offered
        if target in {None, each.get("name")}
        for name in ("context_window", "tokens_per_minute")
        if isinstance(limit := each.get(name), int)
    ]
    if isinstance(longest := facts.get("max_prompt_tokens"), int):
        rooms.append(max(longest - PROMPT, longest // 2))
    return max(LEAST, min([*rooms, CEILING]))


def pack(segments: Sequence[Segment], budget: int, overlap: int) -> list[tuple[Segment, ...]]:
    """Chunks of at most ``budget`` estimated tokens, each beginning with the last ``overlap`` segments of the last one.

    A segment larger than the budget makes a chunk of its own. The overlap shrinks where it would leave no room for
    anything new.
    """
    sizes = [tokens_of(line(segment)) + 1 for segment in segments]
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
