"""What runs that were killed left behind: processes, folders, containers, networks and volumes."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from ..containers import moment
from .owner import LABEL, OWNER, gone, mine

#: Begins the name of everything that the evaluation makes.
NAME: Final = "stn-eval"
#: In a world's folder: whose it is.
_MARK: Final = "owner"


def new_folder(name: str) -> Path:
    """A folder for a world, which bears its owner's mark."""
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-"))
    (folder / _MARK).write_text(mine())
    return folder


def sweep(client: Any) -> list[str]:
    """Remove what no run that lives owns; another run that works at this moment keeps all of its own.

    Returns:
        Names of what was removed.
    """
    found = []
    for folder in _folders():
        found.append(folder.name)
        for process in _processes(folder):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)
    filters = {"label": LABEL}
    containers = client.containers.list(all=True, filters=filters, ignore_removed=True)
    found += [each.name for each in containers if _is_left(each, "Created") and removed(each, force=True, v=True)]
    found += [
        each.name for each in client.networks.list(filters=filters) if _is_left(each, "Created") and removed(each)
    ]
    volumes = client.volumes.list(filters=filters)
    return found + [each.name for each in volumes if _is_left(each, "CreatedAt") and removed(each)]


def removed(thing: Any, **options: Any) -> bool:
    """Remove something from the engine. False where it is gone already, or somebody else is at it this moment."""
    import docker.errors

    try:
        thing.remove(**options)
    except docker.errors.NotFound:
        return False
    except docker.errors.APIError as error:
        if error.status_code != HTTPStatus.CONFLICT:
            raise
        return False
    return True


def _is_left(thing: Any, created: str) -> bool:
    labels = thing.attrs.get("Labels") or (thing.attrs.get("Config") or {}).get("Labels") or {}
    ours = str(labels.get(LABEL, "")).startswith(NAME)  # those of the image itself have another value
    return ours and gone(labels.get(OWNER), moment(thing.attrs.get(created)))


def _folders() -> Iterator[Path]:
    for folder in sorted(Path(tempfile.gettempdir()).glob(f"{NAME}-*")):
        with suppress(OSError):  # gone by now
            facts, mark = folder.lstat(), folder / _MARK
            if facts.st_uid != os.getuid() or not stat.S_ISDIR(facts.st_mode):
                continue
            if gone(mark.read_text() if mark.exists() else None, datetime.fromtimestamp(facts.st_mtime, UTC)):
                yield folder


def _processes(folder: Path) -> Iterator[int]:
    """Processes of ours that work in a folder; somebody's shell that looks at it is none."""
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (entry / "cwd").readlink() == folder and b"stenobus" in (entry / "cmdline").read_bytes():
                yield int(entry.name)
