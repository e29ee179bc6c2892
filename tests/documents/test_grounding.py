"""Evidence is believed only where the transcript has it; chunks hold whole segments; what was found twice is one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stenobus_contracts import Evidence, Item, ItemKind, Segment
from stenobus_core.tokens import tokens_of
from stenobus_documents.chunks import line, pack
from stenobus_documents.grounding import ground, merge
from stenobus_documents.quotes import fold


def segment(number: int, text: str) -> Segment:
    return Segment(id=f"S{number:04d}", text=text, start=number * 10.0, end=number * 10.0 + 5)


SEGMENTS = [
    segment(1, "We don’t know why."),
    segment(2, "The Disk, /dev/sda1, was 98.5% full"),
    segment(3, "so run journalctl --vacuum-size=500M."),
    segment(4, "磁盘已满。重启服务。"),
]


def item(
    quote: str, *cited: str, kind: ItemKind = "fact", text: str = "x", start: float | None = None, number: int = 1
) -> Item:
    evidence = Evidence(segments=cited or ("S0002",), quote=quote, start=start)
    return Item(id=f"I{number:03d}", kind=kind, text=text, evidence=evidence)


@pytest.mark.parametrize(
    ("quote", "cited", "verbatim", "where"),
    [
        ("the disk /dev/sda1 was 98.5% full", "S0002", "The Disk, /dev/sda1, was 98.5% full", ("S0002",)),
        ("THE DISK", "S0002", "The Disk,", ("S0002",)),
        ("We don't know", "S0001", "We don’t know", ("S0001",)),
        ("full so run", "S0002", "full so run", ("S0002", "S0003")),
        ("run journalctl vacuum size 500m", "S0002", "run journalctl --vacuum-size=500M.", ("S0003",)),
        ("磁盘 已满", "S0004", "磁盘已满。", ("S0004",)),
        ("vacuum-size=500M", "S0003", "--vacuum-size=500M.", ("S0003",)),
    ],
)
def test_a_quote_is_found_and_told_in_the_transcripts_own_spelling(
    quote: str, cited: str, verbatim: str, where: tuple[str, ...]
) -> None:
    [found] = ground([item(quote, cited, start=9999.0)], SEGMENTS).items
    assert found.evidence.quote == verbatim
    assert found.evidence.segments == where
    assert found.evidence.start == int(where[0][1:]) * 10.0, "times come from the segments, never from a model"


@pytest.mark.parametrize(
    ("quote", "cited", "reason"),
    [
        ("the disk was full", "S0002", "its quote is not in the cited segments"),
        ("98.6% full", "S0002", "its quote is not in the cited segments"),
        ("We do not know", "S0001", "its quote is not in the cited segments"),
        ("isk", "S0002", "its quote is not in the cited segments"),
        ("We don't know", "S0003", "its quote stands in other segments than it cites"),
        ("We don't know", "S0099", "it cites no segment of its chunk"),
        ("?!", "S0001", "the quote has no words"),
    ],
)
def test_what_cannot_be_verified_is_dropped_with_its_reason(quote: str, cited: str, reason: str) -> None:
    grounded = ground([item(quote, cited)], SEGMENTS)
    assert grounded.items == []
    assert [each.reason for each in grounded.dropped] == [reason]


def test_unknown_ids_beside_known_ones_go() -> None:
    [found] = ground([item("the disk", "S0002", "S0099")], SEGMENTS).items
    assert found.evidence.segments == ("S0002",)


TEXT = st.text(alphabet=st.sampled_from("abc ABC 012 .,-'’_/é磁ﷺ½\u0301\u200d\U0001f600"), min_size=1, max_size=30)


@settings(max_examples=300, deadline=None)
@given(st.lists(TEXT, min_size=1, max_size=4), st.data())
def test_every_run_of_words_of_a_segment_is_found_there(texts: list[str], data: st.DataObject) -> None:
    segments = [segment(number, text) for number, text in enumerate(texts, start=1)]
    chosen = data.draw(st.sampled_from(segments))
    words = fold(chosen.text)
    if not words:
        return
    first = data.draw(st.integers(0, len(words) - 1))
    last = data.draw(st.integers(first, len(words) - 1))
    quote = chosen.text[words[first].start : words[last].end]
    if [token.text for token in fold(quote)] != [token.text for token in words[first : last + 1]]:
        return  # cut inside a word that only the whole text makes one
    [found] = ground([item(quote, chosen.id)], segments).items
    assert found.evidence.segments[0] == chosen.id or quote in found.evidence.quote


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 400), max_size=40), st.integers(20, 200), st.integers(0, 5))
def test_chunks_hold_every_segment_in_order_within_the_budget(sizes: list[int], budget: int, overlap: int) -> None:
    segments = [segment(number, "x" * size) for number, size in enumerate(sizes, start=1)]
    chunks = pack(segments, budget, overlap)
    seen: list[Segment] = []
    for chunk in chunks:
        new = [each for each in chunk if each not in seen]
        repeated = [each for each in chunk if each in seen]
        assert new, "a chunk that only repeats would never end"
        assert repeated == seen[len(seen) - len(repeated) :] and len(repeated) <= overlap
        assert len(chunk) == 1 or sum(tokens_of(line(each)) + 1 for each in chunk) <= budget
        seen += new
    assert seen == segments


def test_lines_of_a_prompt() -> None:
    said = Segment(id="S0012", text="text", start=83.9, end=85, speaker="spk_0")
    assert line(said) == "[S0012 00:01:23 spk_0] text"
    assert line(Segment(id="S0012", text="text")) == "[S0012] text"


def test_what_overlapping_chunks_found_twice_is_one_and_numbered_in_order_of_time() -> None:
    first = [item("run journalctl", "S0003", kind="solution", text="Run it."), item("The Disk", "S0002")]
    second = [
        item("so run journalctl --vacuum-size=500M", "S0003", kind="solution", text="Run journalctl."),
        item("run journalctl", "S0003", kind="command", text="journalctl"),
    ]
    merged = merge([first, second])
    assert [(each.id, each.kind, each.text) for each in merged] == [
        ("I001", "fact", "x"),
        ("I002", "solution", "Run it."),
        ("I003", "command", "journalctl"),
    ]


def test_two_commands_of_one_sentence_stay_two() -> None:
    quote = "run df -h and du -s"
    chunk = [item(quote, "S0003", kind="command", text=text) for text in ("df -h", "du -s", "df -h")]
    assert [each.text for each in merge([chunk, chunk])] == ["df -h", "du -s"]
