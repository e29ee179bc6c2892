"""Times come out in order, whatever goes in."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stenobus_asr.speech import HeardWord, Utterance
from stenobus_asr.times import segments, word_times

DURATION = 60.0
wild = st.none() | st.floats(allow_nan=True, allow_infinity=True) | st.floats(-10, 80)
heard = st.builds(
    HeardWord, text=st.sampled_from(["disk", " full", "", "é", "  "]), start=wild, end=wild, probability=wild
)
utterances = st.lists(
    st.builds(
        Utterance,
        text=st.sampled_from(["disk full", "", "  ", "a"]),
        start=wild,
        end=wild,
        words=st.lists(heard, max_size=6).map(tuple),
    ),
    max_size=8,
)


@given(utterances, st.sampled_from([0.0, 0.0004, 11.0, DURATION]))
def test_every_time_lies_in_the_recording_and_none_runs_backwards(said: list[Utterance], duration: float) -> None:
    result = segments(said, duration)
    edges = [edge for segment in result for edge in (segment.start, segment.end)]
    assert edges == sorted(edges)
    assert all(0 <= edge <= round(duration, 3) for edge in edges if edge is not None)
    for segment in result:
        times = [edge for word in segment.words for edge in (word.start, word.end)]
        assert times == sorted(times)
        assert all((segment.start or 0) <= time <= (segment.end or 0) for time in times)


@given(utterances)
def test_no_word_is_lost_and_segments_are_numbered(said: list[Utterance]) -> None:
    result = segments(said, DURATION)
    spoken = [utterance for utterance in said if utterance.text.strip()]
    assert [segment.id for segment in result] == [f"S{number:04d}" for number in range(1, len(spoken) + 1)]
    expected = sorted(tuple(word.text.strip() for word in each.words if word.text.strip()) for each in spoken)
    assert sorted(tuple(word.text for word in segment.words) for segment in result) == expected


@given(st.lists(st.integers(0, 60_000), max_size=20), st.integers(1, 4))
def test_good_times_are_left_alone(edges: list[int], per_utterance: int) -> None:
    seconds = [edge / 1000 for edge in sorted(edges)]
    words = [
        HeardWord(text="w", start=start, end=end, probability=0.5)
        for start, end in zip(seconds[::2], seconds[1::2], strict=False)
    ]
    groups = [tuple(words[i : i + per_utterance]) for i in range(0, len(words), per_utterance)]
    said = [Utterance(text="w", start=group[0].start, end=group[-1].end, words=group) for group in groups]
    result = segments(said, DURATION)
    assert [(word.start, word.end) for segment in result for word in segment.words] == [
        (word.start, word.end) for word in words
    ]
    assert all(
        before.end <= after.start
        for before, after in pairwise(result)
        if before.end is not None and after.start is not None
    )


def test_words_without_times_share_the_room_between_their_neighbours() -> None:
    words = [
        HeardWord(text="about", start=1.0, end=1.5),
        HeardWord(text="48", start=None, end=None),
        HeardWord(text="gigabytes", start=3.0, end=3.5),
    ]
    assert word_times(words, 1.0, 3.5) == [(1.0, 1.5), (2.0, 2.5), (3.0, 3.5)]


def test_an_utterance_that_overlaps_the_next_is_cut_short() -> None:
    first, second = segments([Utterance(text="a", start=0, end=9), Utterance(text="b", start=4, end=6)], 10)
    assert (first.start, first.end, second.start, second.end) == (0, 4, 4, 6)


def test_an_utterance_without_times_takes_them_from_its_words() -> None:
    words = (HeardWord(text="disk", start=2, end=2.5), HeardWord(text="full", start=2.5, end=3))
    (segment,) = segments([Utterance(text="disk full", words=words)], 10)
    assert (segment.start, segment.end) == (2, 3)


def test_confidence_is_the_mean_of_the_words() -> None:
    words = (HeardWord(text="disk", probability=0.5), HeardWord(text="full", probability=1.0), HeardWord(text="a"))
    (segment,) = segments([Utterance(text="disk full a", start=0, end=1, words=words)], 10)
    assert segment.confidence == pytest.approx(0.75)
    assert segment.words[2].probability is None
