"""Clean old files away, by policies that the settings name: nothing else, and nothing by default."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar, Final

from pydantic import Field, JsonValue

from stenobus_bus import Bus
from stenobus_contracts import Action
from stenobus_core.folders import open_folder

from ..errors import ActionFailed
from ..settings import CleanPolicy
from . import Outlook
from .needed import needed
from .old_files import OldFile, old_files, room
from .parameters import Shape, kept, parameters
from .patience import comes_true
from .trash import Trash

#: A disk with less room than this is full: nobody can wait until the trash is emptied. Part of it, and bytes.
_FULL: Final = 0.03
_LEAST: Final = 64 * 2**20
#: Part of what was removed that must show as room, though others write meanwhile.
_SHOWS: Final = 0.5


class What(Shape):
    """What of it."""

    at_once: bool = Field(default=False, description="on a full disk empty the trash, and remove files for good")


class Chosen(Shape):
    """What one policy gave away, when somebody looked."""

    policy: str
    #: Only what was last changed up to then, seconds since the epoch.
    until: float
    files: int
    bytes: int
    #: What lay in its trash.
    thrown: int = 0
    thrown_bytes: int = 0


class Disk(Shape):
    """A disk before it is cleaned."""

    free: int
    total: int
    #: The disk is full, and somebody said that it has to be at once: what goes is gone, the trash as well.
    full: bool
    chosen: tuple[Chosen, ...]


class Clean:
    """The target is a policy's name, or a folder: then the policies count whose folders lie on its disk.

    Files go to the trash, which gives their room when it is emptied. Only on a full disk, and only where the action
    says so, the trash is emptied at once and files are removed for good.

    Args:
        data: the data folder, which no policy reaches: blobs and streams have limits of their own.
        within: seconds in which room has to show.
    """

    kind: ClassVar[str] = "clean"
    undoable: ClassVar[bool] = True

    def __init__(
        self,
        bus: Bus,
        policies: Sequence[CleanPolicy],
        data: Path,
        *,
        within: float = 10.0,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._bus, self._policies, self._data = bus, {each.name: each for each in policies}, data.resolve()
        self._within, self._clock = within, clock

    async def look(self, action: Action) -> Outlook:
        """How many files and bytes, by policy."""
        try:
            at_once = parameters(action, What).at_once
            policies = await asyncio.to_thread(self._of, action.target)
            keep = await needed(self._bus)
            chosen = [await self._choose(policy, keep) for policy in policies]
            free, total = await asyncio.to_thread(room, policies[0].folder)
        except (ActionFailed, OSError) as refused:
            return Outlook("would clean nothing", (str(refused),))
        full = free < max(_LEAST, _FULL * total)
        disk = Disk(free=free, total=total, full=full and at_once, chosen=tuple(chosen))
        until = self._clock() + timedelta(seconds=max(policy.trash for policy in policies))
        text = _for_good(chosen) if disk.full else _later(chosen, until)
        if full and not at_once:
            text += "; the disk is full, and this gives it no room in time"
        elif at_once and not full:
            text += "; if the disk is full by then, all of it is removed for good"
        obstacles = []
        if not any(each.files or (disk.full and each.thrown) for each in chosen):
            obstacles.append("no file is old enough, or those that are are needed")
        return Outlook(
            f"{text}; {_mib(free)} of {_mib(total)} are free", tuple(obstacles), disk.model_dump(mode="json")
        )

    async def act(self, action: Action, before: JsonValue) -> str:
        """Move files to the trash; on a full disk empty the trash and remove them."""
        disk = kept(before, Disk)
        keep = await needed(self._bus)
        count = size = 0
        for chosen in disk.chosen:
            if not chosen.files and not disk.full:
                continue
            policy = self._named(chosen.policy)
            files = (await self._old(policy, chosen.until, keep))[: chosen.files]
            try:
                if disk.full:
                    waiting = await asyncio.to_thread(Trash(policy).waiting)
                    await asyncio.to_thread(Trash(policy).empty, None)
                    removed = await asyncio.to_thread(_remove, policy, files)
                    count += len(removed) + waiting.files
                    size += sum(file.size for file in removed) + waiting.bytes
                else:
                    now = self._clock()
                    until = now + timedelta(seconds=policy.trash)
                    manifest = await asyncio.to_thread(Trash(policy).throw, action.action_id, files, now, until)
                    held = await asyncio.to_thread(Trash(policy).held, manifest)
                    count, size = count + held[0], size + held[1]
            except (OSError, ValueError) as error:
                raise ActionFailed(f"{policy.folder} cannot be cleaned: {error}") from error
        return f"{count} files and {_mib(size)} are {'removed for good' if disk.full else 'in the trash: no room yet'}"

    async def verify(self, action: Action, before: JsonValue) -> str:
        """Room was gained; or what is in the trash is out of the way, and gives its room when its time is over."""
        disk = kept(before, Disk)
        policies = [self._named(each.policy) for each in disk.chosen]
        if not disk.full:
            return await self._thrown(action, policies)
        wanted = disk.free + int(_SHOWS * sum(each.bytes + each.thrown_bytes for each in disk.chosen))
        free = 0

        async def gained() -> bool:
            nonlocal free
            free = (await asyncio.to_thread(room, policies[0].folder))[0]
            return free >= wanted

        if not await comes_true(gained, self._within):
            raise ActionFailed(f"No room was gained: {_mib(disk.free)} were free before, and {_mib(free)} are now.")
        return f"{_mib(free)} are free, {_mib(disk.free)} were before"

    async def undo(self, action: Action, before: JsonValue) -> str:
        """Put back what is in the trash."""
        disk = kept(before, Disk)
        if disk.full:
            raise ActionFailed("The disk was full: the files were removed for good.")
        back = taken = 0
        for chosen in disk.chosen:
            if not chosen.files:
                continue
            try:
                found = await asyncio.to_thread(Trash(self._named(chosen.policy)).restore, action.action_id)
            except (OSError, ValueError) as error:
                raise ActionFailed(f"The files of {chosen.policy} cannot be put back: {error}") from error
            back, taken = back + found[0], taken + found[1]
        if taken:
            raise ActionFailed(f"{back} files are back; {taken} stay in the trash, since others have their names now.")
        return f"{back} files are back"

    async def _thrown(self, action: Action, policies: list[CleanPolicy]) -> str:
        count = size = 0
        until: list[datetime] = []
        for policy in policies:
            manifest = await asyncio.to_thread(Trash(policy).manifest, action.action_id)
            if manifest is not None:
                held = await asyncio.to_thread(Trash(policy).held, manifest)
                count, size = count + held[0], size + held[1]
                until.append(manifest.until)
        if not count:
            raise ActionFailed("Nothing lies in the trash: no room will be gained.")
        return (
            f"{count} files and {_mib(size)} lie in the trash, and are removed from {min(until):%Y-%m-%d %H:%M} UTC on"
        )

    def _of(self, target: str) -> list[CleanPolicy]:
        """The policies that a target is about. Raises ActionFailed for none, OSError for a folder that is not there."""
        if target in self._policies:
            found = [self._policies[target]]
        elif target.startswith("/"):
            device = Path(target).stat().st_dev
            found = []
            for policy in self._policies.values():
                with suppress(OSError, ValueError), open_folder(policy.folder) as folder:
                    if os.fstat(folder).st_dev == device:
                        found.append(policy)
        else:
            found = []
        if not found:
            raise ActionFailed("No policy names a folder on that disk; nothing is cleaned that nobody gave away.")
        for policy in found:
            if policy.folder.is_relative_to(self._data) or self._data.is_relative_to(policy.folder):
                raise ActionFailed(f"The policy {policy.name} reaches the data folder, which has limits of its own.")
        return found

    def _named(self, name: str) -> CleanPolicy:
        if name not in self._policies:
            raise ActionFailed(f"There is no policy {name} any more.")
        return self._policies[name]

    async def _choose(self, policy: CleanPolicy, keep: set[Path]) -> Chosen:
        until = self._until(policy)
        files = await self._old(policy, until, keep)
        waiting = await asyncio.to_thread(Trash(policy).waiting)
        return Chosen(
            policy=policy.name,
            until=until,
            files=len(files),
            bytes=sum(file.size for file in files),
            thrown=waiting.files,
            thrown_bytes=waiting.bytes,
        )

    def _until(self, policy: CleanPolicy) -> float:
        return self._clock().timestamp() - policy.older

    async def _old(self, policy: CleanPolicy, until: float, keep: set[Path]) -> list[OldFile]:
        return await asyncio.to_thread(old_files, policy, until, keep)


def _remove(policy: CleanPolicy, files: Sequence[OldFile]) -> list[OldFile]:
    """Remove files for good; those that changed meanwhile stay. Raises OSError."""
    removed = []
    for file in files:
        path = policy.folder / file.name
        with suppress(FileNotFoundError), open_folder(path.parent) as folder:
            stat = os.stat(path.name, dir_fd=folder, follow_symlinks=False)
            if (stat.st_size, stat.st_mtime_ns) == (file.size, file.changed):
                os.unlink(path.name, dir_fd=folder)
                removed.append(file)
    return removed


def _later(chosen: Sequence[Chosen], until: datetime) -> str:
    """What the way into the trash gives, and when."""
    size = sum(each.bytes for each in chosen)
    text = f"would move to the trash {_files(chosen)}, which frees no room now, and {_mib(size)} when it is emptied, "
    text += f"by {until:%Y-%m-%d %H:%M} UTC; until then they can be brought back"
    if thrown := sum(each.thrown for each in chosen):
        text += f"; {thrown} files and {_mib(sum(each.thrown_bytes for each in chosen))} lie there already"
    return text


def _for_good(chosen: Sequence[Chosen]) -> str:
    """What is gone, and what that gives."""
    size, thrown = sum(each.bytes for each in chosen), sum(each.thrown_bytes for each in chosen)
    text = f"would free {_mib(size + thrown)} now, since the disk is full: remove for good {_files(chosen)}"
    if count := sum(each.thrown for each in chosen):
        text += f", and {count} files and {_mib(thrown)} that lie in the trash"
    return f"{text}; none of it can be brought back"


def _files(chosen: Sequence[Chosen]) -> str:
    count, size = sum(each.files for each in chosen), sum(each.bytes for each in chosen)
    parts = ", ".join(f"{each.files} files and {_mib(each.bytes)} by {each.policy}" for each in chosen)
    return f"{count} files and {_mib(size)} ({parts})"


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
