"""The report: what was measured, beside the goals, as Markdown, HTML and JSON."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from .figures import Figure, Result, figures, kinds, proportion
from .outcome import Outcome

_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:72em;padding:0 1em}"
    "table{border-collapse:collapse;margin:1em 0}td,th{padding:.25em .7em;border-bottom:1px solid #ccc;text-align:left}"
    "img{max-width:100%}"
)


@dataclass(frozen=True, slots=True)
class _Table:
    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


def write(
    folder: Path, results: Sequence[Result], outcomes: Sequence[Outcome], about: Mapping[str, str], plots: Sequence[str]
) -> list[Figure]:
    """Write ``report.md``, ``report.html`` and ``report.json``. Returns the figures.

    Args:
        about: of the run: when, where, how long.
        plots: names of pictures in the folder.
    """
    found = figures(results)
    tables = [_figures(found), _kinds(results), _missed(results), _cases(results)]
    (folder / "report.md").write_text(_markdown(tables, about, plots), encoding="utf-8")
    (folder / "report.html").write_text(_html(tables, about, plots), encoding="utf-8")
    document = {
        "about": dict(about),
        "figures": [asdict(each) for each in found],
        "scores": [asdict(each.score) for each in results],
        "outcomes": [each.model_dump(mode="json", exclude_none=True) for each in outcomes],
    }
    (folder / "report.json").write_text(json.dumps(document, indent=1, ensure_ascii=False), encoding="utf-8")
    return found


def _figures(found: Sequence[Figure]) -> _Table:
    met = {True: "yes", False: "NO", None: ""}
    rows = [(each.name, each.value, each.goal, met[each.met]) for each in found]
    return _Table("Figures", ("figure", "measured", "goal", "met"), rows)


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
    return _Table("By kind of fault (detected: median)", headings, rows)


def _missed(results: Sequence[Result]) -> _Table:
    rows = [(each.case.name, why) for each in results if (why := _why(each))]
    return _Table("What was not right", ("case", "what"), rows)


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
    return _Table("Cases", ("case", "kind", "about", "detected", "alerted", "repaired", "model", ""), rows)


def _markdown(tables: Sequence[_Table], about: Mapping[str, str], plots: Sequence[str]) -> str:
    lines = ["# The monitor on real faults", "", *(f"- {name}: {value}" for name, value in about.items()), ""]
    for table in tables:
        lines += [f"## {table.title}", ""]
        if not table.rows:
            lines += ["Nothing.", ""]
            continue
        lines += [_row(table.headings), "|" + " --- |" * len(table.headings), *map(_row, table.rows), ""]
        if table is tables[1]:
            lines += [*(f"![{name}]({name})" for name in plots), ""]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _html(tables: Sequence[_Table], about: Mapping[str, str], plots: Sequence[str]) -> str:
    escape = html.escape
    parts = [f"<!doctype html><meta charset=utf-8><title>The monitor on real faults</title><style>{_STYLE}</style>"]
    parts += ["<h1>The monitor on real faults</h1><ul>"]
    parts += [f"<li>{escape(name)}: {escape(value)}</li>" for name, value in about.items()]
    parts += ["</ul>"]
    for table in tables:
        parts += [f"<h2>{escape(table.title)}</h2><table><tr>"]
        parts += [f"<th>{escape(heading)}</th>" for heading in table.headings]
        for row in table.rows:
            parts += ["</tr><tr>", *(f"<td>{escape(cell)}</td>" for cell in row)]
        parts += ["</tr></table>"]
        if table is tables[1]:
            parts += [f'<p><img src="{escape(name)}" alt="{escape(name)}"></p>' for name in plots]
    return "\n".join(parts)


def _part(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f} s"
