"""Old files are cleaned away by policy, with real files: what goes, what stays, and how it comes back."""

from __future__ import annotations

import asyncio
import json
import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from stenobus_bus import Bus
from stenobus_contracts import Media, MediaUploaded
from stenobus_core.file_store import file_uri
from stenobus_monitor.actions import clean as clean_module
from stenobus_monitor.actions.clean import Clean
from stenobus_monitor.actions.old_files import old_files
from stenobus_monitor.actions.trash import TRASH, Emptying, Trash
from stenobus_monitor.errors import ActionFailed
from stenobus_monitor.settings import CleanPolicy, Settings
from stenobus_testing import Stage, eventually

from .remedial import action, now, opened

DAY = 86_400.0


def policy(folder: Path, **more: Any) -> CleanPolicy:
    return CleanPolicy.model_validate({"name": "exports", "folder": folder, "files": ["*.docx"], "older": DAY, **more})


def put(path: Path, days: float = 30, content: str = "words") -> Path:
    """A file that was last changed some days ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    then = now().timestamp() - days * DAY
    os.utime(path, (then, then))
    return path


async def remedy(bus: Bus, *policies: CleanPolicy, **more: Any) -> Clean:
    await opened(bus)
    return Clean(bus, policies, Path("/nonexistent/data"), **more)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "exports").mkdir()
    return tmp_path / "exports"


async def test_old_files_go_to_the_trash_and_come_back(bus: Bus, folder: Path) -> None:
    old, deep = put(folder / "a.docx"), put(folder / "2024" / "b c.docx", content="more")
    fresh, other = put(folder / "new.docx", days=0.5), put(folder / "a.txt")
    clean, wanted = await remedy(bus, policy(folder)), action("clean", str(folder), because="disk.full")
    outlook = await clean.look(wanted)
    assert outlook.obstacles == ()
    assert "move to the trash 2 files" in outlook.dry_run and "2 files and 0.0 MiB by exports" in outlook.dry_run
    assert old.exists() and not (folder / TRASH).exists(), "a look changes nothing"

    for _ in range(2):  # the second time as after a crash
        assert "2 files" in await clean.act(wanted, outlook.before)
        assert not old.exists() and not deep.exists()
        assert fresh.exists() and other.exists()
    manifest = json.loads((folder / TRASH / "a1" / "manifest.json").read_text())
    assert sorted(file["name"] for file in manifest["files"]) == ["2024/b c.docx", "a.docx"]
    assert "2 files" in await clean.verify(wanted, outlook.before)
    assert (await clean.look(wanted)).obstacles, "what lies in the trash is not old once more"

    deep.parent.rmdir()
    assert "2 files are back" in await clean.undo(wanted, outlook.before)
    assert (old.read_text(), deep.read_text()) == ("words", "more")
    assert not (folder / TRASH / "a1").exists()
    with pytest.raises(ActionFailed, match="removed for good"):
        await clean.undo(wanted, outlook.before)


async def test_a_crash_in_the_middle_is_made_good(bus: Bus, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [put(folder / f"{number}.docx", days=30 + number) for number in range(3)]
    clean, wanted = await remedy(bus, policy(folder)), action("clean", "exports")
    outlook = await clean.look(wanted)
    rename, calls = os.rename, []

    def dies(*args: Any, **more: Any) -> None:
        calls.append(args)
        if len(calls) == 3:  # the manifest, one file, and then no more
            raise KeyboardInterrupt
        rename(*args, **more)

    monkeypatch.setattr(os, "rename", dies)
    with pytest.raises(KeyboardInterrupt):
        Trash(policy(folder)).throw("a1", old_files(policy(folder), now().timestamp(), set()), now(), now())
    monkeypatch.undo()
    assert sum(file.exists() for file in files) == 2
    put(folder / "later.docx")
    assert "3 files" in await clean.act(wanted, outlook.before)
    assert (folder / "later.docx").exists(), "the manifest says what goes"
    assert not any(file.exists() for file in files)
    await clean.undo(wanted, outlook.before)
    assert all(file.exists() for file in files)


async def test_what_changed_since_the_look_stays(bus: Bus, folder: Path) -> None:
    old = put(folder / "a.docx")
    clean, wanted = await remedy(bus, policy(folder)), action("clean", "exports")
    outlook = await clean.look(wanted)
    put(old, days=0)
    assert "0 files" in await clean.act(wanted, outlook.before)
    with pytest.raises(ActionFailed, match="no room"):
        await clean.verify(wanted, outlook.before)
    assert old.exists()


async def test_what_an_event_refers_to_stays(stage: Stage, folder: Path) -> None:
    needed, free = put(folder / "needed ä.docx"), put(folder / "free.docx")
    (folder.parent / "link").symlink_to(folder)
    by_link = put(folder / "by-link.docx")
    clean, wanted = await remedy(stage.bus, policy(folder)), action("clean", "exports")
    await stage.publish(MediaUploaded(media=Media(uri=file_uri(needed))))
    await stage.publish(MediaUploaded(media=Media(uri=f"file://{folder.parent}/link/by-link.docx")))
    body = json.dumps({"media": {"uri": file_uri(folder / "escaped.docx")}}).replace("/", "\\/")
    escaped = put(folder / "escaped.docx")
    await stage.bus.store("media.uploaded", body.encode(), {})
    outlook = await clean.look(wanted)
    assert "1 files" in outlook.dry_run
    await clean.act(wanted, outlook.before)
    assert needed.exists() and by_link.exists() and escaped.exists() and not free.exists()


async def test_the_newest_bytes_stay(bus: Bus, folder: Path) -> None:
    for number in range(5):
        put(folder / f"{number}.docx", days=10 + number, content="x" * 100)
    clean, wanted = await remedy(bus, policy(folder, keep=250)), action("clean", "exports")
    await clean.act(wanted, (await clean.look(wanted)).before)
    assert sorted(path.name for path in folder.glob("*.docx")) == ["0.docx", "1.docx", "2.docx"]


async def test_nothing_outside_is_touched(bus: Bus, folder: Path, tmp_path: Path) -> None:
    mine = put(tmp_path / "mine" / "a.docx")
    (folder / "link").symlink_to(tmp_path / "mine")
    (folder / "link.docx").symlink_to(mine)
    os.mkfifo(folder / "pipe.docx")
    os.utime(folder / "pipe.docx", (0, 0))
    put(folder / "..docx")
    put(folder / "line\nbreak.docx")
    odd = put(folder / os.fsdecode(b"\xff.docx"))
    clean, wanted = await remedy(bus, policy(folder)), action("clean", "exports")
    outlook = await clean.look(wanted)
    assert "2 files" in outlook.dry_run
    await clean.act(wanted, outlook.before)
    await clean.undo(wanted, outlook.before)
    await clean.act(wanted, outlook.before)
    assert mine.exists() and (folder / "link.docx").is_symlink() and odd.exists()
    assert (folder / "pipe.docx").exists()


async def test_a_folder_that_is_a_link_is_refused(bus: Bus, folder: Path, tmp_path: Path) -> None:
    put(folder / "a.docx")
    (tmp_path / "alias").symlink_to(folder)
    for where in (tmp_path / "alias", tmp_path / "alias" / "below", tmp_path / "none"):
        clean = await remedy(bus, policy(where))
        assert (await clean.look(action("clean", "exports"))).obstacles
        assert (await clean.look(action("clean", str(tmp_path)))).obstacles
    assert (folder / "a.docx").exists()


async def test_a_folder_that_becomes_a_link_between_the_look_and_the_deed(
    bus: Bus, folder: Path, tmp_path: Path
) -> None:
    put(folder / "sub" / "a.docx")
    mine = put(tmp_path / "mine" / "a.docx")
    clean, wanted = await remedy(bus, policy(folder)), action("clean", "exports")
    outlook = await clean.look(wanted)
    (folder / "sub").rename(folder / "was")
    (folder / "sub").symlink_to(tmp_path / "mine")
    assert "1 files" in await clean.act(wanted, outlook.before)
    assert mine.exists() and not (folder / "was" / "a.docx").exists()
    (folder / "was").rmdir()
    (folder / "was").symlink_to(tmp_path / "mine")
    with pytest.raises(ActionFailed):
        await clean.undo(wanted, outlook.before)
    assert mine.read_text() == "words"


async def test_a_manifest_that_somebody_made_up_leads_nowhere(bus: Bus, folder: Path, tmp_path: Path) -> None:
    here = folder / TRASH / "a1"
    put(here / "0", content="theirs")
    put(here / "1", content="theirs")
    names = ["../../mine.docx", f"{tmp_path}/absolute.docx"]
    files = [{"name": name, "size": 6, "changed": 0} for name in names]
    stamp = now().isoformat()
    made_up = {"action_id": "a1", "folder": str(folder), "at": stamp, "until": stamp, "files": files}
    (here / "manifest.json").write_text(json.dumps(made_up))
    with pytest.raises(OSError):
        Trash(policy(folder)).restore("a1")
    assert not (tmp_path / "mine.docx").exists() and not (tmp_path / "absolute.docx").exists()
    with pytest.raises(ActionFailed):
        Trash(policy(folder)).remove("../..")


async def test_what_has_its_name_taken_stays_in_the_trash(bus: Bus, folder: Path) -> None:
    put(folder / "a.docx"), put(folder / "b.docx")
    clean, wanted = await remedy(bus, policy(folder)), action("clean", "exports")
    outlook = await clean.look(wanted)
    await clean.act(wanted, outlook.before)
    (folder / "a.docx").write_text("another")
    with pytest.raises(ActionFailed, match="1 files are back; 1 stay"):
        await clean.undo(wanted, outlook.before)
    assert (folder / "a.docx").read_text() == "another" and (folder / "b.docx").exists()


class Room:
    """A disk whose room a test decides."""

    def __init__(self) -> None:
        self.free, self.total = 2**39, 2**40

    def __call__(self, _: Path) -> tuple[int, int]:
        return self.free, self.total


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Room:
    room = Room()
    monkeypatch.setattr(clean_module, "room", room)
    return room


async def test_on_a_full_disk_files_go_for_good_where_the_action_says_so(bus: Bus, folder: Path, disk: Room) -> None:
    put(folder / "thrown.docx", content="x" * 2**20)
    earlier = action("clean", "exports").model_copy(update={"action_id": "a0"})
    clean, wanted = await remedy(bus, policy(folder), within=0.3), action("clean", str(folder), at_once=True)
    await clean.act(earlier, (await clean.look(earlier)).before)
    put(folder / "a.docx", content="x" * 3 * 2**20)

    outlook = await clean.look(wanted)
    assert "would move to the trash 1 files and 3.0 MiB" in outlook.dry_run, "there is room: nothing has to go for good"
    assert "if the disk is full by then, all of it is removed for good" in outlook.dry_run
    disk.free = 10 * 2**20
    outlook = await clean.look(action("clean", str(folder)))
    assert "no room in time" in outlook.dry_run and "1 files and 1.0 MiB lie there already" in outlook.dry_run
    await clean.act(action("clean", str(folder)), outlook.before)
    assert (folder / TRASH / "a0" / "0").exists() and (folder / TRASH / "a1" / "0").exists()
    await clean.undo(action("clean", str(folder)), outlook.before)

    outlook = await clean.look(wanted)
    assert "would free 4.0 MiB now" in outlook.dry_run and "none of it can be brought back" in outlook.dry_run
    assert "remove for good 1 files and 3.0 MiB" in outlook.dry_run
    assert "1 files and 1.0 MiB that lie in the trash" in outlook.dry_run
    assert "2 files and 4.0 MiB are removed for good" in await clean.act(wanted, outlook.before)
    await clean.act(wanted, outlook.before)  # as after a crash
    assert not (folder / "a.docx").exists()
    assert list((folder / TRASH).iterdir()) == [], "what earlier actions threw away gives its room, too"
    with pytest.raises(ActionFailed, match="removed for good"):
        await clean.undo(wanted, outlook.before)
    disk.free += 2**20
    with pytest.raises(ActionFailed, match="No room was gained"):
        await clean.verify(wanted, outlook.before)
    disk.free += 2**20
    assert "are free" in await clean.verify(wanted, outlook.before)


async def test_a_full_disk_gets_the_room_of_the_trash_though_no_file_is_old(bus: Bus, folder: Path, disk: Room) -> None:
    put(folder / "thrown.docx", content="x" * 2**20)
    earlier = action("clean", "exports").model_copy(update={"action_id": "a0"})
    clean, wanted = await remedy(bus, policy(folder)), action("clean", str(folder), at_once=True)
    await clean.act(earlier, (await clean.look(earlier)).before)
    assert (await clean.look(wanted)).obstacles, "there is room, and nothing to throw away"
    disk.free = 10 * 2**20
    outlook = await clean.look(wanted)
    assert outlook.obstacles == () and "would free 1.0 MiB now" in outlook.dry_run
    assert "1 files and 1.0 MiB are removed for good" in await clean.act(wanted, outlook.before)
    assert list((folder / TRASH).iterdir()) == []
    assert (await clean.look(wanted)).obstacles


async def test_people_hear_how_much_room_comes_now_and_how_much_later(bus: Bus, folder: Path) -> None:
    put(folder / "a.docx", content="x" * 2**20)
    at = now()
    clean = await remedy(bus, policy(folder, trash=7200), clock=lambda: at)
    wanted = action("clean", "exports")
    outlook = await clean.look(wanted)
    later = f"{at + timedelta(hours=2):%Y-%m-%d %H:%M} UTC"
    assert f"frees no room now, and 1.0 MiB when it is emptied, by {later}" in outlook.dry_run
    assert "in the trash: no room yet" in await clean.act(wanted, outlook.before)
    assert later in await clean.verify(wanted, outlook.before)


async def test_the_trash_is_emptied_when_its_time_has_come(bus: Bus, folder: Path) -> None:
    put(folder / "a.docx")
    rule = policy(folder, trash=3600)
    clean, wanted = await remedy(bus, rule), action("clean", "exports")
    await clean.act(wanted, (await clean.look(wanted)).before)

    async def nothing(_: object) -> None:
        """Hear nothing."""

    async def empties(at: datetime) -> asyncio.Task[None]:
        return asyncio.create_task(Emptying([policy(folder / "gone"), rule], lambda: at).run(nothing))

    early = await empties(now() + timedelta(minutes=59))
    await asyncio.to_thread(Trash(rule).empty, now() + timedelta(minutes=59))
    assert (folder / TRASH / "a1" / "0").exists()
    late = await empties(now() + timedelta(minutes=61))
    await eventually(lambda: not (folder / TRASH / "a1").exists())
    early.cancel()
    late.cancel()


async def test_what_nobody_gave_away(bus: Bus, folder: Path, tmp_path: Path) -> None:
    put(folder / "a.docx")
    clean = await remedy(bus)
    assert "nobody gave away" in (await clean.look(action("clean", str(folder)))).obstacles[0]
    for target in ("/", "../..", "", "nothing", "/nonexistent", "exports\0"):
        assert (await clean.look(action("clean", target))).obstacles
    await opened(bus)
    for data in (folder, folder / "below", tmp_path):
        reaching = Clean(bus, [policy(folder)], data)
        assert "reaches the data folder" in (await reaching.look(action("clean", "exports"))).obstacles[0]
    assert (await (await remedy(bus, policy(folder))).look(action("clean", "exports", all=True))).obstacles


@pytest.mark.parametrize("folder", ["/", "/tmp", "relative", "/a/../b/c", "/srv"])
def test_folders_that_no_policy_may_name(folder: str) -> None:
    with pytest.raises(ValidationError):
        policy(Path(folder))


def test_two_policies_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="same name"):
        Settings(clean=(policy(tmp_path), policy(tmp_path)))
