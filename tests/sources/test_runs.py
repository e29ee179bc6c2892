"""What a run keeps, sends and says; what becomes of it when something goes wrong."""

from __future__ import annotations

import csv
import io
import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from stenobus_bus import Bus, Envelope
from stenobus_contracts import KbListed, KbSync, KbSynced
from stenobus_core import Context, Plugin, remembered
from stenobus_sources.events import (
    SourceDone,
    SourceDue,
    SourceExtracted,
    SourceLoaded,
    SourcePrepared,
    SourceWanted,
)
from stenobus_testing import Gate, Stage
from stenobus_testing.waiting import eventually

from .conftest import KB, SOURCES, Runs, Setup, hits
from .site import Asked, Reply, Site


@pytest.fixture
def events(site: Site, setup: Setup) -> Site:
    site.add(
        "event", "Feria del libro", '<p>Autores, "firmas" y más</p>', fecha_inicio="20260910", lugar="Estación\nMapocho"
    )
    site.add("event", "Noche de jazz", "<p>Trompeta</p>", fecha_inicio="12/09/2026 21:00", precio=5000)
    setup.wordpress(site)
    return site


def table(path: Path) -> list[dict[str, str]]:
    content = path.read_bytes().decode()
    assert content.count("\r\n") >= 2 and "\ufeff" not in content
    return list(csv.DictReader(io.StringIO(content, newline="")))


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# --- tables and datasets ---------------------------------------------------------------------------------------------


async def test_tables_and_datasets_are_written_under_the_time_of_the_run(
    events: Site, setup: Setup, runs: Runs
) -> None:
    done = await runs.done()
    [raw], [vectorial] = setup.tables("raw"), setup.tables("vectorial")
    local = datetime.strptime(done.run_version, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).astimezone(events.zone)
    assert raw.name == vectorial.name == f"eventos_{local:%Y%m%d_%H%M%S}.csv"
    first, second = table(raw)
    assert (first["id"], first["title"], first["content"]) == (
        "101",
        "Feria del libro",
        '<p>Autores, "firmas" y más</p>',
    )
    assert json.loads(second["data"])["acf"] == {"fecha_inicio": "12/09/2026 21:00", "precio": 5000}
    first, second = table(vectorial)
    assert first["text"].startswith(
        "# Feria del libro\n\n- Comienza: 2026-09-10\n- Lugar: Estación Mapocho\n\nAutores,"
    )
    assert (second["starts"], second["price"], second["url"]) == (
        "2026-09-12T21:00",
        "5000",
        "https://sitio.example/event/102/",
    )
    described = json.loads(vectorial.with_suffix(".csv.metadata.json").read_text())["documentStructureConfiguration"]
    assert described["recordBasedStructureMetadata"]["contentFields"] == [{"fieldName": "text"}]
    place = setup.output / "datasets" / "main" / done.run_version / "eventos"
    assert sorted(path.name for path in place.iterdir()) == ["documents.jsonl", "manifest.json"]
    assert [row["metadata"]["starts"] for row in rows(place / "documents.jsonl")] == ["2026-09-10", "2026-09-12T21:00"]
    manifest = json.loads((place / "manifest.json").read_text())
    assert manifest["documents"] == 2 and len(manifest["files"]) == 4


async def test_a_dataset_holds_all_records_when_one_has_changed(events: Site, setup: Setup, runs: Runs) -> None:
    await runs.done()
    events.edit("event", 101, title="Feria del libro usado")
    done = await runs.done()
    assert (done.counts.changed, done.added, done.updated) == (1, 0, 1)
    place = setup.output / "datasets" / "main" / done.run_version / "eventos"
    assert [row["title"] for row in rows(place / "documents.jsonl")] == ["Feria del libro usado", "Noche de jazz"]
    assert [row["title"] for row in table(setup.tables("raw")[-1])] == ["Feria del libro usado", "Noche de jazz"]


async def test_the_latest_datasets_stay_and_older_ones_go(events: Site, setup: Setup, runs: Runs) -> None:
    setup(keep_datasets="2")
    old = "20200101T000000Z"
    places = ("notes/eventos/a.txt", f"{old}/tiendas/a", f"{old}/eventos/other/a")
    strange = [setup.output / "datasets/main" / place for place in places]
    for path in strange:
        path.parent.mkdir(parents=True)
        path.touch()
    versions = []
    for number in range(4):
        events.add("event", f"Evento {number}")
        versions.append((await runs.done()).run_version)
        there = sorted(path.parent.parent.name for path in setup.output.glob("datasets/main/*/eventos/manifest.json"))
        assert there == versions[-2:]
        assert {path.parent.name for path in setup.output.glob("datasets/main/*/eventos")} == {
            *versions[-2:],
            "notes",
            old,
        }
    assert all(path.exists() for path in strange)


async def test_a_version_is_greater_than_the_one_before_whatever_the_clock_says(
    events: Site, setup: Setup, runs: Runs
) -> None:
    done = await runs.done()
    state = setup.output / "state" / "agenda.event.json"
    state.write_text(state.read_text().replace(done.run_version, "20990101T000000Z"))
    events.edit("event", 101, title="Otra")
    assert (await runs.done()).run_version == "20990101T000001Z"


async def test_a_bad_record_is_put_aside_with_the_reason(events: Site, setup: Setup, runs: Runs) -> None:
    events.add("event", "Sin fin", fecha_inicio="2026-09-10", fecha_termino="2026-09-01")
    events.add("event", "Cuándo", fecha_inicio="pronto")
    done = await runs.done()
    assert (done.counts.changed, done.counts.quarantined) == (2, 2)
    [place] = setup.datasets()
    first, second = rows(place / "quarantine.jsonl")
    assert first["id"] == "103" and "it ends on 2026-09-01, before it starts on 2026-09-10" in first["reason"]
    assert second["reason"].startswith("starts: ") and second["record"]["data"]["title"] == {"rendered": "Cuándo"}
    # It is there: it is not to be deleted, and not to be sent again and again.
    outcome = await runs("full")
    [listed] = [KbListed.model_validate_json(message.data) for message in outcome.of(KbListed)]
    assert (listed.count, listed.complete) == (4, True)
    assert outcome.of(KbSync) == [] and len(setup.datasets()) == 1
    events.edit("event", 104, fecha_inicio="2026-10-01")
    done = await runs.done()
    assert (done.counts.changed, done.counts.quarantined, done.added) == (1, 1, 1)


async def test_a_document_whose_new_version_is_bad_stays_as_it_was(events: Site, setup: Setup, runs: Runs) -> None:
    await runs.done()
    events.edit("event", 102, title="")
    events.posts["event"][102].title = ""
    outcome = await runs("changes")
    assert outcome.of(KbSync) == []
    assert (await hits("trompeta"))[0]["title"] == "Noche de jazz"


async def test_fields_that_change_without_a_date_are_found_by_the_full_pass(
    events: Site, setup: Setup, runs: Runs
) -> None:
    await runs.done()
    events.now += timedelta(days=3)
    events.add("event", "Otra")
    await runs.done()
    events.edit("event", 101, touch=False, lugar="Teatro")
    assert (await runs("changes")).of(KbSync) == []
    assert (await runs("full")).of(KbSync) != []
    assert (await hits("teatro"))[0]["title"] == "Feria del libro"


async def test_another_mapping_sends_everything_anew(events: Site, setup: Setup, runs: Runs) -> None:
    await runs.done()
    kind = {"type": "event", "collection": "eventos", "kind": "event", "fields": {"venue": "acf.precio"}}
    setup.wordpress(events, kind)
    for host in runs.stage.hosts:
        await host.stop(grace=0)
    runs._started = False
    done = await runs.done("full")
    assert done.counts.changed == 2


async def test_the_run_record_says_how_many(events: Site, setup: Setup, runs: Runs) -> None:
    events.add("event", "Cuándo", fecha_inicio="pronto")
    await runs.done()
    said = {step.handler: step.message for step in await runs.stage.steps()}
    assert said["sources-extract"] == "3 found, 3 listed, 2 requests"  # robots.txt, and one page
    assert said["sources-prepare"] == "3 found, 3 listed, 2 changed, 1 quarantined, 2 requests"
    assert said["sources-load"] == "2 sent, 3 listed"
    assert said["sources-verify"] == f"agenda.event: {said['sources-prepare']}, 2 sent"


def test_the_doctor_tells_what_cannot_be(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    (setup.folder / "file").touch()
    kind = {"type": "event", "collection": "eventos"}
    site = {
        "name": "agenda",
        "url": "https://sitio.example",
        "types": [kind],
        "username": "x",
        "password_env": "NO_SUCH",
    }
    setup(output=str(setup.folder / "file"), wordpress=[site])
    wrong = {check.name: check.detail for check in SOURCES.check() if not check.ok}
    assert wrong["agenda.event"] == "agenda: the variable NO_SUCH with the site's password is not set."
    assert wrong["output"].endswith("file is no folder that can be written: set STENOBUS_SOURCES_OUTPUT")


# --- deletions -------------------------------------------------------------------------------------------------------


async def test_a_post_that_is_gone_is_listed_no_more_and_leaves_datasets_after_two_listings(
    events: Site, setup: Setup, runs: Runs
) -> None:
    await runs.done()
    events.trash("event", 101)
    first = SourcePrepared.model_validate_json((await runs("listing")).of(SourcePrepared)[0].data)
    assert (first.counts.gone, first.dataset) == (0, None)
    second = SourcePrepared.model_validate_json((await runs("listing")).of(SourcePrepared)[0].data)
    assert second.counts.gone == 1 and second.dataset is not None
    place = setup.output / "datasets" / "main" / second.run_version / "eventos"
    assert [row["title"] for row in rows(place / "documents.jsonl")] == ["Noche de jazz"]


async def test_the_index_forgets_it_after_two_listings(events: Site, setup: Setup, runs: Runs) -> None:
    for number in range(10):
        events.add("event", f"Otro {number}")
    await runs.done()
    events.trash("event", 102)
    await runs("listing")
    assert (await hits("trompeta"))[0]["title"] == "Noche de jazz"
    outcome = await runs("listing")
    assert [KbSync.model_validate_json(message.data).delete for message in outcome.of(KbSync)] == [
        ("agenda.event/102",)
    ]
    assert "Noche de jazz" not in {hit["title"] for hit in await hits("trompeta")}


async def test_one_that_comes_back_is_sent_again(events: Site, setup: Setup, runs: Runs) -> None:
    await runs.done()
    post = events.posts["event"][101]
    for _ in range(2):
        events.trash("event", 101)
        await runs("listing")
        events.posts["event"][101] = post
        done = await runs.done("full")
        assert done.counts.changed == 1


async def test_a_listing_that_is_not_proven_says_so_and_counts_no_absence(
    events: Site, setup: Setup, runs: Runs
) -> None:
    await runs.done()
    events.bend = lambda asked, headers, posts: ({"X-WP-Total": "0", "X-WP-TotalPages": "0"}, [])
    for _ in range(3):
        outcome = await runs("listing")
        [listed] = [KbListed.model_validate_json(message.data) for message in outcome.of(KbListed)]
        assert (listed.count, listed.complete) == (0, False)
    events.bend = lambda asked, headers, posts: (headers, posts)
    assert (await runs("full")).of(KbSync) == []
    step = next(step for step in await runs.stage.steps() if "doubt" in step.facts)
    assert step.facts["doubt"] == "the site says that it has none at all"


# --- what goes wrong -------------------------------------------------------------------------------------------------


async def test_what_no_index_took_is_sent_again(events: Site, setup: Setup, runs: Runs, stage: Stage) -> None:
    refusing = Plugin("refusing")

    @refusing.handler()
    async def sync(event: KbSync, ctx: Context) -> KbSynced:
        """Take nothing."""
        return KbSynced(
            collection="eventos", sink="x", source=event.source, dataset=event.dataset, failed=2, problems=("full",)
        )

    await stage.run(SOURCES, refusing)
    await stage.publish(SourceDue())
    outcome = await stage.run_until_idle()
    assert "2 documents were sent and x took 0 of them" in outcome.letters[0].letter.message
    for host in stage.hosts:
        await host.stop(grace=0)
    done = await runs.done()  # the collection is free, and nothing is remembered
    assert done.counts.changed == 2 and done.sinks == ("local",)


async def test_a_run_that_takes_too_long_ends_and_frees_its_collection(
    events: Site, setup: Setup, stage: Stage
) -> None:
    setup(minutes="0.1")
    await stage.run(SOURCES)  # and no index, which could confirm anything
    await stage.publish(SourceDue())
    outcome = await stage.run_until_idle()
    [letter] = outcome.letters
    assert "longer than its 0.1 minutes. No index has confirmed what was sent. It sends" in letter.letter.message
    assert outcome.of(SourceDone) == []
    await stage.publish(SourceDue())
    assert len((await stage.run_until_idle()).letters) == 1


async def test_every_sink_that_is_named_must_confirm(events: Site, setup: Setup, runs: Runs, stage: Stage) -> None:
    setup(sinks=["local", "other"])
    other = Plugin("other")

    @other.handler()
    async def sync(event: KbSync, ctx: Context) -> KbSynced:
        """Another index."""
        return KbSynced(collection="eventos", sink="other", source=event.source, dataset=event.dataset, added=2)

    await stage.run(other)
    assert (await runs.done()).sinks == ("local", "other")


async def test_a_step_that_fails_for_a_while_is_tried_again(
    events: Site, setup: Setup, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [Reply(429, Retry_After="1"), Reply(429, Retry_After="1")]
    setup.wordpress(events, attempts=1, max_wait=0.1)

    def throttle(asked: Asked) -> None:
        if failures:
            raise failures.pop()

    events.before = throttle
    done = await runs.done()
    assert done.added == 2
    [step] = [step for step in await runs.stage.steps() if step.handler == "sources-extract"]
    assert step.attempt == 3


async def test_a_source_that_is_not_configured_is_one_sentence(events: Site, setup: Setup, runs: Runs) -> None:
    outcome = await runs("changes", "agenda.stores")
    assert "There is no source agenda.stores: configured are agenda.event" in outcome.letters[0].letter.message


# --- one at a time ---------------------------------------------------------------------------------------------------


async def test_runs_of_one_collection_wait_for_each_other(events: Site, setup: Setup, stage: Stage) -> None:
    gate = Gate()

    async def hold(asked: Asked) -> None:
        await gate()

    events.before = hold
    events.posts["store"] = {}
    events.add("store", "Zapatería")
    setup.wordpress(
        events,
        {"type": "event", "collection": "eventos", "kind": "event"},
        {"type": "store", "collection": "tiendas", "kind": "store"},
    )
    await stage.run(SOURCES, KB)
    for _ in range(3):
        await stage.publish(SourceDue(sources=("agenda.event",)))
    await stage.publish(SourceDue(sources=("agenda.store",)))
    await eventually(lambda: gate.waiting == 2)  # one of each collection
    await eventually(lambda: _waiting(stage))
    assert gate.most == 2
    gate.open()
    outcome = await stage.run_until_idle(60)
    assert outcome.letters == () and len(outcome.of(SourceDone)) == 4
    assert len(outcome.of(KbSync)) == 2


async def _waiting(stage: Stage) -> bool:
    steps = await stage.steps()
    return [step.message for step in steps].count("waiting for another run of eventos") == 2


async def test_a_run_whose_process_dies_goes_on_in_another_one(events: Site, setup: Setup, stage: Stage) -> None:
    gate = Gate()
    for _ in range(10):
        events.add("event")
    setup.wordpress(events, per_page=4)

    async def hold(asked: Asked) -> None:
        if asked.page == 3 and not asked.slim:
            await gate()

    events.before = hold
    async with await Bus.connect(stage.settings.nats_url or "", name="dying") as bus:
        host = await stage.run(SOURCES, KB, bus=bus)
        await stage.publish(SourceDue())
        await eventually(lambda: gate.waiting == 1)
        await host.stop(grace=0)
    gate.open()
    read = len(events.asked)
    await stage.run(SOURCES, KB)
    outcome = await stage.run_until_idle()
    assert outcome.letters == () and len(outcome.of(KbSync)) == 1
    again = [asked for asked in events.asked[read:] if "page" in asked.parameters]
    assert [(asked.page, asked.slim) for asked in again][:2] == [(3, False), (1, True)]  # two pages were kept
    [done] = [SourceDone.model_validate_json(message.data) for message in outcome.of(SourceDone)]
    assert done.added == 12


async def test_a_damaged_state_is_one_sentence(events: Site, setup: Setup, runs: Runs) -> None:
    await runs.done()
    state = setup.output / "state" / "agenda.event.json"
    state.write_text("{")
    outcome = await runs()
    assert "agenda.event.json is damaged: remove it" in outcome.letters[0].letter.message
    state.unlink()
    assert (await runs.done()).counts.changed == 2


async def test_many_documents_travel_beside_the_event(events: Site, setup: Setup, runs: Runs) -> None:
    for number in range(700):
        events.add("event", f"Evento {number}", f"<p>Número {number}</p>", lugar="x" * 100)
    outcome = await runs("full", within=60)
    [sync] = [KbSync.model_validate_json(message.data) for message in outcome.of(KbSync)]
    assert sync.documents is not None and sync.upsert == ()
    [done] = [SourceDone.model_validate_json(message.data) for message in outcome.of(SourceDone)]
    assert done.added == 702


async def test_what_is_only_tried_out_leaves_no_trace(events: Site, setup: Setup, runs: Runs) -> None:
    outcome = await runs()
    shutil.rmtree(setup.output)
    for contract in (SourceWanted, SourceExtracted, SourcePrepared, SourceLoaded):
        [message] = outcome.of(contract)
        event = contract.model_validate_json(message.data)
        await runs.stage.bus.publish(event, Envelope.new(event, "test"), headers={"stenobus-shadow": "trial"})
        tried = await runs.stage.run_until_idle()
        await runs.stage.bus.api(f"STREAM.PURGE.KV_{remembered.BUCKET}")  # each is a run of its own
        assert tried.letters == () and not setup.output.exists()
        assert any(message.subject.startswith("shadow.trial.source.") for message in tried.published)
