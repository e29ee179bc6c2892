"""What a model elsewhere still can read of logs: the part of their words that is hidden, and lines per second.

    git clone https://github.com/logpai/loghub
    python bench/monitor_words.py loghub

Words are runs of two letters or more between spaces, with a sign behind them or none. The list of words was not made
from these sets.
"""

from __future__ import annotations

import re
import sys
import time
from collections import Counter
from pathlib import Path

from stenobus_monitor.abroad import Abroad

_WORD = re.compile(r"(?<!\S)([A-Za-z]{2,})(?=[.,:;!]*(?:\s|\Z))")
_LETTERS = re.compile(r"[A-Za-z]{2,}")
#: Lines of one request, more or less: placeholders count anew in the next.
_REQUEST = 50


def main(folder: Path) -> None:
    """Print the part of each set and of all of them, and how fast it went."""
    every = lost = lines = 0
    seconds = 0.0
    for file in sorted(folder.rglob("*_2k.log")):
        texts = file.read_text(errors="replace").splitlines()
        begin = time.process_time()
        shown = [text for at in range(0, len(texts), _REQUEST) for text in map(Abroad(), texts[at : at + _REQUEST])]
        seconds += time.process_time() - begin
        words = hidden = 0
        for text, seen in zip(texts, shown, strict=True):
            there = Counter(_WORD.findall(text))
            words += there.total()
            hidden += (there - Counter(_LETTERS.findall(seen))).total()
        print(f"{file.stem:16} {hidden / words:6.1%} of {words} words hidden")
        every, lost, lines = every + words, lost + hidden, lines + len(texts)
    print(f"{'all':16} {lost / every:6.1%} of {every} words hidden; {lines / seconds:,.0f} lines/s")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
