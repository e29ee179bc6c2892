"""Files that were cleaned away and can still come back: a folder of each action, with a manifest."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

import structlog
from pydantic import ValidationError

from stenobus_core.folders import is_file, open_folder, open_inner

from ..collectors import Emit
from ..errors import ActionFailed
from ..settings import CleanPolicy
from .old_files import OWN, OldFile
from .parameters import Shape

log = structlog.get_logger(__name__)

#: Folder of the trash in the folder of a policy.
TRASH: Final = f"{OWN}trash"
_MANIFEST: Final = "manifest.json"
_DRAFT: Final = f"{OWN}{_MANIFEST}"
#: Bytes of a manifest that are read.
_LARGEST: Final = 64 * 2**20
_LABEL: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
#: Seconds between two looks after what is over.
_EVERY: Final = 600.0


class Thrown(Shape):
    """A file in the trash, whose name there is its place in the list."""

    name: str
    size: int
    changed: int


class Manifest(Shape):
    """What lies in one folder of the trash. Written before anything moves."""

    action_id: str
    folder: Path
    at: datetime
    #: When it is removed for good.
    until: datetime
    files: tuple[Thrown, ...]


class Waiting(NamedTuple):
    """Files in the trash, their bytes, and when the last of them is removed for good."""

    files: int
    bytes: int
    until: datetime | None


class Trash:
    """The trash of one policy.

    Every method may be called again after a crash, and raises OSError where the disk or the rights are in the way.
    """

    def __init__(self, policy: CleanPolicy) -> None:
        self._folder = policy.folder

    def manifest(self, label: str) -> Manifest | None:
        """What an action threw away, None when nothing is left of it."""
        try:
            with open_folder(self._folder / TRASH / _plain(label)) as here:
                return _read(here)
        except FileNotFoundError:
            return None

    def throw(self, label: str, files: Iterable[OldFile], at: datetime, until: datetime) -> Manifest:
        """Move files to the trash; those that changed meanwhile stay. A manifest that is there already counts."""
        with open_folder(self._folder) as home, open_folder(self._folder / TRASH / _plain(label), make=True) as here:
            manifest = _read(here)
            if manifest is None:
                thrown = tuple(Thrown(name=file.name, size=file.size, changed=file.changed) for file in files)
                manifest = Manifest(action_id=label, folder=self._folder, at=at, until=until, files=thrown)
                _write(here, manifest)
            for number, file in enumerate(manifest.files):
                if is_file(here, str(number)):
                    continue
                with suppress(FileNotFoundError), _parent(home, file.name) as (parent, name):
                    stat = os.stat(name, dir_fd=parent, follow_symlinks=False)
                    if is_file(parent, name) and (stat.st_size, stat.st_mtime_ns) == (file.size, file.changed):
                        os.rename(name, str(number), src_dir_fd=parent, dst_dir_fd=here)
            return manifest

    def held(self, manifest: Manifest) -> tuple[int, int]:
        """How many of its files lie in the trash, and their bytes."""
        with open_folder(self._folder / TRASH / _plain(manifest.action_id)) as here:
            sizes = [file.size for number, file in enumerate(manifest.files) if is_file(here, str(number))]
        return len(sizes), sum(sizes)

    def waiting(self) -> Waiting:
        """What lies in it, whichever actions threw it away."""
        manifests = [manifest for label in self._labels() if (manifest := self.manifest(label)) is not None]
        held = [self.held(manifest) for manifest in manifests]
        until = max((manifest.until for manifest in manifests), default=None)
        return Waiting(sum(count for count, _ in held), sum(size for _, size in held), until)

    def restore(self, label: str) -> tuple[int, int]:
        """Put everything back where it was, and over nothing. Returns how many files are back, and how many cannot be.

        Raises:
            ActionFailed: nothing is left of it.
        """
        manifest = self.manifest(label)
        if manifest is None:
            raise ActionFailed("The files were removed for good.")
        back = taken = 0
        with open_folder(self._folder) as home, open_folder(self._folder / TRASH / label) as here:
            for number, file in enumerate(manifest.files):
                if not is_file(here, str(number)):
                    continue
                try:
                    with _parent(home, file.name, make=True) as (parent, name):
                        os.link(str(number), name, src_dir_fd=here, dst_dir_fd=parent, follow_symlinks=False)
                except (FileExistsError, NotADirectoryError):
                    taken += 1  # somebody made another one meanwhile
                    continue
                os.unlink(str(number), dir_fd=here)
                back += 1
        if not taken:
            self.remove(label)
        return back, taken

    def remove(self, label: str) -> None:
        """Remove what an action threw away, for good."""
        with suppress(FileNotFoundError), open_folder(self._folder / TRASH) as trash:
            here = open_inner(trash, _plain(label))
            try:
                with os.scandir(here) as entries:
                    names = [entry.name for entry in entries]
                # The manifest is the last to go: what is left after a crash is still known.
                for name in (*(each for each in names if each.isdecimal()), _DRAFT, _MANIFEST):
                    with suppress(FileNotFoundError):
                        os.unlink(name, dir_fd=here)
            finally:
                os.close(here)
            os.rmdir(label, dir_fd=trash)

    def empty(self, now: datetime | None) -> int:
        """Remove what is over by some time, or all of it. Returns how many actions' files went."""
        count = 0
        for label in self._labels():
            manifest = self.manifest(label)
            if now is None or (manifest is not None and manifest.until <= now):
                self.remove(label)
                count += 1
        return count

    def _labels(self) -> list[str]:
        """Actions whose files it holds."""
        try:
            with open_folder(self._folder / TRASH) as trash, os.scandir(trash) as entries:
                return sorted(entry.name for entry in entries if _LABEL.fullmatch(entry.name))
        except FileNotFoundError:
            return []


class Emptying:
    """Empties the trash of some policies when its time has come."""

    name = "trash"

    def __init__(
        self, policies: Iterable[CleanPolicy], clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._policies, self._clock = tuple(policies), clock

    async def run(self, emit: Emit) -> None:
        """Look again and again. What is in the way of one folder is logged, and does not keep the others waiting."""
        while True:
            for policy in self._policies:
                try:
                    await asyncio.to_thread(Trash(policy).empty, self._clock())
                except (OSError, ValueError) as error:
                    log.warning("monitor.trash_stays", folder=str(policy.folder), error=str(error))
            await asyncio.sleep(_EVERY)


def _plain(label: str) -> str:
    if not _LABEL.fullmatch(label):
        raise ActionFailed(f"{label[:64]!r} cannot be the name of a folder in the trash.")
    return label


@contextmanager
def _parent(home: int, name: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
    """The open folder of a file below another one, and the file's own name. Raises OSError, for links as well."""
    *above, last = PurePosixPath(name).parts
    if name.startswith("/") or ".." in (*above, last):
        raise FileNotFoundError(name)
    opened = os.dup(home)
    try:
        for part in above:
            inner = open_inner(opened, part, make=make)
            os.close(opened)
            opened = inner
        yield opened, last
    finally:
        os.close(opened)


def _read(here: int) -> Manifest | None:
    """The manifest in an open folder; None for none, or for one that nobody of us wrote."""
    try:
        handle = os.open(_MANIFEST, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=here)
    except FileNotFoundError:
        return None
    with os.fdopen(handle, "rb") as file:
        try:
            return Manifest.model_validate_json(file.read(_LARGEST))
        except ValidationError:
            log.warning("monitor.trash_unreadable")
            return None


def _write(here: int, manifest: Manifest) -> None:
    """The manifest, whole or not at all."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    with os.fdopen(os.open(_DRAFT, flags, 0o600, dir_fd=here), "wb") as file:
        file.write(manifest.model_dump_json(indent=1).encode())
        file.flush()
        os.fsync(file.fileno())
    os.rename(_DRAFT, _MANIFEST, src_dir_fd=here, dst_dir_fd=here)
