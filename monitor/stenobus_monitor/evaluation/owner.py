"""Whose a run is: a mark on all that it makes, which tells whether the process that made it still lives."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

#: Labels on the engine: of everything of one world, and of who made it.
LABEL: Final = "stenobus.eval"
OWNER: Final = "stenobus.eval.owner"
#: What nobody here can know the owner of is left behind when it is so old: a run takes minutes.
_OLD: Final = timedelta(days=1)
_PROC: Final = Path("/proc")


def mine() -> str:
    """This process's mark: where its number counts, the number, and when it began."""
    return f"{_place()}/{os.getpid()}/{_began(os.getpid())}"


def gone(mark: str | None, since: datetime | None) -> bool:
    """Whether nobody needs any more what bears a mark.

    Args:
        mark: as :func:`mine` gave it; None where there is none.
        since: when the thing was made, None where that is not known.
    """
    place, number, began = (*(mark or "").split("/"), "", "", "")[:3]
    if place == _place() and number.isdecimal():
        return _began(int(number)) != began
    return since is not None and datetime.now(UTC) - since > _OLD


def _place() -> str:
    """A host and a namespace of processes in it: the same number elsewhere is another process."""
    return f"{socket.gethostname()}-{(_PROC / 'self/ns/pid').readlink().name.strip('pid:[]')}"


def _began(number: int) -> str:
    """When a process began, and in which life of the host; empty where there is none, or only its entry is left."""
    try:
        fields = (_PROC / str(number) / "stat").read_text().rpartition(")")[2].split()
        life = (_PROC / "sys/kernel/random/boot_id").read_text()[:8]
    except OSError:
        return ""
    return "" if fields[0] in {"Z", "X"} else f"{life}-{fields[19]}"
