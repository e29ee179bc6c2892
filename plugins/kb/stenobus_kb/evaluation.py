"""How good the search is: nDCG@10, recall@50 and MRR over judged queries, and whether a change made it worse."""

from __future__ import annotations

import json
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .errors import KbError
from .judged import Qrels
from .search import Mode, Query, Searcher

#: The measures, in the words of ir_measures.
MEASURES: Final = ("nDCG@10", "R@50", "RR@10")
#: The measure that decides.
DECISIVE: Final = MEASURES[0]
#: Documents per query.
DEPTH: Final = 50
#: Passages that are asked for: at most three are of one document.
_PASSAGES: Final = 3 * DEPTH
_RESAMPLES: Final = 2_000
_SEED: Final = 20_260_101

#: Query id → measure → value.
Scores = dict[str, dict[str, float]]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over queries and its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Report:
    """The search's figures.

    Args:
        scores: per query.
        measures: over all queries.
        changes: differences to a baseline, query by query, by measure; None without one.
    """

    scores: Scores
    measures: Mapping[str, Estimate]
    changes: Mapping[str, Estimate] | None = None

    @property
    def worse(self) -> bool:
        """The decisive measure fell, by more than chance: the whole interval of its change lies below 0."""
        return self.changes is not None and self.changes[DECISIVE].high < 0


def run(
    searcher: Searcher, queries: Mapping[str, str], collection: str | None = None, mode: Mode = "hybrid"
) -> dict[str, dict[str, float]]:
    """Documents and scores per query, as the search ranks them.

    Raises:
        KbError: the index is unusable, or a leg that is asked for is missing.
    """
    found: dict[str, dict[str, float]] = {}
    collections = (collection,) if collection else None
    for name, text in queries.items():
        ranked: dict[str, float] = {}
        page = searcher.search(Query(text, collections=collections, limit=_PASSAGES, mode=mode))
        if page.note:
            raise KbError(page.note)
        for hit in page.hits:
            # The order counts, whatever scale the scores have: a document is as good as its best passage.
            ranked.setdefault(hit.document, float(_PASSAGES - len(ranked)))
        found[name] = dict(list(ranked.items())[:DEPTH])
    return found


def evaluate(found: Mapping[str, Mapping[str, float]], qrels: Qrels) -> Scores:
    """Score a run: every judged query counts, one without an answer as 0.

    Raises:
        KbError: ir_measures is not installed, or nothing is judged.
    """
    try:
        import ir_measures
    except ImportError as error:
        raise KbError("Evaluation needs ir_measures: pip install stenobus-kb[eval].") from error
    judged = {name: documents for name, documents in qrels.items() if any(value > 0 for value in documents.values())}
    if not judged:
        raise KbError("No query has a relevant document.")
    scores: Scores = {name: dict.fromkeys(MEASURES, 0.0) for name in judged}
    measures = [ir_measures.parse_measure(name) for name in MEASURES]
    answered = {name: dict(documents) for name, documents in found.items() if documents and name in judged}
    for metric in ir_measures.iter_calc(measures, judged, answered) if answered else ():
        scores[metric.query_id][str(metric.measure)] = round(metric.value, 6)  # as they are saved
    return scores


def report(scores: Scores, baseline: Scores | None = None) -> Report:
    """The figures, beside an earlier run's where there is one.

    Raises:
        KbError: the baseline is of other queries.
    """
    measures = {name: _estimate([each[name] for each in scores.values()]) for name in MEASURES}
    if baseline is None:
        return Report(scores, measures)
    if set(baseline) != set(scores):
        different = len(set(baseline) ^ set(scores))
        raise KbError(f"The baseline is of other queries: {different} are in one of them only; save a new one.")
    changes = {
        name: _estimate([scores[query][name] - baseline[query][name] for query in sorted(scores)]) for name in MEASURES
    }
    return Report(scores, measures, changes)


def save(path: Path, found: Report) -> None:
    """Keep the figures of every query, to be the baseline of a later run."""
    means = {name: round(estimate.mean, 4) for name, estimate in found.measures.items()}
    text = json.dumps({"means": means, "queries": dict(sorted(found.scores.items()))}, indent=1)
    try:
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise KbError(f"{path} cannot be written: {error.strerror}.") from error


def load(path: Path) -> Scores:
    """The figures of an earlier run. Raises KbError when the file is none of :func:`save`'s."""
    try:
        queries = json.loads(path.read_bytes())["queries"]
        return {name: {measure: float(values[measure]) for measure in MEASURES} for name, values in queries.items()}
    except OSError as error:
        raise KbError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise KbError(f"{path} is no baseline of `stenobus kb eval --save`.") from error


def _estimate(values: Sequence[float]) -> Estimate:
    draw = random.Random(_SEED)
    means = sorted(statistics.fmean(draw.choices(values, k=len(values))) for _ in range(_RESAMPLES))
    return Estimate(statistics.fmean(values), means[int(0.025 * _RESAMPLES)], means[int(0.975 * _RESAMPLES) - 1])
