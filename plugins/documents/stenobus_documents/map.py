"""Stage 3: match problems with diagnoses, debugging steps, solutions and prevention."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence, Set

from stenobus_contracts import (
    MAP,
    DocExtracted,
    DocMapped,
    Extraction,
    Item,
    LlmRequest,
    MapInputs,
    ProblemMatrix,
    ProblemRow,
)
from stenobus_core import Context, Plugin
from stenobus_core.tokens import tokens_of

from .asking import AskingSettings, CutOff, Question, halve
from .chunks import room
from .handing import advance, counted, item_line
from .tally import Tally

QUESTION = Question("map", version=2, task=MAP, output=ProblemMatrix)
#: Kinds of items that can be a problem.
PROBLEMS = frozenset({"symptom", "cause", "risk"})
#: Columns of a row beside the problem.
COLUMNS = ("diagnosis", "debugging", "solution", "prevention")


class Settings(AskingSettings):
    """Whom to ask."""


plugin = Plugin("documents-map", summary="Documents, stage 3: match problems with solutions", settings=Settings)


@plugin.handler(concurrency=2, timeout=1800, attempts=5, requests=[LlmRequest])
async def map_problems(event: DocExtracted, ctx: Context[Settings, None]) -> DocMapped:
    """Ask for the matrix, and keep of it what names items that exist.

    Items that are too many for one question are asked about in parts, and rows of the same problem become one.
    """
    items = (await ctx.read_model(event.extraction, Extraction)).items
    parts = share(items, room(await ctx.facts(LlmRequest), ctx.settings.target))
    tally = Tally(ctx, "map", max(1, len(parts)), "part")
    left: list[Item] = []

    async def ask(part: Sequence[Item]) -> ProblemMatrix:
        return await QUESTION.ask(
            ctx,
            ctx.settings,
            tally,
            MapInputs(
                title=event.source.title,
                language=event.source.language,
                document_language=event.source.document_language,
                items=tuple(part),
            ),
            title=event.source.title,
            items="\n".join(map(item_line, part)),
        )

    answers: list[ProblemMatrix] = []
    for part in parts:
        answers += await halve(part, ask, left)
        if not answers:
            raise CutOff(
                "The answers to documents.map are cut off even for a few items; set target of documents-map to a "
                "provider or model that takes more."
            )
        await tally.unit_done()
    matrix, warnings = known_rows((row for answer in answers for row in answer.rows), {item.id for item in items})
    if left:
        warnings.append(f"{len(left)} items were matched with no problem: the answer was cut off even for so few")
    ctx.note(problems=len(matrix.rows))
    return advance(event, DocMapped, tally.usage(warnings), matrix=await ctx.store_model(matrix))


def share(items: Sequence[Item], budget: int) -> list[Sequence[Item]]:
    """The items in parts that fit the budget, each in the order of the recording.

    Every part holds all problems, as long as these leave room for anything else: a problem and what mended it may be an
    hour apart.

    Args:
        items: all items, in the order of the recording.
        budget: estimated tokens of items in one question.
    """
    sizes = {item.id: tokens_of(item_line(item)) + 1 for item in items}
    if sum(sizes.values()) <= budget:
        return [items] if items else []
    problems = {item.id for item in items if item.kind in PROBLEMS}
    if sum(sizes[each] for each in problems) > budget // 2:
        problems = set()
    free = budget - sum(sizes[each] for each in problems)
    parts: list[set[str]] = []
    used = free
    for item in items:
        if item.id in problems:
            continue
        if not parts or used + sizes[item.id] > free:
            parts.append(set())
            used = 0
        parts[-1].add(item.id)
        used += sizes[item.id]
    return [[item for item in items if item.id in problems | part] for part in parts]


def known_rows(rows: Iterable[ProblemRow], known: Set[str]) -> tuple[ProblemMatrix, list[str]]:
    """Rows of known ids, one per problem, and what was dropped on the way."""
    kept: dict[str, dict[str, tuple[str, ...]]] = {}
    dropped: Counter[str] = Counter()
    unknown = 0
    for row in rows:
        if row.problem not in known:
            dropped["it names a problem that was not extracted"] += 1
            continue
        columns = kept.setdefault(row.problem, dict.fromkeys(COLUMNS, ()))
        for name in COLUMNS:
            named = getattr(row, name)
            unknown += sum(each not in known for each in named)
            own = (each for each in named if each in known and each != row.problem)
            columns[name] = tuple(dict.fromkeys((*columns[name], *own)))
    warnings = counted(dropped, "row")
    if unknown:
        warnings.append(f"{unknown} unknown item ids dropped from the matrix")
    return ProblemMatrix(rows=tuple(ProblemRow(problem=each, **columns) for each, columns in kept.items())), warnings
