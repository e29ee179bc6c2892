"""Loops are taken out and kept apart; people may repeat themselves."""

from __future__ import annotations

from stenobus_asr.repetition import without_loops
from stenobus_asr.speech import HeardWord, Utterance


def said(text: str, start: float = 0.0) -> Utterance:
    words = tuple(
        HeardWord(text=word, start=start + index, end=start + index + 1) for index, word in enumerate(text.split())
    )
    return Utterance(text=text, start=start, end=start + len(words), words=words)


def test_a_looping_phrase_is_said_once() -> None:
    kept, dropped = without_loops([said("and then " + "thank you for watching " * 6 + "we restart")])
    assert kept[0].text == "and then thank you for watching we restart"
    assert (dropped[0].start, dropped[0].end) == (6, 26)
    assert dropped[0].reason == "the same words 6 times in a row"


def test_the_shortest_loop_is_found() -> None:
    (kept,), _ = without_loops([said("la " * 40)])
    assert kept.text == "la"


def test_an_utterance_that_comes_again_and_again_is_kept_once() -> None:
    kept, dropped = without_loops([said("the disk is full", 4.0 * n) for n in range(3)] + [said("we restart it", 12)])
    assert [utterance.text for utterance in kept] == ["the disk is full", "we restart it"]
    assert [drop.start for drop in dropped] == [4.0, 8.0]


def test_people_may_repeat_themselves() -> None:
    talk = [
        said("no no no no no"),
        said("yes"),
        said("yes"),
        said("yes"),
        said("one two one two one two go"),
        said("is it full"),
        said("is it full"),
    ]
    assert without_loops(talk) == (talk, [])
