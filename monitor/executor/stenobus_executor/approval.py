"""A person's word for one action: signed, expiring, and for nothing else. Both sides use it: who gives, who checks."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from pathlib import Path
from typing import Final

#: What a kind of action looks like: the executor knows two of them, the monitor more.
KIND: Final = re.compile(r"[a-z][a-z_-]{0,31}")
#: What an action's id looks like, and a container's name.
ACTION: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}")
#: Seconds an approval may hold at most.
LONGEST: Final = 24 * 60 * 60
#: Bytes of a key: the least, and the most that are read.
_KEY_BYTES: Final = (32, 4096)
#: What an approval looks like.
TOKEN: Final = re.compile(r"v1\.([1-9][0-9]{0,11})\.([0-9a-f]{64})")


class ApprovalRefused(Exception):
    """An approval does not hold, or cannot be given; says why, and nothing of the key."""


def read_key(path: Path) -> bytes:
    """The key in a file, 32 bytes or more, without white space at its ends. Raises ApprovalRefused."""
    least, most = _KEY_BYTES
    try:
        with path.open("rb") as file:
            key = file.read(most + 1).strip()
    except OSError as error:
        raise ApprovalRefused(f"The key of approvals at {path} cannot be read ({error.strerror}).") from error
    if not least <= len(key) <= most:
        raise ApprovalRefused(f"The key of approvals at {path} has {len(key)} bytes; it needs {least} to {most}.")
    return key


def issue(key: bytes, action_id: str, kind: str, target: str, expires: float, *, now: float | None = None) -> str:
    """An approval of one action.

    Args:
        key: see :func:`read_key`.
        action_id: of the action that was proposed: up to 64 letters, digits, ``_`` and ``-``.
        kind: of action, such as ``restart``.
        target: name of the container, or of whatever it is about.
        expires: seconds since the epoch, in :data:`LONGEST` at the latest.

    Raises:
        ApprovalRefused: none can be given for that.
    """
    _possible(key, action_id, kind, target)
    _in_time(int(expires), now)
    return f"v1.{int(expires)}.{_signature(key, action_id, kind, target, int(expires))}"


def check(key: bytes, token: str, action_id: str, kind: str, target: str, *, now: float | None = None) -> int:
    """Until when an approval holds, in seconds since the epoch.

    Raises:
        ApprovalRefused: it is for something else, of somebody else, expired or none at all.
    """
    _possible(key, action_id, kind, target)
    said = TOKEN.fullmatch(token)
    if said is None:
        raise ApprovalRefused("That is no approval.")
    expires = int(said[1])
    if not hmac.compare_digest(said[2], _signature(key, action_id, kind, target, expires)):
        raise ApprovalRefused(f"The approval is not for {kind} of {target} as action {action_id}, or by another key.")
    _in_time(expires, now)
    return expires


def _possible(key: bytes, action_id: str, kind: str, target: str) -> None:
    if len(key) < _KEY_BYTES[0]:
        raise ApprovalRefused(f"The key of approvals has {len(key)} bytes; it needs {_KEY_BYTES[0]}.")
    if not ACTION.fullmatch(action_id):
        raise ApprovalRefused("The action's id is not one to 64 letters, digits, '_' and '-'.")
    if not KIND.fullmatch(kind):
        raise ApprovalRefused("That is no kind of action.")
    if not NAME.fullmatch(target):
        raise ApprovalRefused("The target is no name of a container.")


def _in_time(expires: int, now: float | None) -> None:
    left = expires - (time.time() if now is None else now)
    if left <= 0:
        raise ApprovalRefused("The approval has expired.")
    if left > LONGEST:
        raise ApprovalRefused(f"The approval holds for more than {LONGEST // 3600} hours.")


def _signature(key: bytes, action_id: str, kind: str, target: str, expires: int) -> str:
    said = "\n".join([action_id, kind, target, str(expires)])
    return hmac.new(key, said.encode(), hashlib.sha256).hexdigest()
