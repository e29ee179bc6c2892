"""Word error rate and speed of a speech engine on a recording with a known text.

The settings are those of the plugin (STENOBUS_ASR_…). By default the bundled recording is heard::

    .venv/bin/python bench/asr_wer.py
    STENOBUS_ASR_MODEL=small .venv/bin/python bench/asr_wer.py talk.mp3 talk.txt --errors
"""

from __future__ import annotations

import argparse
import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import JsonValue

from stenobus_asr.choice import choose
from stenobus_asr.recogniser import Recognised, Recogniser
from stenobus_asr.settings import Settings
from stenobus_contracts import Model

M = TypeVar("M", bound=Model)
EXAMPLE = Path(__file__).parent.parent / "examples/recording"


def words(text: str) -> list[str]:
    """The words alone: lower case, no punctuation."""
    return re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.lower())


def errors(reference: Sequence[str], heard: Sequence[str]) -> list[tuple[str, str]]:
    """The fewest substitutions, deletions and insertions between the two: (said, heard), empty where there is none."""
    rows = [list(range(len(heard) + 1))]
    for said in reference:
        above, row = rows[-1], [len(rows)]
        for column, word in enumerate(heard):
            row.append(min(above[column] + (said != word), above[column + 1] + 1, row[column] + 1))
        rows.append(row)
    found, i, j = [], len(reference), len(heard)
    while i or j:
        here = rows[i][j]
        if i and j and here == rows[i - 1][j - 1] + (reference[i - 1] != heard[j - 1]):
            i, j = i - 1, j - 1
            if reference[i] != heard[j]:
                found.append((reference[i], heard[j]))
        elif i and here == rows[i - 1][j] + 1:
            i -= 1
            found.append((reference[i], ""))
        else:
            j -= 1
            found.append(("", heard[j]))
    return found[::-1]


async def hear(path: Path, settings: Settings) -> tuple[Recognised, float]:
    """What is heard, and the seconds it took, loading included."""

    async def fresh(shape: type[M], produce: Callable[[], Awaitable[M]], *parts: JsonValue) -> M:
        return await produce()

    async def progress(fraction: float, message: str) -> None:
        print(f"\r{fraction:4.0%} {message:<40}", end="", flush=True)

    recogniser = Recogniser(settings, choose(settings))
    try:
        begun = time.perf_counter()
        language = "en" if recogniser.choice.spec.name == "pocketsphinx" else settings.language
        result = await recogniser.recognise(path, path.name, language, fresh, progress)
        return result, time.perf_counter() - begun
    finally:
        await recogniser.close()
        print("\r" + " " * 60, end="\r")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", type=Path, nargs="?", default=EXAMPLE / "disk-full.ogg")
    parser.add_argument("script", type=Path, nargs="?", default=EXAMPLE / "script.txt")
    parser.add_argument("--errors", action="store_true", help="list what was misheard")
    parser.add_argument("--text", action="store_true", help="print what was heard")
    arguments = parser.parse_args()
    result, seconds = asyncio.run(hear(arguments.recording, Settings.load("asr")))
    said, heard = words(arguments.script.read_text(encoding="utf-8")), words(result.transcript.text)
    wrong = errors(said, heard)
    recognition = result.recognition
    audio = recognition.audio_seconds or 0.0
    print(f"engine  {recognition.engine}, {recognition.model}: {recognition.reason}")
    spoken, segments = recognition.speech_seconds or 0.0, len(result.transcript.segments)
    print(f"audio   {audio:.1f} s, of which {spoken:.1f} s were listened to; {segments} segments")
    print(f"WER     {len(wrong) / len(said):.3f} ({len(wrong)} of {len(said)} words)")
    print(f"RTF     {seconds / audio:.3f} ({seconds:.1f} s, loading included)")
    if arguments.text:
        for segment in result.transcript.segments:
            print(f"{segment.start:8.2f} {segment.end:8.2f}  {segment.text}")
    if arguments.errors:
        print("\n".join(f"{before or '-':>16} → {after or '-'}" for before, after in wrong))


if __name__ == "__main__":
    main()
