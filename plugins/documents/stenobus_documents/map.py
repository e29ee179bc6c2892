"""Stage 3: match problems with diagnoses, solutions and prevention."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Set

from stenobus_contracts import (
    MAP,
    DocExtracted,
    DocMapped,
    Extraction,
    LlmRequest,
    MapInputs,
    ProblemMatrix,
    ProblemRow,
    StageUsage,
)
from stenobus_core import Context, Plugin

from .asking import AskingSettings, Question, total
from .handing import advance, counted, item_line

QUESTION = Question("map", version=1, task=MAP, output=ProblemMatrix)


class Settings(AskingSettings):
    """Whom to ask."""


plugin = Plugin("documents-map", summary="Documents, stage 3: match problems with solutions", settings=Settings)


@plugin.handler(concurrency=2, timeout=1800, attempts=5, requests=[LlmRequest])
async def map_problems(event: DocExtracted, ctx: Context[Settings, None]) -> DocMapped:
    """Ask for the matrix, and keep of it what names items that exist."""
    items = (await ctx.read_model(event.extraction, Extraction)).items
    usages: list[StageUsage] = []
    matrix = ProblemMatrix()
    warnings: list[str] = []
    if items:
        answer = await QUESTION.ask(
            ctx,
            ctx.settings,
            MapInputs(title=event.source.title, language=event.source.language, items=items),
            title=event.source.title,
            items="\n".join(map(item_line, items)),
        )
        usages.append(answer.usage)
        matrix, warnings = known_rows(answer.value.rows, {item.id for item in items})
    ctx.note(problems=len(matrix.rows))
    return advance(event, DocMapped, total("map", usages, warnings), matrix=await ctx.store_model(matrix))


def known_rows(rows: Iterable[ProblemRow], known: Set[str]) -> tuple[ProblemMatrix, list[str]]:
    """Rows of known ids, one per problem, and what was dropped on the way."""
    kept: dict[str, ProblemRow] = {}
    dropped: Counter[str] = Counter()
    for row in rows:
        if row.problem not in known:
            dropped["it names a problem that was not extracted"] += 1
            continue
        before = kept.get(row.problem, ProblemRow(problem=row.problem))
        columns = {
            name: tuple(dict.fromkeys((*getattr(before, name), *getattr(row, name))))
            for name in ("diagnosis", "solution", "prevention")
        }
        kept[row.problem] = ProblemRow(
            problem=row.problem,
            **{
                name: tuple(each for each in ids if each in known and each != row.problem)
                for name, ids in columns.items()
            },
        )
    return ProblemMatrix(rows=tuple(kept.values())), counted(dropped, "row")
