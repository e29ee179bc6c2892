"""A run on a real bus, from the site to the search."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import apsw
import pytest

from stenobus_contracts import KbListed, KbSync, KbSynced
from stenobus_kb.embedders.hashed import HashedEmbedder
from stenobus_kb.index import Index

from .conftest import Runs, Setup, hits
from .site import Site


async def test_what_a_site_publishes_is_found(site: Site, setup: Setup, runs: Runs) -> None:
    site.add("event", "Feria del libro", "<p>Autores <b>chilenos</b> firman.</p>", fecha_inicio="20260910")
    site.add("event", "Noche de jazz", "<p>Trompeta</p>", lugar="Teatro")
    setup.wordpress(site)
    done = await runs.done()
    assert (done.added, done.sinks) == (2, ("local",))
    hit = (await hits("autores chilenos"))[0]
    assert (hit["title"], hit["uri"]) == ("Feria del libro", "https://sitio.example/event/101/")
    hit = (await hits("teatro"))[0]
    assert hit["title"] == "Noche de jazz"


async def test_an_unchanged_run_writes_nothing_and_publishes_no_sync(site: Site, setup: Setup, runs: Runs) -> None:
    for number in range(3):
        site.add("event", f"Evento {number}")
    setup.wordpress(site)
    await runs.done()
    before = {path: path.stat().st_mtime_ns for path in setup.output.rglob("*") if path.is_file()}
    for reads in ("changes", "listing", "full"):
        outcome = await runs(reads)
        assert outcome.of(KbSync) == [] and outcome.letters == ()
        assert len(outcome.of(KbListed)) == (reads != "changes")
    assert {path: path.stat().st_mtime_ns for path in setup.output.rglob("*") if path.is_file()} == before


class Work:
    """What is done in the index: commits that changed its file, and texts that were embedded."""

    def __init__(self, connection: apsw.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
        self._connection, self._texts = connection, 0
        monkeypatch.setattr(HashedEmbedder, "embed", self._counted(HashedEmbedder.embed))

    def _counted(self, embed: Any) -> Any:
        def counted(embedder: HashedEmbedder, texts: Sequence[str], *more: Any) -> Any:
            self._texts += len(texts)
            return embed(embedder, texts, *more)

        return counted

    def done(self) -> tuple[int, int]:
        """The file's version, which every commit of another connection raises, and the number of texts."""
        return int(self._connection.pragma("data_version")), self._texts


@pytest.fixture
def work(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> Iterator[Work]:
    path = setup.folder / "kb.sqlite"
    Index(path).close()
    with closing(apsw.Connection(str(path))) as connection:
        yield Work(connection, monkeypatch)


async def test_a_night_without_news_writes_nothing_and_embeds_nothing(
    site: Site, setup: Setup, runs: Runs, work: Work
) -> None:
    for number in range(12):
        site.add("event", f"Evento {number}", f"<p>Texto {number}</p>")
    setup.wordpress(site)
    before = work.done()
    await runs("changes")
    await runs("listing")
    version, texts = work.done()
    assert version > before[0] and texts == 12

    for night in range(2):
        for reads in ("changes", "listing", "full"):
            outcome = await runs(reads)
            jobs = [*outcome.of(KbSync), *outcome.of(KbSynced), *outcome.letters]
            assert (work.done(), jobs) == ((version, texts), []), f"night {night}, {reads}"

    site.edit("event", 101, title="Otro título")
    outcome = await runs("changes")
    assert (len(outcome.of(KbSync)), len(outcome.of(KbSynced))) == (1, 1)
    changed = work.done()
    assert changed[0] > version and changed[1] == texts + 1
