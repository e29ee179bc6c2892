"""Files under names of one's choice: written whole, listed whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stenobus_bus import BlobNotFound, Bus, PermanentError
from stenobus_contracts import Media
from stenobus_core import CoreSettings
from stenobus_core.blobs import Blobs
from stenobus_core.file_store import file_uri


@pytest.fixture
def blobs(bus: Bus, tmp_path: Path) -> Blobs:
    return Blobs(CoreSettings(data_dir=tmp_path / "data"), bus)


async def names(blobs: Blobs, folder: Path) -> list[str]:
    return [entry.uri.removeprefix(file_uri(folder)) async for entry in blobs.walk(f"{file_uri(folder)}/")]


async def test_what_is_written_under_a_name_is_read_and_listed(blobs: Blobs, tmp_path: Path) -> None:
    place = tmp_path / "out"
    for name, content in (("b/two.csv", b"2"), ("one ñ.csv", b"1"), ("b/two.csv", b"22")):
        await blobs.write(content, file_uri(place / name), "text/csv")
    assert await blobs.read(Media(uri=file_uri(place / "b/two.csv"))) == b"22"
    assert await names(blobs, place) == ["/b/two.csv", "/one%20%C3%B1.csv"]


async def test_a_version_follows_the_content(blobs: Blobs, tmp_path: Path) -> None:
    uri = file_uri(tmp_path / "out" / "a.txt")
    await blobs.write(b"one", uri, "text/plain")
    [first] = [entry async for entry in blobs.walk(file_uri(tmp_path / "out"))]
    await blobs.write(b"two", uri, "text/plain")
    [second] = [entry async for entry in blobs.walk(file_uri(tmp_path / "out"))]
    assert first.uri == second.uri and first.version != second.version and second.size == 3


async def test_what_is_removed_is_gone_with_the_folders_it_was_alone_in(blobs: Blobs, tmp_path: Path) -> None:
    place = tmp_path / "out"
    for name in ("a/b/c/one.txt", "a/two.txt"):
        await blobs.write(b"x", file_uri(place / name), "text/plain")
    for _ in range(2):
        await blobs.remove(file_uri(place / "a/b/c/one.txt"), within=f"{file_uri(place)}/")
    assert await names(blobs, place) == ["/a/two.txt"] and not (place / "a/b").exists()
    with pytest.raises(PermanentError, match="a cannot be removed"):
        await blobs.remove(file_uri(place / "a"))


@pytest.mark.parametrize(
    ("within", "left"),
    [
        ("data/out", "data/out"),
        ("data/out/a", "data/out/a"),
        ("data/out/a/b", "data/out/a/b"),
        ("data/elsewhere", "data/out/a/b"),
        ("data/out/a/b/../../..", "data"),
        (None, "data/out/a/b"),
    ],
)
async def test_no_folder_goes_but_below_the_one_that_was_named(
    blobs: Blobs, tmp_path: Path, within: str | None, left: str
) -> None:
    path = tmp_path / "data/out/a/b/one.txt"
    await blobs.write(b"x", file_uri(path), "text/plain")
    floor = f"file://{tmp_path}/{within}/" if within else None
    await blobs.remove(file_uri(path), within=floor)
    assert sorted(path for path in tmp_path.rglob("*")) == sorted(
        folder for folder in [tmp_path / left, *(tmp_path / left).parents] if tmp_path in folder.parents
    )


async def test_an_address_that_climbs_removes_no_folder_elsewhere(blobs: Blobs, tmp_path: Path) -> None:
    place, other = tmp_path / "out", tmp_path / "other"
    place.mkdir()
    other.mkdir()
    (other / "one.txt").touch()
    await blobs.remove(f"file://{place}/../other/one.txt", within=f"file://{place}/")
    assert not (other / "one.txt").exists() and other.exists()


async def test_links_are_not_followed_out_of_the_folder(blobs: Blobs, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("x")
    place = tmp_path / "out"
    place.mkdir()
    (place / "file").symlink_to(tmp_path / "secret" / "key")
    (place / "folder").symlink_to(tmp_path / "secret")
    assert await names(blobs, place) == []


async def test_a_folder_that_is_not_there_is_no_empty_folder(blobs: Blobs, tmp_path: Path) -> None:
    with pytest.raises(BlobNotFound):
        await names(blobs, tmp_path / "unmounted")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
async def test_a_folder_in_it_that_cannot_be_read_is_an_error(blobs: Blobs, tmp_path: Path) -> None:
    hidden = tmp_path / "out" / "hidden"
    hidden.mkdir(parents=True)
    hidden.chmod(0)
    try:
        with pytest.raises(PermanentError, match="cannot be read"):
            await names(blobs, tmp_path / "out")
    finally:
        hidden.chmod(0o700)


async def test_an_object_bucket_keeps_no_names(blobs: Blobs) -> None:
    with pytest.raises(PermanentError, match=r"files cannot be named in nats://"):
        await blobs.write(b"x", "nats://stenobus/name", "text/plain")
