"""``stenobus kb``."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .api.commands import keys, serve
from .restore_command import restore

if TYPE_CHECKING:
    from .evaluation import Report
    from .search import Mode, Searcher
    from .settings import Settings


@click.group()
def kb() -> None:
    """The knowledge base: its HTTP API, what was removed from it, and how good its search is."""


@kb.command("eval")
@click.argument("queries", type=click.Path(path_type=Path))
@click.argument("qrels", type=click.Path(path_type=Path))
@click.option(
    "--corpus", type=click.Path(path_type=Path), help="Search this folder of .md and .txt files, or corpus.jsonl."
)
@click.option("--collection", metavar="NAME", help="Search this collection of the index only.")
@click.option(
    "--mode",
    type=click.Choice(["words", "vectors", "hybrid"]),
    default="hybrid",
    show_default=True,
    help="Which legs of the search to measure.",
)
@click.option("--baseline", type=click.Path(path_type=Path), help="Compare with these figures.")
@click.option("--save", type=click.Path(path_type=Path), help="Keep the figures, to compare with later.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def evaluate(
    queries: Path,
    qrels: Path,
    corpus: Path | None,
    collection: str | None,
    mode: Mode,
    baseline: Path | None,
    save: Path | None,
    as_json: bool,
) -> None:
    """Measure the search by judged queries: nDCG@10, recall@50, MRR.

    QUERIES has a line `id<TAB>query` for each, or is BEIR's queries.jsonl. QRELS has TREC's lines `query 0 document
    relevance`, or is BEIR's. Documents are those of the index, or of --corpus, which is indexed for this once.

    Exits with 1 when nDCG@10 is worse than the baseline's by more than chance.
    """
    from stenobus_core.errors import SettingsError

    from . import evaluation, judged
    from .errors import KbError
    from .settings import Settings

    try:
        asked = judged.read_queries(queries)
        relevant = judged.read_qrels(qrels)
        if unknown := sorted(set(relevant) - set(asked)):
            raise KbError(f"{qrels} judges {unknown[0]}, which is not in {queries}.")
        earlier = evaluation.load(baseline) if baseline else None
        with _searcher(corpus, Settings.load("kb")) as searcher:
            found = evaluation.run(searcher, {name: asked[name] for name in relevant}, collection, mode)
        report = evaluation.report(evaluation.evaluate(found, relevant), earlier)
        if save:
            evaluation.save(save, report)
    except (KbError, SettingsError) as error:
        raise click.ClickException(str(error)) from error
    _print(report, as_json=as_json)
    if report.worse:
        raise click.ClickException(f"{evaluation.DECISIVE} is worse than the baseline's.")


@contextmanager
def _searcher(corpus: Path | None, settings: Settings) -> Iterator[Searcher]:
    """A search over the configured index, or over one of a corpus that is gone afterwards."""
    from .index import Index
    from .judged import fill
    from .search import Searcher

    embedder = settings.make_embedder()
    if corpus is None:
        with closing(Searcher(settings.index_path, embedder, settings.ranking)) as searcher:
            yield searcher
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kb.sqlite"
        with closing(Index(path)) as index:
            fill(index, "corpus", corpus, embedder)
        with closing(Searcher(path, embedder, settings.ranking)) as searcher:
            yield searcher


def _print(report: Report, *, as_json: bool) -> None:
    if as_json:
        from dataclasses import asdict

        found = {
            "queries": len(report.scores),
            "measures": {name: asdict(value) for name, value in report.measures.items()},
            "changes": report.changes
            if report.changes is None
            else {name: asdict(value) for name, value in report.changes.items()},
        }
        click.echo(json.dumps(found, indent=2))
        return
    click.echo(f"{len(report.scores)} judged queries; means with 95 % bootstrap intervals")
    for name, value in report.measures.items():
        line = f"{name:<8} {value.mean:.3f}  ({value.low:.3f} to {value.high:.3f})"
        if report.changes:
            change = report.changes[name]
            line += f"   {change.mean:+.3f} to the baseline ({change.low:+.3f} to {change.high:+.3f})"
        click.echo(line)


kb.add_command(serve)
kb.add_command(restore)
kb.add_command(keys)
