"""Old files in a folder that the settings name. Every folder is held open while it is looked at: no link leads out."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from stenobus_core.folders import open_folder, open_inner

from ..errors import ActionFailed
from ..settings import CleanPolicy

#: What Stenobus keeps for itself begins like this: files in the making, and the trash.
OWN: Final = ".stenobus-"
#: Entries that are looked at, levels below the folder, and files of one action.
_ENTRIES: Final = 1_000_000
_DEPTH: Final = 32
MOST: Final = 10_000


@dataclass(frozen=True, slots=True)
class OldFile:
    """A file that a policy gives away."""

    #: Below the policy's folder.
    name: str
    size: int
    #: Nanoseconds since the epoch.
    changed: int


def old_files(policy: CleanPolicy, until: float, needed: Collection[Path]) -> list[OldFile]:
    """What a policy gives away, the oldest first, no more than 10,000 files.

    Args:
        until: only what was last changed up to then, seconds since the epoch.
        needed: files that stay.

    Raises:
        ActionFailed: the folder is not what its path says, or holds too much to be looked at.
    """
    try:
        with open_folder(policy.folder) as folder:
            device = os.fstat(folder).st_dev
            found = [file for file in _walk(folder, "", device, 0, [0]) if _matches(policy, file)]
    except (OSError, ValueError) as error:
        raise ActionFailed(f"{policy.folder} cannot be looked at: {error}") from error
    found.sort(key=lambda file: file.changed, reverse=True)
    kept, chosen = 0, []
    for file in found:
        if kept < policy.keep:
            kept += file.size
        elif file.changed <= until * 1e9 and policy.folder / file.name not in needed:
            chosen.append(file)
    return chosen[::-1][:MOST]


def room(folder: Path) -> tuple[int, int]:
    """Bytes that are free on a folder's disk, and all of them. Raises OSError."""
    figures = os.statvfs(folder)
    return figures.f_bavail * figures.f_frsize, figures.f_blocks * figures.f_frsize


def _matches(policy: CleanPolicy, file: OldFile) -> bool:
    return any(fnmatchcase(file.name.rpartition("/")[2], pattern) for pattern in policy.files)


def _is_text(name: str) -> bool:
    """Whether a manifest can hold a name: it may be any bytes."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _walk(folder: int, above: str, device: int, depth: int, seen: list[int]) -> Iterator[OldFile]:
    with os.scandir(folder) as entries:
        for entry in entries:
            seen[0] += 1
            if seen[0] > _ENTRIES:
                raise ActionFailed(f"There are more than {_ENTRIES} files; people have to look.")
            if entry.name.startswith(OWN) or not _is_text(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False) and depth < _DEPTH:
                inner = open_inner(folder, entry.name)
                try:
                    if os.fstat(inner).st_dev == device:
                        yield from _walk(inner, f"{above}{entry.name}/", device, depth + 1, seen)
                finally:
                    os.close(inner)
            elif entry.is_file(follow_symlinks=False):
                stat = entry.stat(follow_symlinks=False)
                yield OldFile(f"{above}{entry.name}", stat.st_size, stat.st_mtime_ns)
