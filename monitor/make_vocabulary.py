"""Makes the list of ordinary words that `stenobus_monitor.vocabulary` reads.

    python monitor/make_vocabulary.py SCOWL SOURCES…

SCOWL is the folder of Kevin Atkinson's word lists (Debian: `/usr/share/dict/scowl` of the package `scowl`). SOURCES are
folders of programs and their documentation, each child of which is a project of its own, such as `site-packages`:
words that several projects use are terms, while what one of them alone has may be a name, a test's key or noise. The
words of this distribution itself all count. A `+` marks those that several projects write in front of a number.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

OWN = Path(__file__).parent / "stenobus_monitor"
#: Sizes of SCOWL that hold common words.
SIZES = (10, 20, 35)
LISTS = ("english-words", "american-words", "british-words", "british_z-words", "english-contractions")
#: Projects that must use a word, by its length: almost any two letters turn up somewhere.
PROJECTS = {1: 10**9, 2: 40, 3: 25}
OTHERWISE = 6
#: Projects that must write it with a number behind it.
NUMBERED = 4
LONGEST = 20
MARK = "+"
TEXTS = {".py", ".pyi", ".md", ".rst", ".txt", ".toml", ".go", ".c", ".h", ".js"}
PIECE = re.compile(r"([A-Z]+(?![a-z])|[A-Z]?[a-z]+)([0-9]{1,4}(?![0-9A-Za-z]))?")


def english(scowl: Path) -> Iterator[str]:
    """Common words in lower case; names of people and places are in other lists."""
    for name in LISTS:
        for size in SIZES:
            path = scowl / f"{name}.{size}"
            for word in path.read_text("latin-1").split() if path.exists() else ():
                if re.fullmatch(r"[a-z]{2,20}", word := word.removesuffix("'s")):
                    yield word


def words(root: Path) -> set[str]:
    """What a project's files are written with; once more with a mark, what they write in front of a number."""
    found: set[str] = set()
    for path in sorted(root.rglob("*")) if root.is_dir() else [root]:
        if path.suffix in TEXTS and path.is_file() and path.stat().st_size < 1_000_000:
            for word, number in set(PIECE.findall(path.read_text(errors="ignore"))):
                if len(word) <= LONGEST:
                    found |= {word.lower(), f"{word.lower()}{number and MARK}"}
    return found


def main(scowl: Path, sources: list[Path]) -> None:
    """Write the list, and say how long it is."""
    used: Counter[str] = Counter()
    for source in sources:
        for project in sorted(source.iterdir()):
            used.update(words(project))
    technical = {word for word, projects in used.items() if projects >= PROJECTS.get(len(word), OTHERWISE)}
    technical |= {word for word in words(OWN) if len(word) > 2}
    technical = {word for word in technical if MARK not in word}
    common = {word for word in english(scowl) if len(word) > 3 or word in technical or word in frequent(scowl)}
    numbered = {word for word in common | technical if used[word + MARK] >= NUMBERED}
    every = [word + MARK * (word in numbered) for word in sorted(common | technical)]
    (OWN / "vocabulary.words.txt").write_text("\n".join(every) + "\n", "ascii")
    print(
        f"{len(every)} words: {len(common)} English, {len(technical)} terms, {len(numbered)} with numbers behind them"
    )


def frequent(scowl: Path) -> set[str]:
    """The few thousand most frequent words, short ones among them."""
    return {word for size in (10, 20) for word in (scowl / f"english-words.{size}").read_text("latin-1").split()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scowl", type=Path)
    parser.add_argument("sources", type=Path, nargs="+")
    asked = parser.parse_args()
    main(asked.scowl, asked.sources)
