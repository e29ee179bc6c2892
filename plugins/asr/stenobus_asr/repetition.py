"""Finds what an engine invented by repeating itself, and keeps it apart.

Engines fall into loops on music, noise and silence. The filter looks at structure alone: no list of phrases can tell
an invented sentence from a spoken one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from stenobus_contracts import Model

from .speech import HeardWord, Utterance

#: A phrase of this many words …
PHRASE: Final = 12
#: … said this often in a row is a loop. One word alone may be said more often: "no, no, no, no, no".
OFTEN, OFTEN_ALONE = 4, 8
#: Utterances of at least this many words that come this often in a row are a loop too.
SENTENCE, SENTENCES = 3, 3


class Dropped(Model):
    """Text that was heard and is not part of the transcript."""

    text: str
    start: float | None
    end: float | None
    reason: str


def without_loops(utterances: Sequence[Utterance]) -> tuple[list[Utterance], list[Dropped]]:
    """Utterances with every loop said once, and what was taken out."""
    kept: list[Utterance] = []
    dropped: list[Dropped] = []
    index = 0
    while index < len(utterances):
        same = _same(utterances, index)
        shorter, loops = _unlooped(utterances[index])
        kept.append(shorter)
        dropped += loops
        if same >= SENTENCES:
            reason = f"the same utterance {same} times in a row"
            dropped += [
                Dropped(text=copy.text, start=copy.start, end=copy.end, reason=reason)
                for copy in utterances[index + 1 : index + same]
            ]
            index += same
        else:
            index += 1
    return kept, dropped


def _same(utterances: Sequence[Utterance], index: int) -> int:
    """How many utterances from ``index`` on say the same."""
    said = _plain(utterances[index].text)
    if len(said.split()) < SENTENCE:
        return 1
    count = 1
    while index + count < len(utterances) and _plain(utterances[index + count].text) == said:
        count += 1
    return count


def _unlooped(utterance: Utterance) -> tuple[Utterance, list[Dropped]]:
    words = list(utterance.words)
    plain = [_plain(word.text) for word in words]
    kept: list[HeardWord] = []
    dropped: list[Dropped] = []
    index = 0
    while index < len(words):
        length, times = _loop(plain, index)
        kept += words[index : index + length]
        if times > 1:
            copies = words[index + length : index + length * times]
            dropped.append(
                Dropped(
                    text=" ".join(word.text.strip() for word in copies),
                    start=copies[0].start,
                    end=copies[-1].end,
                    reason=f"the same words {times} times in a row",
                )
            )
        index += length * times
    if not dropped:
        return utterance, []
    text = " ".join(word.text.strip() for word in kept)
    return utterance.model_copy(update={"text": text, "words": tuple(kept)}), dropped


def _loop(plain: Sequence[str], index: int) -> tuple[int, int]:
    """Length of the phrase at ``index`` and how often it is said; ``(1, 1)`` when it is no loop."""
    for length in range(1, min(PHRASE, (len(plain) - index) // 2) + 1):
        phrase, times = plain[index : index + length], 1
        while plain[index + length * times : index + length * (times + 1)] == phrase:
            times += 1
        if times >= (OFTEN_ALONE if length == 1 else OFTEN) and any(phrase):
            return length, times
    return 1, 1


def _plain(text: str) -> str:
    return " ".join(re.findall(r"[\w']+", text.lower()))
