"""A plugin's own figures on ``/metrics``: what it declares, without the library that writes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from stenobus_bus.stats import Histogram

from .errors import PluginError

#: Rows of one figure that are told, at most: a label that takes anything fills the memory of whoever scrapes.
MOST_ROWS: Final = 2000

Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Figure:
    """One metric of a plugin, as it is now.

    Args:
        name: without a prefix: ``tokens`` of the plugin ``llm`` becomes ``stenobus_llm_tokens_total``.
        text: what it counts, in one line.
        kind: a counter only grows, a gauge goes up and down, a histogram counts seconds.
        rows: numbers, or :class:`Histogram` of a histogram, by the values of the labels.
        labels: names of the labels. Their values must be few: names that people declared, never ids.
    """

    name: str
    text: str
    kind: Literal["counter", "gauge", "histogram"]
    rows: Mapping[Labels, float | Histogram]
    labels: Sequence[str] = ()


def checked(figures: Iterable[Figure]) -> list[Figure]:
    """The figures, or an error that names the first that cannot be told.

    Raises:
        PluginError: a name comes twice, or a figure has too many rows or rows of another shape.
    """
    told: dict[str, Figure] = {}
    for figure in figures:
        if figure.name in told:
            raise PluginError(f"the figure {figure.name} is declared twice")
        if len(figure.rows) > MOST_ROWS:
            raise PluginError(f"the figure {figure.name} has {len(figure.rows)} rows; at most {MOST_ROWS} are told")
        for values, value in figure.rows.items():
            if len(values) != len(figure.labels) or isinstance(value, Histogram) != (figure.kind == "histogram"):
                raise PluginError(f"the figure {figure.name} has a row that is none of a {figure.kind}: {values}")
        told[figure.name] = figure
    return list(told.values())
