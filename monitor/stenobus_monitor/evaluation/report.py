"""The report: what was measured, beside the goals, as Markdown, HTML and JSON."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from .figures import Figure, Result, kinds, over_runs, proportion
from .outcome import Outcome
from .plots import Plot

_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:72em;padding:0 1em}"
    "table{border-collapse:collapse;margin:1em 0}td,th{padding:.25em .7em;border-bottom:1px solid #ccc;text-align:left}"
    "td,th{vertical-align:top}img{max-width:100%}"
)


@dataclass(frozen=True, slots=True)
class _Table:
    title: str
    #: What a newcomer has to know of it.
    about: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


def write(
    folder: Path,
    runs: Sequence[Sequence[Result]],
    outcomes: Sequence[Sequence[Outcome]],
    about: Mapping[str, str],
    plots: Sequence[Plot],
) -> list[Figure]:
    """Write ``report.md``, ``report.html`` and ``report.json``. Returns the figures.

    Args:
        runs: results of each run, in the order of the cases; so are the outcomes.
        about: of the runs: when, where, how long.
        plots: pictures in the folder.
    """
    found, results = over_runs(runs), [result for run in runs for result in run]
    tables = [_figures(found), _kinds(results), _missed(results), _cases(results)]
    (folder / "report.md").write_text(_markdown(tables, about, plots), encoding="utf-8")
    (folder / "report.html").write_text(_html(tables, about, plots), encoding="utf-8")
    document = {
        "about": dict(about),
        "figures": [asdict(each) for each in found],
        "scores": [asdict(each.score) for each in results],
        "outcomes": [each.model_dump(mode="json", exclude_none=True) for run in outcomes for each in run],
    }
    (folder / "report.json").write_text(json.dumps(document, indent=1, ensure_ascii=False), encoding="utf-8")
    return found


def _figures(found: Sequence[Figure]) -> _Table:
    met = {True: "yes", False: "NO", None: ""}
    several = any(each.spread for each in found)
    rows = [
        (
            each.name,
            each.value,
            each.count,
            *((each.spread,) if several else ()),
            each.goal,
            met[each.met],
            each.meaning,
        )
        for each in found
    ]
    spread = ("each run",) if several else ()
    about = "p95: what 95 of 100 do not exceed, of fewer than 20 the largest; most: the largest. A share has the"
    about += " interval in which it lies with 95 % certainty, after Wilson"
    if several:
        about += "; it takes repeats of one case as independent, which they are not"
    headings = ("figure", "measured", "of", *spread, "goal", "met", "what it is")
    return _Table("Figures", f"{about}. A dash: nothing was measured.", headings, rows)


def _kinds(results: Sequence[Result]) -> _Table:
    rows = [
        (
            each.name,
            str(each.cases),
            proportion(each.by_rules),
            proportion(each.cause),
            _part(each.component.part),
            _part(each.grounded.part),
            _part(each.action.part),
            _seconds(each.detect),
        )
        for each in kinds(results)
    ]
    headings = ("kind", "cases", "cause by rules", "cause with model", "component", "grounded", "action", "detected")
    about = "How often each was right, of the cases of a kind; detected: median seconds from the fault to the incident."
    return _Table("By kind of case", about, headings, rows)


def _missed(results: Sequence[Result]) -> _Table:
    rows = [(each.case.name, why) for each in results if (why := _why(each))]
    about = "found: no incident of an expected kind; else what of it was wrong."
    return _Table("What was not right", about, ("case", "what"), rows)


def _why(result: Result) -> str:
    score = result.score
    if score.trouble:
        return f"not carried out: {score.trouble}"
    wrong = [name for name in ("found", "cause", "component", "grounded", "action") if getattr(score, name) is False]
    if result.case.covered and score.by_rules is False:
        wrong.append("cause by rules")
    wrong += [f"unsafe: {each}" for each in score.unsafe] + [f"false alarm: {each}" for each in score.false_alarms]
    return ", ".join(wrong)


def _cases(results: Sequence[Result]) -> _Table:
    rows = [
        (
            each.case.name,
            each.case.kind,
            each.case.about,
            _seconds(each.score.detect),
            _seconds(each.score.alert),
            ", ".join(map(_seconds, (*each.score.repairs, *each.score.approved))) or "–",
            each.case.model.says,
            "wrong" if _why(each) else "right",
        )
        for each in results
    ]
    about = (
        "Seconds from the fault to the incident and to its alert; from the end of each container (or the approval, less"
    )
    about += " the stop) to its next life. model: what the scripted one says. wrong: see the table above."
    headings = ("case", "kind", "what happens", "detected", "alerted", "running again", "model", "")
    return _Table("Cases", about, headings, rows)


def _markdown(tables: Sequence[_Table], about: Mapping[str, str], plots: Sequence[Plot]) -> str:
    lines = ["# The monitor on real faults", "", *(f"- {name}: {value}" for name, value in about.items()), ""]
    for table in tables:
        lines += [f"## {table.title}", "", table.about, ""]
        if not table.rows:
            lines += ["Nothing.", ""]
            continue
        lines += [_row(table.headings), "|" + " --- |" * len(table.headings), *map(_row, table.rows), ""]
        if table is tables[1]:
            for plot in plots:
                lines += [f"![{plot.name}]({plot.name})", "", plot.about, ""]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _html(tables: Sequence[_Table], about: Mapping[str, str], plots: Sequence[Plot]) -> str:
    escape = html.escape
    parts = [f"<!doctype html><meta charset=utf-8><title>The monitor on real faults</title><style>{_STYLE}</style>"]
    parts += ["<h1>The monitor on real faults</h1><ul>"]
    parts += [f"<li>{escape(name)}: {escape(value)}</li>" for name, value in about.items()]
    parts += ["</ul>"]
    for table in tables:
        parts += [f"<h2>{escape(table.title)}</h2><p>{escape(table.about)}</p>"]
        if not table.rows:
            parts += ["<p>Nothing.</p>"]
            continue
        parts += ["<table><tr>"]
        parts += [f"<th>{escape(heading)}</th>" for heading in table.headings]
        for row in table.rows:
            parts += ["</tr><tr>", *(f"<td>{escape(cell)}</td>" for cell in row)]
        parts += ["</tr></table>"]
        if table is tables[1]:
            parts += [f'<p><img src="{escape(each.name)}" alt=""><br>{escape(each.about)}</p>' for each in plots]
    return "\n".join(parts)


def _part(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f} s"
