"""The last page of a document: how it was made, from how much of the recording, and what is not in it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal

from stenobus_contracts import DocumentSource, Item, Method, Segment, StageUsage, Transcript

from .coverage import cited, coverage
from .dropped import Dropped, Sifted, reasons
from .handing import counted
from .markdown import escape, time_link
from .phrases import Page, phrases
from .tally import cost
from .text import clock

#: Times that one line links to.
LINKED = 12


def method_of(stages: Iterable[StageUsage]) -> Method:
    """model as soon as one stage used a language model, else extractive."""
    return "model" if any(stage.method == "model" for stage in stages) else "extractive"


def provenance(
    source: DocumentSource,
    transcript: Transcript,
    sifted: Sifted,
    stages: Sequence[StageUsage],
    warnings: Sequence[str],
) -> str:
    """The page as Markdown.

    What a dropped statement claims is not repeated here, where somebody might take it for true: the page says why it
    was dropped and which words it named, and ``quality.json`` has it.

    Args:
        source: where the document comes from.
        transcript: the cleaned transcript.
        sifted: the statements, and those that were dropped.
        stages: what each stage took, in order.
        warnings: what is in doubt beside what the stages say.
    """
    page = phrases(source).page
    heard = source.recognition
    engine = " ".join(filter(None, (heard.engine, heard.model))) if heard else page.brought
    lines = [
        f"## {page.heading}\n",
        f"- {page.recording}: {escape(source.media.title if source.media else source.transcript.uri)}",
        f"- {page.transcript}: {escape(engine)}{f' ({escape(heard.reason)})' if heard and heard.reason else ''}",
        f"- {page.method}: {method_of(stages)}",
        f"- {page.cost}: {_cost(stages, page)}",
        f"- {page.coverage}: {_covered(transcript.segments, sifted.items, page)}\n",
        *_table(page.stages, "llllrrrr", (_stage(stage, page) for stage in stages)),
    ]
    uri = source.media.uri if source.media else None
    parts = [
        (
            f"{time_link(part.start, uri, part.seconds)} – {part.end}",
            str(part.speech),
            str(part.cited),
            str(part.statements),
        )
        for part in coverage(transcript.segments, sifted.items)
    ]
    if parts:
        lines += [f"### {page.coverage}\n", *_table(page.parts, "lrrr", parts)]
    missing = [*_dropped(sifted.dropped, transcript.segments, uri), *_left_out(transcript.segments, uri, page)]
    if missing:
        lines += [f"### {page.missing}\n", *_table(page.reasons, "lrl", missing)]
    told = set(counted(reasons(sifted.dropped), "item"))
    doubts = [f"{each.stage}: {warning}" for each in stages for warning in each.warnings if warning not in told]
    if doubts or warnings:
        lines += [f"### {page.doubts}\n", *(f"- {escape(doubt)}" for doubt in (*doubts, *warnings)), ""]
    return "\n".join(lines)


def _cost(stages: Sequence[StageUsage], page: Page) -> str:
    """US dollars of all stages; where the price of one is not known, the sum is not known either."""
    whole = cost(stages)
    if whole is not None:
        return _usd(whole)
    unknown = ", ".join(dict.fromkeys(each.model or each.stage for each in stages if each.cost_usd is None))
    known = sum((each.cost_usd for each in stages if each.cost_usd is not None), Decimal(0))
    rest = page.rest.format(usd=_usd(known)) if known else ""
    return f"{page.unknown} ({page.no_price} {escape(unknown)}{rest})"


def _stage(stage: StageUsage, page: Page) -> Sequence[str]:
    about = "≈" if stage.tokens.estimated else ""
    return (
        stage.stage,
        stage.method,
        escape(", ".join(filter(None, (stage.provider, stage.model))) or "–"),
        escape(stage.prompt or "–"),
        str(stage.calls),
        f"{about}{stage.tokens.input}",
        f"{about}{stage.tokens.output}",
        page.unknown if stage.cost_usd is None else _usd(stage.cost_usd),
    )


def _covered(segments: Sequence[Segment], items: Sequence[Item], page: Page) -> str:
    kinds = Counter(segment.kind for segment in segments)
    return page.covered.format(
        statements=len(items),
        cited=len(cited(items)),
        speech=kinds["speech"],
        small_talk=kinds["small_talk"],
        noise=kinds["noise"],
    )


def _dropped(dropped: Iterable[Dropped], segments: Iterable[Segment], uri: str | None) -> Iterator[Sequence[str]]:
    """Statements that were not borne out, by reason, with the times of the words that they named."""
    starts = {segment.id: segment.start for segment in segments}
    by_reason: defaultdict[str, list[float | None]] = defaultdict(list)
    for each in dropped:
        by_reason[each.reason].append(next((starts[name] for name in each.segments if name in starts), None))
    for reason, times in sorted(by_reason.items()):
        yield escape(reason), str(len(times)), _links(times, uri)


def _left_out(segments: Sequence[Segment], uri: str | None, page: Page) -> Iterator[Sequence[str]]:
    """Segments that are no content, by kind."""
    for kind, name in (("small_talk", page.small_talk), ("noise", page.noise)):
        times = [segment.start for segment in segments if segment.kind == kind]
        if times:
            yield name, str(len(times)), _links(times, uri)


def _links(times: Iterable[float | None], uri: str | None) -> str:
    known = sorted({int(time) for time in times if time is not None})
    more = f" + {len(known) - LINKED}" if len(known) > LINKED else ""
    return " ".join(time_link(clock(time), uri, time) for time in known[:LINKED]) + more or "–"


def _table(heads: Sequence[str], aligned: str, rows: Iterable[Sequence[str]]) -> list[str]:
    return [
        _row(heads),
        f"|{'|'.join({'l': '---', 'r': '--:'}[side] for side in aligned)}|",
        *map(_row, rows),
        "",
    ]


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _usd(amount: Decimal) -> str:
    return f"{amount.normalize():f} USD"
