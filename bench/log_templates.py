"""Log templates: lines per second, and grouping accuracy beside drain3's on loghub's labelled 2k sets.

    git clone https://github.com/logpai/loghub
    python bench/log_templates.py loghub

Grouping accuracy: the part of all lines that are together with exactly the lines that people put them together with.
Without a folder, only the speed is measured, on made-up lines.
"""

from __future__ import annotations

import csv
import logging
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from statistics import mean

from stenobus_monitor.templates import Templates


def accuracy(labels: Sequence[str], groups: Sequence[Hashable]) -> float:
    """Grouping accuracy."""
    by_label, by_group, both = Counter(labels), Counter(groups), Counter(zip(labels, groups, strict=True))
    right = sum(count for (label, group), count in both.items() if count == by_label[label] == by_group[group])
    return right / len(labels)


def ours(lines: Sequence[str]) -> list[Hashable]:
    """The group of each line."""
    templates = Templates()
    return [id(templates.add(line)) for line in lines]


def drain3() -> Callable[[Sequence[str]], list[Hashable]] | None:
    """The oracle: drain3 with the masks of its documentation."""
    try:
        from drain3 import TemplateMiner
        from drain3.masking import MaskingInstruction
        from drain3.template_miner_config import TemplateMinerConfig
    except ImportError:
        return None
    logging.getLogger("drain3").setLevel(logging.ERROR)
    begin, end = r"((?<=[^A-Za-z0-9])|^)", r"((?=[^A-Za-z0-9])|$)"
    masks = {
        "IP": r"(\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3})",
        "HEX": r"(0x[a-f0-9A-F]+)",
        "NUM": r"([\-\+]?\d+)",
    }

    def grouped(lines: Sequence[str]) -> list[Hashable]:
        config = TemplateMinerConfig()
        config.profiling_enabled = False
        config.masking_instructions = [MaskingInstruction(begin + mask + end, name) for name, mask in masks.items()]
        miner = TemplateMiner(config=config)
        return [miner.add_log_message(line)["cluster_id"] for line in lines]

    return grouped


def timed(lines: Sequence[str], times: int = 3) -> float:
    """Lines per second of processor time, the best of some runs."""
    best = 0.0
    for _ in range(times):
        templates, begin = Templates(), time.process_time()
        templates.add_all(lines)
        best = max(best, len(lines) / (time.process_time() - begin))
    return best


def made_up(count: int) -> list[str]:
    """Lines of a service, with varying parts of every kind."""
    dice = random.Random(7)
    forms = [
        lambda: (
            f"handled event {dice.getrandbits(64):016x} of run talk-{dice.randrange(9999)} in {dice.random():.3f} s"
        ),
        lambda: f"connection from 10.0.{dice.randrange(255)}.{dice.randrange(255)}:{dice.randrange(65535)} accepted",
        lambda: (
            f"wrote /data/blobs/{dice.randrange(16**6):06x}/part-{dice.randrange(99)} ({dice.randrange(9**6)} bytes)"
        ),
        lambda: (
            f"retrying request {dice.randrange(10**6)} to http://model:8000/v1 after {dice.randrange(30)} s: timeout"
        ),
    ]
    return [dice.choice(forms)() for _ in range(count)]


def main(folder: Path | None) -> None:
    """Print the table."""
    print(f"made-up lines: {timed(made_up(200_000)):,.0f} lines/s")
    if folder is None:
        return
    oracle = drain3()
    print(f"{'set':<14}{'ours':>8}{'drain3':>8}{'lines/s':>12}")
    scores: list[tuple[float, float, float]] = []
    for path in sorted(folder.rglob("*_2k.log_structured.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        lines, labels = [row["Content"] for row in rows], [row["EventId"] for row in rows]
        other = accuracy(labels, oracle(lines)) if oracle else float("nan")
        scores.append((accuracy(labels, ours(lines)), other, timed(lines * 20)))
        print(f"{path.name.split('_')[0]:<14}{scores[-1][0]:>8.3f}{other:>8.3f}{scores[-1][2]:>12,.0f}")
    print(f"{'mean':<14}" + "".join(f"{mean(column):>8.3f}" for column in list(zip(*scores, strict=True))[:2]))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
