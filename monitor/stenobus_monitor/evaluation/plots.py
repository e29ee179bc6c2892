"""Pictures of the report: how late, and how often right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from .figures import BURST, Result, kinds
from .score import wilson

#: Marks of the axis of time.
_SECONDS: Final = (0, 0.5, 1, 2, 5, 10, 20, 50, 100)


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture in the report's folder."""

    name: str
    #: How to read it.
    about: str


LATENCY: Final = Plot(
    "latency.svg",
    "A line at 0.9 above 1 s: nine of ten were known, told, or running again within a second of the fault. All kinds of"
    " faults are in it; some show only after several looks at the bus.",
)
ACCURACY: Final = Plot(
    "accuracy.svg",
    "A point: how often the cause was right; its bar: where that share lies with 95 % certainty, which is wide with few"
    " cases.",
)


def draw(folder: Path, results: Sequence[Result]) -> list[Plot]:
    """Draw them as SVG."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "stenobus"  # so that equal figures are equal files
    from matplotlib.figure import Figure

    rows = sum(bool(each.cause.count) for each in kinds(results))
    for plot, picture, height in ((LATENCY, _latency, 5.0), (ACCURACY, _accuracy, 1.5 + 0.35 * rows)):
        figure = Figure(figsize=(9, height), layout="constrained")
        picture(figure.add_subplot(), results)
        figure.savefig(folder / plot.name, metadata={"Date": None})
    return [LATENCY, ACCURACY]


def _latency(axes: Any, results: Sequence[Result]) -> None:
    """Seconds from fault to incident and to alert, and to a container's next life, as the share that was as fast."""
    for name, values in (
        ("stored incident", [each.score.detect for each in results]),
        ("first alert", [each.score.alert for each in results]),
        ("running again", [seconds for each in results if each.case.kind != BURST for seconds in each.score.repairs]),
    ):
        times = sorted(each for each in values if each is not None)
        if times:
            parts = [(place + 1) / len(times) for place in range(len(times))]
            axes.step(times, parts, where="post", label=f"{name} ({len(times)})")
    axes.set(xscale="symlog", xlabel="seconds after the fault", ylabel="share", ylim=(0, 1.02), xlim=(0, None))
    axes.set_xticks(_SECONDS, [f"{each:g}" for each in _SECONDS])
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower right")


def _accuracy(axes: Any, results: Sequence[Result]) -> None:
    """How often the cause was right, by kind, with the interval of so few cases."""
    found = [each for each in kinds(results) if each.cause.count]
    for offset, rates, name in (
        (-0.15, [each.by_rules for each in found], "rules alone"),
        (0.15, [each.cause for each in found], "rules and scripted model"),
    ):
        parts = [rate.part or 0.0 for rate in rates]
        spans = [wilson(rate.right, rate.count) for rate in rates]
        below = [part - low for part, (low, _) in zip(parts, spans, strict=True)]
        above = [high - part for part, (_, high) in zip(parts, spans, strict=True)]
        places = [place + offset for place in range(len(found))]
        axes.errorbar(parts, places, xerr=[below, above], fmt="o", capsize=2, label=name)
    axes.set_yticks(range(len(found)), [f"{each.name} ({each.cause.count})" for each in found])
    axes.set(xlabel="cause right, with the 95 % interval", xlim=(-0.02, 1.02))
    axes.invert_yaxis()
    axes.grid(alpha=0.3)
    if found:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)
