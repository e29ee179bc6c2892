"""Folders that are what their path says: opened part by part, so that no link leads anywhere else, now or later."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def open_folder(path: Path, *, make: bool = False) -> Iterator[int]:
    """An open folder, as a descriptor for the functions of :mod:`os` that take ``dir_fd``.

    Args:
        path: absolute, without ``..``.
        make: make what of it is not there.

    Raises:
        OSError: it is not there, or a part of it is a link or no folder.
        ValueError: it is not absolute, or has a ``..`` in it.
    """
    if not path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{path} is no plain absolute path.")
    opened = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in path.parts[1:]:
            inner = open_inner(opened, part, make=make)
            os.close(opened)
            opened = inner
        yield opened
    finally:
        os.close(opened)


def open_inner(parent: int, name: str, *, make: bool = False) -> int:
    """A folder in an open folder; the caller closes it. Raises OSError, for a link as well."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    try:
        return os.open(name, flags, dir_fd=parent)
    except FileNotFoundError:
        if not make:
            raise
    with suppress(FileExistsError):  # somebody else was faster
        os.mkdir(name, dir_fd=parent)
    return os.open(name, flags, dir_fd=parent)


def is_file(parent: int, name: str) -> bool:
    """Whether a plain file, and no link to one, lies in an open folder."""
    try:
        return stat.S_ISREG(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False
