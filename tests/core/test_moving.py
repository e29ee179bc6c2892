"""Content that is set aside in its store, and put back."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stenobus_bus import BlobNotFound, Bus, PermanentError
from stenobus_contracts import BlobRef, Media
from stenobus_core import CoreSettings
from stenobus_core.blob_stores import MovingStore
from stenobus_core.blobs import Blobs
from stenobus_core.file_store import FileStore, file_uri
from stenobus_testing import MovingStoreContract


class TestObjectBucket(MovingStoreContract):
    @pytest.fixture
    def store(self, bus: Bus) -> MovingStore:
        return bus.objects


class TestFileStore(MovingStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> MovingStore:
        return FileStore(tmp_path / "blobs")


async def test_a_crash_between_both_steps_is_made_good(bus: Bus, settings: CoreSettings) -> None:
    blobs = Blobs(settings, bus)
    ref = await blobs.put(b"words", "text/plain")
    to, publish = blobs.aside(ref.uri, "a1"), bus.objects._js.publish

    async def once(subject: str, body: bytes) -> None:
        await publish(subject, body)
        raise InterruptedError

    bus.objects._js.publish = once  # type: ignore[method-assign, assignment]
    with pytest.raises(InterruptedError):
        await blobs.move(ref.uri, to)
    bus.objects._js.publish = publish  # type: ignore[method-assign]
    await blobs.move(ref.uri, to)
    assert await blobs.read(ref.model_copy(update={"uri": to})) == b"words"
    with pytest.raises(BlobNotFound):
        await blobs.read(ref)


def beside(folder: Path) -> Path:
    """A file outside."""
    return folder / "mine.txt"


def through_a_link(folder: Path) -> Path:
    """A file outside, by a link inside."""
    inside = folder / "data" / "blobs"
    inside.mkdir(parents=True, exist_ok=True)
    (inside / "link").symlink_to(folder)
    return inside / "link" / "mine.txt"


def a_link(folder: Path) -> Path:
    """A link inside to a file outside."""
    inside = folder / "data" / "blobs"
    inside.mkdir(parents=True, exist_ok=True)
    (inside / "link.txt").symlink_to(folder / "mine.txt")
    return inside / "link.txt"


def upwards(folder: Path) -> Path:
    """A file outside, by the way up."""
    (folder / "data" / "blobs").mkdir(parents=True, exist_ok=True)
    return Path(f"{folder}/data/blobs/../../mine.txt")


@pytest.mark.parametrize("place", [beside, through_a_link, a_link, upwards])
async def test_files_of_others_stay(
    place: Callable[[Path], Path], bus: Bus, settings: CoreSettings, tmp_path: Path
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    blobs = Blobs(settings, bus)
    where = place(tmp_path)
    uri = f"file://{where}"
    assert await blobs.read(Media(uri=uri)) == b"mine"
    with pytest.raises((PermanentError, BlobNotFound)):
        await blobs.move(uri, blobs.aside(uri, "a1"))
    ref = await blobs._files.put(b"words", "text/plain")
    with pytest.raises((PermanentError, BlobNotFound)):
        await blobs.move(ref.uri, f"file://{tmp_path}/elsewhere")
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert not (tmp_path / "elsewhere").exists()


async def test_files_of_the_allowed_folders_move_by_their_names(
    bus: Bus, settings: CoreSettings, tmp_path: Path
) -> None:
    folder = tmp_path / "in box"
    folder.mkdir()
    (folder / "ä b.txt").write_text("words")
    blobs = Blobs(settings.model_copy(update={"file_roots": (folder,)}), bus)
    uri = file_uri(folder / "ä b.txt")
    to = blobs.aside(uri, "a1")
    await blobs.move(uri, to)
    assert list(folder.iterdir()) == []
    await blobs.move(to, uri)
    assert (folder / "ä b.txt").read_text() == "words"


async def test_a_store_without_moves_says_so(bus: Bus, settings: CoreSettings) -> None:
    blobs = Blobs(settings, bus)
    blobs._stores["memory"] = object()  # type: ignore[assignment]
    ref = BlobRef(uri="memory://x/y", sha256="0" * 64, size=1)
    with pytest.raises(PermanentError, match="cannot be moved"):
        await blobs.move(ref.uri, "memory://x/z")


@contextmanager
def as_nobody() -> Iterator[None]:
    """As somebody whom rights concern: root may write anywhere."""
    ours = os.geteuid()
    if ours == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(ours)


async def test_who_may_not_write_in_a_folder_hears_it_before() -> None:
    with tempfile.TemporaryDirectory() as place:  # unlike pytest's folders one that others may enter
        Path(place).chmod(0o755)
        blobs, mine = Path(place) / "blobs", Path(place) / "mine"
        for folder in (blobs, mine):
            folder.mkdir()
            folder.chmod(0o777)
        (mine / "a.txt").write_text("words")
        store = FileStore(blobs, (mine,))
        uri = file_uri(mine / "a.txt")
        with as_nobody():
            await store.may_move(uri, store.aside(uri, "a1"))
        for folder in (blobs, mine):
            folder.chmod(0o555)
            with as_nobody(), pytest.raises(PermanentError, match=f"may not write in {folder}"):
                await store.may_move(uri, store.aside(uri, "a1"))
            folder.chmod(0o777)
        assert [path.name for path in Path(place).rglob("*.txt")] == ["a.txt"] and not list(blobs.iterdir())
