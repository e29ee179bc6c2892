"""A folder and a bucket as sources."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from stenobus_contracts import KbListed, KbSync
from stenobus_sources.events import SourceDone, SourceExtracted, SourceWanted
from stenobus_sources.files import parse

from ..support import aws
from .conftest import Runs, Setup, hits

BUCKET = "handbook"


@pytest.fixture
def folder(tmp_path: Path, setup: Setup) -> Path:
    place = tmp_path / "handbook"
    (place / "sub ñ").mkdir(parents=True)
    (place / "one.md").write_text("# Disco lleno\n\nBorra los registros.")
    (place / "sub ñ" / "two.html").write_text("<title>Correo</title><script>no()</script><p>Revisa el <b>spam</b>.")
    (place / "three_notes.txt").write_text("Impresora atascada")
    (place / "photo.png").write_bytes(b"\x89PNG")
    (place / ".hidden.md").write_text("secreto")
    setup(files=[{"name": "handbook", "place": str(place), "collection": "eventos"}])
    return place


async def listed(outcome: Any, runs: Runs) -> tuple[list[str], bool]:
    [event] = [KbListed.model_validate_json(message.data) for message in outcome.of(KbListed)]
    content = b"".join([chunk async for chunk in runs.stage.bus.objects.open(event.listing.uri)])
    lines = content.decode().splitlines()
    assert len(lines) == event.count
    return lines, event.complete


async def test_the_files_of_a_folder_are_found(folder: Path, runs: Runs) -> None:
    outcome = await runs()
    assert await listed(outcome, runs) == (
        ["handbook/one.md", "handbook/sub ñ/two.html", "handbook/three_notes.txt"],
        True,
    )
    assert (await hits("borra registros"))[0]["title"] == "Disco lleno"
    hit = (await hits("spam"))[0]
    assert (hit["title"], hit["uri"]) == ("Correo", (folder / "sub ñ" / "two.html").as_uri())
    assert not {hit["title"] for hit in await hits("secreto")} & {"hidden", ".hidden"}


async def test_a_changed_file_is_read_and_the_others_are_not(folder: Path, runs: Runs) -> None:
    await runs()
    (folder / "one.md").write_text("# Disco lleno\n\nCompra un disco mayor.")
    outcome = await runs()
    [extracted] = [SourceExtracted.model_validate_json(message.data) for message in outcome.of(SourceExtracted)]
    assert (extracted.counts.found, extracted.counts.listed) == (1, 3)
    [done] = [SourceDone.model_validate_json(message.data) for message in outcome.of(SourceDone)]
    assert (done.added, done.updated) == (0, 1)
    assert (await hits("mayor"))[0]["title"] == "Disco lleno"


async def test_a_touched_file_is_read_and_nothing_is_sent(folder: Path, runs: Runs) -> None:
    await runs()
    (folder / "one.md").write_text((folder / "one.md").read_text())
    outcome = await runs()
    assert outcome.of(KbSync) == []


async def test_a_file_that_cannot_be_read_stays_in_the_listing(folder: Path, runs: Runs, setup: Setup) -> None:
    (folder / "one.md").write_bytes(b"\xff\xfe\x00")
    (folder / "big.md").write_text("x" * 2000)
    setup(files=[{"name": "handbook", "place": str(folder), "collection": "eventos", "max_bytes": 1000}])
    outcome = await runs()
    lines, complete = await listed(outcome, runs)
    assert {"handbook/one.md", "handbook/big.md"} <= set(lines) and complete
    [extracted] = [SourceExtracted.model_validate_json(message.data) for message in outcome.of(SourceExtracted)]
    assert set(extracted.failures) == {"one.md is no UTF-8 text", "big.md is larger than 1000 bytes"}


async def test_a_folder_that_is_not_mounted_deletes_nothing(folder: Path, runs: Runs) -> None:
    await runs()
    folder.rename(folder.with_name("elsewhere"))
    outcome = await runs()
    assert outcome.of(KbListed) == []
    [letter] = outcome.letters
    assert "is not there: check place of handbook, and whether it is mounted" in letter.letter.message


async def test_a_folder_needs_no_run_for_its_listing(folder: Path, runs: Runs) -> None:
    # Every run lists it. Two in half an hour would make a short absence look like a long one.
    assert (await runs("listing")).of(SourceWanted) == []
    assert len((await runs("listing", "handbook")).of(SourceWanted)) == 1


async def test_an_empty_folder_proves_nothing(folder: Path, runs: Runs) -> None:
    for path in folder.rglob("*.*"):
        path.unlink()
    assert await listed(await runs(), runs) == ([], False)


@pytest.mark.parametrize(
    ("name", "text", "title", "body"),
    [
        ("a/guide_one.md", "no heading\n", "guide one", "no heading"),
        ("a.md", "\n# Title #\nText\n# Next", "Title", "Text\n# Next"),
        ("a.md", "## Lower\nText", "a", "## Lower\nText"),
        ("a.txt", "# kept\r\n\r\n\r\n\r\nend", "a", "# kept\n\nend"),
        ("a.htm", "<h1>El <i>libro</i></h1><p>x", "El libro", "## El libro\n\nx"),
        ("a.html", "<title> </title><p>x", "a", "x"),
        ("a.html", "<h1>" * 50_000, "a", ""),
    ],
)
def test_title_and_text_of_a_file(name: str, text: str, title: str, body: str) -> None:
    assert parse(name, text) == {"title": title, "body": body}


# --- a bucket --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with aws.endpoint() as url:
        yield url


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Any:
    aws.enter(monkeypatch, endpoint)  # it takes away every setting that is there before
    setup: Setup = request.getfixturevalue("setup")
    s3 = boto3.resource(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
    )
    bucket = s3.Bucket(BUCKET)
    bucket.create()
    setup(
        files=[{"name": "handbook", "place": f"s3://{BUCKET}/docs", "collection": "eventos"}],
        output=f"s3://{BUCKET}/sources/",
    )
    return bucket


async def test_the_objects_of_a_prefix_are_found_and_the_output_may_be_a_bucket(bucket: Any, runs: Runs) -> None:
    bucket.put_object(Key="docs/á b.md", Body=b"# Disco lleno\n\nBorra los registros.")
    bucket.put_object(Key="docs-other/no.md", Body=b"secreto")
    outcome = await runs()
    assert await listed(outcome, runs) == (["handbook/á b.md"], True)
    hit = (await hits("registros"))[0]
    assert hit["uri"] == f"s3://{BUCKET}/docs/á b.md"
    keys = {item.key for item in bucket.objects.filter(Prefix="sources/")}
    assert "sources/state/handbook.json" in keys and any(key.endswith("/eventos/documents.jsonl") for key in keys)
    outcome = await runs()
    assert outcome.of(KbSync) == []
