"""Verify evidence against the transcript: whoever answers is believed only where the recording says so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from stenobus_contracts import Evidence, Item, Segment

from .claims import command
from .dropped import Dropped
from .quotes import Token, exact, fold, nearly
from .said import Said
from .standing import MISATTRIBUTED, Standing, speakers
from .text import one_line

#: Kinds of which one sentence may hold several.
_SEVERAL = frozenset({"command", "configuration"})


@dataclass(slots=True)
class Grounded:
    """Items whose evidence holds, what was dropped, and how many were mended for which reason."""

    items: list[Item] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    mended: Counter[str] = field(default_factory=Counter)


def together(parts: Iterable[Grounded]) -> Grounded:
    """What several chunks brought, items not merged."""
    whole = Grounded()
    for part in parts:
        whole.items += part.items
        whole.dropped += part.dropped
        whole.mended += part.mended
    return whole


def ground(items: Iterable[Item], segments: Sequence[Segment]) -> Grounded:
    """Keep the items whose quote stands in the segments they cite, or one segment beside them.

    The kept evidence is rewritten from the transcript: the quote in its own spelling, the segments it really spans, the
    time and the speaker of the first one. A text that claims a number, a name or a speaker which these segments do not
    have gives way to the quote; a command that was not said is dropped.
    """
    result = Grounded()
    index = _Index(segments)
    for item in items:
        evidence, reason = index.verify(item.evidence)
        if evidence is None:
            result.dropped.append(Dropped.of(item, reason))
            continue
        near = index.near(evidence)
        text = one_line(item.text)[:2000]
        if item.kind == "command" and not command(text.strip("`"), near.said):
            result.dropped.append(Dropped.of(item, "the command is not what was said"))
            continue
        complaint = None if text in evidence.quote else near.complaint(text)
        if complaint is None and item.evidence.speaker in near.others:
            complaint = MISATTRIBUTED
        if complaint:
            result.mended[complaint] += 1
            text = evidence.quote[:2000]
        result.items.append(item.model_copy(update={"text": text, "evidence": evidence}))
    return result


def merge(chunks: Iterable[Iterable[Item]]) -> list[Item]:
    """Join what the chunks found: items of one kind and segment with the same quote and text are the same fact.

    Where chunks overlap, the text may differ and a quote may contain the other's; but a sentence can hold several
    commands and settings, so these are the same only with the same text. The result is in the order of the recording,
    numbered I001, I002, …
    """
    kept: list[tuple[int, Item]] = []
    by_place: dict[tuple[str, str], list[int]] = {}
    for chunk, items in enumerate(chunks):
        for item in items:
            places = [(item.kind, segment) for segment in item.evidence.segments]
            rivals = sorted({number for place in places for number in by_place.get(place, ())})
            if any(_same(item, kept[rival][1], across=kept[rival][0] != chunk) for rival in rivals):
                continue
            for place in places:
                by_place.setdefault(place, []).append(len(kept))
            kept.append((chunk, item))
    found = sorted((item for _, item in kept), key=lambda item: int(item.evidence.segments[0][1:]))
    return [item.model_copy(update={"id": f"I{number:03d}"}) for number, item in enumerate(found, start=1)]


class _Index:
    """Folded segments, made once for all quotes."""

    def __init__(self, segments: Sequence[Segment]) -> None:
        self._segments = segments
        self._speakers = speakers(segments)
        self._position: Mapping[str, int] = {segment.id: number for number, segment in enumerate(segments)}
        self._folded: dict[int, list[Token]] = {}

    def verify(self, evidence: Evidence) -> tuple[Evidence | None, str]:
        """The evidence as the transcript has it, or None and the reason."""
        quote = [token.text for token in fold(evidence.quote)]
        if not quote:
            return None, "the quote has no words"
        cited = sorted({self._position[each] for each in evidence.segments if each in self._position})
        if not cited:
            return None, "it cites no segment of its chunk"
        windows = list(_windows(cited, len(self._segments)))
        for find in (exact, nearly):
            for window in windows:
                tokens = [(number, token) for number in window for token in self._tokens(number)]
                place = find(quote, [token.text for _, token in tokens])
                if place:
                    return self._evidence(tokens[place.start : place.stop]), ""
        if exact(quote, self._everything):
            return None, "its quote stands in other segments than it cites"
        return None, "its quote is not in the cited segments"

    def near(self, evidence: Evidence) -> Standing:
        """What an item with this evidence has to stand on: its segments and one on either side."""
        positions = [self._position[each] for each in evidence.segments]
        window = self._segments[max(0, positions[0] - 1) : positions[-1] + 2]
        own = self._segments[positions[0] : positions[-1] + 1]
        return Standing(Said.of(window), frozenset(each.speaker for each in own if each.speaker), self._speakers)

    @cached_property
    def _everything(self) -> list[str]:
        return [token.text for number in range(len(self._segments)) for token in self._tokens(number)]

    def _evidence(self, span: list[tuple[int, Token]]) -> Evidence:
        numbers = range(span[0][0], span[-1][0] + 1)
        return Evidence(
            segments=tuple(self._segments[number].id for number in numbers),
            quote=" ".join(self._original(number, span) for number in numbers if self._original(number, span)),
            start=_start(self._segments[numbers[0]], span[0][1]),
            speaker=self._segments[numbers[0]].speaker,
        )

    def _original(self, number: int, span: list[tuple[int, Token]]) -> str:
        own = [token for where, token in span if where == number]
        return _closed(self._segments[number].text, own[0].start, own[-1].end) if own else ""

    def _tokens(self, number: int) -> list[Token]:
        if number not in self._folded:
            self._folded[number] = fold(self._segments[number].text)
        return self._folded[number]


def _start(segment: Segment, token: Token) -> float | None:
    """When a word of a segment was said; the segment's start where its words have no times of their own."""
    place = 0
    for word in segment.words:
        at = segment.text.find(word.text, place)
        if at < 0:
            break
        place = at + len(word.text)
        if token.start < place:
            return word.start
    return segment.start


def _closed(text: str, start: int, end: int) -> str:
    """The words from start to end with the mark that closes or opens them: ``--force`` and ``done.`` stay whole."""
    while start and not text[start - 1].isspace() and not text[start - 1].isalnum():
        start -= 1
    while end < len(text) and not text[end].isspace() and not text[end].isalnum():
        end += 1
    return text[start:end]


def _windows(cited: list[int], count: int) -> Iterator[range]:
    """Runs of cited segments as they are, then each run widened by one on both sides."""
    runs: list[range] = []
    for number in cited:
        if runs and number <= runs[-1].stop:
            runs[-1] = range(runs[-1].start, number + 1)
        else:
            runs.append(range(number, number + 1))
    yield from runs
    for run in runs:
        yield range(max(0, run.start - 1), min(count, run.stop + 1))


def _same(one: Item, other: Item, *, across: bool) -> bool:
    quote, known = _key(one.evidence.quote), _key(other.evidence.quote)
    if across and one.kind not in _SEVERAL:
        return quote in known or known in quote
    return _key(one.text) == _key(other.text) and (quote == known or across)


def _key(text: str) -> str:
    return f" {' '.join(token.text for token in fold(text))} "
