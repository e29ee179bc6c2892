"""A run on a real bus, from the site to the search."""

from __future__ import annotations

from stenobus_contracts import KbListed, KbSync

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
