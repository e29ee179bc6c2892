"""How long the local stages take for a long talk, and a document without a model.

python bench/documents.py [--hours 3] [--runs 5]

Then what the extractive provider finds of what is planted in the sessions of tests/llm/sessions.

The talk is an AWS Transcribe result with a time and a confidence for every word, 150 words a minute. Times are process
seconds of one core, the best and the middle of the runs.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from stenobus_contracts import (
    DocOutlined,
    DocumentSource,
    ExtractInputs,
    Item,
    MapInputs,
    Media,
    OutlineInputs,
    Segment,
    StageUsage,
    Transcript,
    WriteInputs,
)
from stenobus_contracts.blob import BlobRef
from stenobus_core.tokens import tokens_of
from stenobus_documents.chunks import line, pack
from stenobus_documents.draft import assemble
from stenobus_documents.dropped import Sifted
from stenobus_documents.grounding import ground, merge
from stenobus_documents.noise import mark
from stenobus_documents.quality import assess
from stenobus_documents.transcripts import Limits, read
from stenobus_documents.vetting import Vetting
from stenobus_llm.providers.extractive.extract import extract
from stenobus_llm.providers.extractive.matrix import problem_matrix
from stenobus_llm.providers.extractive.outline import outline
from stenobus_llm.providers.extractive.write import write

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.llm.planted import LANGUAGES, UNSEEN, Score, score, session  # they are tests' data

T = TypeVar("T")
TALKS = Path(__file__).parents[1] / "tests/llm/talks"
WORDS_PER_MINUTE = 150


def talk(hours: float) -> bytes:
    """An AWS Transcribe result: lines of real talks between prose of a small vocabulary."""
    chance = random.Random(7)
    lines = [line.split("|", 1)[1] for file in ("written", "heard") for line in _lines(file)]
    vocabulary = sorted({word for line in lines for word in line.split()}) + [f"term{n}" for n in range(3000)]
    items: list[dict[str, Any]] = []
    turns: list[dict[str, Any]] = []
    step, at, speaker = 60 / WORDS_PER_MINUTE, 0.0, 0
    while at < hours * 3600:
        prose = " ".join(chance.choices(vocabulary, k=chance.randint(5, 25)))
        speaker = chance.choice([speaker, speaker, 1 - speaker])
        for word in chance.choice([prose, prose, prose, chance.choice(lines)]).split():
            items.append(_item(word, at, step, speaker, len(items)))
            at += step
        first = int(turns[-1]["items"][-1]) + 1 if turns else 0
        items.append({"type": "punctuation", "id": len(items), "alternatives": [{"confidence": "0.0", "content": "."}]})
        turns.append(_turn(items[first:], first, speaker, len(turns)))
    results = {"items": items, "audio_segments": turns}
    return json.dumps({"jobName": "talk", "status": "COMPLETED", "results": results}).encode()


def _lines(file: str) -> list[str]:
    return (TALKS / f"{file}.txt").read_text(encoding="utf-8").splitlines()


def _turn(items: list[dict[str, Any]], first: int, speaker: int, number: int) -> dict[str, Any]:
    return {
        "id": number,
        "transcript": " ".join(str(item["alternatives"][0]["content"]) for item in items),
        "start_time": items[0]["start_time"],
        "end_time": items[-2]["end_time"],
        "speaker_label": f"spk_{speaker}",
        "items": list(range(first, first + len(items))),
    }


def _item(word: str, at: float, step: float, speaker: int, number: int) -> dict[str, Any]:
    return {
        "type": "pronunciation",
        "id": number,
        "start_time": f"{at:.3f}",
        "end_time": f"{at + step * 0.9:.3f}",
        "speaker_label": f"spk_{speaker}",
        "alternatives": [{"confidence": "0.98", "content": word}],
    }


class Clock:
    """Times of each step, over all runs."""

    def __init__(self) -> None:
        self.times: dict[str, list[float]] = {}

    def run(self, step: str, work: Callable[[], T]) -> T:
        """Do the work, and note how long it took."""
        started = time.process_time()
        result = work()
        self.times.setdefault(step, []).append(time.process_time() - started)
        return result

    def row(self, *steps: str) -> tuple[float, float]:
        """Best and median of the steps together."""
        sums = [sum(run) for run in zip(*(self.times[step] for step in steps), strict=True)]
        return min(sums), statistics.median(sums)


def local(data: bytes, clock: Clock) -> tuple[Transcript, list[Item]]:
    """The stages that ask nobody."""
    parsed = clock.run("parse", lambda: read(data).transcript(Limits()))
    transcript = clock.run("clean", lambda: mark(parsed))
    speech = [segment for segment in transcript.segments if segment.kind == "speech"]
    chunks = clock.run("chunk", lambda: pack(speech, 10_000, 3))
    found = [extract(_inputs(chunk)).items for chunk in chunks]
    grounded = clock.run("ground", lambda: [ground(items, chunk) for items, chunk in zip(found, chunks, strict=True)])
    assert not any(each.dropped or each.mended for each in grounded)
    items = clock.run("merge", lambda: merge(each.items for each in grounded))
    return transcript, items


def extractive(transcript: Transcript, clock: Clock) -> str:
    """All answers of the extractive provider, and the document they make."""
    speech = tuple(segment for segment in transcript.segments if segment.kind == "speech")
    items = clock.run("extract", lambda: extract(_inputs(speech))).items
    matrix = clock.run("map", lambda: problem_matrix(MapInputs(title="Talk", items=items)))
    plan = clock.run("outline", lambda: outline(OutlineInputs(title="Talk", items=items, rows=matrix.rows)))

    def written() -> list[str]:
        by_id = {item.id: item for item in items}
        return [
            write(
                WriteInputs(title="Talk", heading=each.heading, items=tuple(by_id[name] for name in each.items))
            ).markdown
            for each in plan.sections
        ]

    texts = clock.run("write", written)
    vetting = Vetting(speech, items, "Talk")
    kept = clock.run(
        "vet",
        lambda: [
            vetting.section(text, [item for item in items if item.id in section.items])[0]
            for section, text in zip(plan.sections, texts, strict=True)
        ],
    )
    assert not vetting.taken
    usage = StageUsage(stage="write", method="extractive", cost_usd=Decimal(0))
    sifted = Sifted(items=items)
    draft, _ = clock.run("assemble", lambda: assemble(_event(), transcript, plan, matrix, sifted, kept, usage))
    quality = clock.run(
        "assess",
        lambda: assess(draft, transcript, sifted, matrix, plan, [usage], "extractive", "Talk"),
    )
    assert quality.sound, [gate for gate in quality.gates if gate.failed]
    return draft


def planted(name: str, *, heard: bool) -> Score:
    """What of a session of known findings is found."""
    known = session(name, heard=heard)
    speech = tuple(each for each in mark(Transcript(segments=known.segments)).segments if each.kind == "speech")
    return score(known, extract(ExtractInputs(title="Session", language=known.language, segments=speech)).items)


def _inputs(segments: tuple[Segment, ...]) -> ExtractInputs:
    bare = tuple(segment.model_copy(update={"words": (), "confidence": None}) for segment in segments)
    return ExtractInputs(title="Talk", segments=bare)


def _event() -> DocOutlined:
    blob = BlobRef(uri="file:///x", sha256="0" * 64, size=1)
    source = DocumentSource(title="Talk", media=Media(uri="file:///talk.mp4"), transcript=blob)
    return DocOutlined(source=source, transcript=blob, extraction=blob, chunks_processed=1, matrix=blob, outline=blob)


def main() -> None:
    """Print a table."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--hours", type=float, default=3.0, help="length of the talk")
    options.add_argument("--runs", type=int, default=5)
    chosen = options.parse_args()
    data = talk(chosen.hours)
    clock = Clock()
    for _ in range(chosen.runs):
        transcript, items = local(data, clock)
        draft = extractive(transcript, clock)
    size = sum(tokens_of(line(segment)) for segment in transcript.segments)
    print(
        f"{chosen.hours:g} hours, {len(data) / 1e6:.1f} MB of JSON, {len(transcript.segments)} segments, "
        f"{len(transcript.text.split())} words, about {size} tokens; {len(items)} items, {len(draft)} characters"
    )
    print(f"{'step':<34}{'best s':>8}{'median s':>10}")
    for step in clock.times:
        print(f"  {step:<32}{clock.row(step)[0]:>8.3f}{clock.row(step)[1]:>10.3f}")
    for name, steps in (
        ("parse, clean, chunk, merge", ("parse", "clean", "chunk", "merge")),
        ("with grounding", ("parse", "clean", "chunk", "ground", "merge")),
        ("extractive document", ("extract", "map", "outline", "write", "assemble")),
        ("with its gates", ("extract", "map", "outline", "write", "vet", "assemble", "assess")),
    ):
        print(f"{name:<34}{clock.row(*steps)[0]:>8.3f}{clock.row(*steps)[1]:>10.3f}")
    heads = f"{'planted':>8}{'told':>7}{'found':>7}{'as such':>9}{'precision':>11}{'commands':>10}"
    print(f"\n{'planted findings':<29}{heads}")
    for name in (*LANGUAGES, *UNSEEN):
        for heard in (False, True):
            got = planted(name, heard=heard)
            label = f"{name}, no punctuation" if heard else name
            print(
                f"  {label:<27}{got.planted:>8}{got.told / got.planted:>7.2f}{got.recall:>7.2f}{got.placing:>9.2f}"
                f"{got.precision:>11.2f}{f'{got.commands_found}/{got.commands}':>10}"
            )


if __name__ == "__main__":
    main()
