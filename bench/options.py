"""Ways to declare a measured handler."""

from __future__ import annotations

from typing import Any

#: default: what an author gets who asks for nothing. untracked: no run record. bare: no ledger either, which is what
#: the peers do: a duplicate beyond the server's window runs again.
OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "untracked": {"track": False},
    "bare": {"track": False, "ledger": False},
}
