"""What was done and which approvals were used, in a small file: a restart of the executor forgets nothing."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .approval import LONGEST
from .request import Refused


@dataclass(frozen=True, slots=True)
class Budget:
    """How much may be done, whoever asks."""

    #: Actions of one kind on one container, and on all together, within so many seconds.
    each: int = 3
    all: int = 6
    window: float = 600.0


class Ledger:
    """The file, and what it says.

    Args:
        clock: seconds since the epoch, which outlive the process.

    Raises:
        ValueError: there is something else in the file.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path, budget: Budget, clock: Callable[[], float] = time.time) -> None:
        self._path, self._budget, self._clock = path, budget, clock
        try:
            said = json.loads(path.read_text()) if path.exists() else {"done": [], "used": {}}
            self._done = [(float(at), str(kind), str(name)) for at, kind, name in said["done"]]
            self._used = {str(key): float(until) for key, until in said["used"].items()}
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise ValueError(f"{path} is no state of the executor; without it, budgets begin anew") from error

    def spend(self, kind: str, name: str, approved: str | None = None) -> None:
        """Count an action before it is done, and use up its approval.

        Args:
            kind: ``restart`` or ``limits``.
            approved: id of the action, when somebody has approved it.

        Raises:
            Refused: 409 for an approval that was used before, 429 beyond the budget, 503 when it cannot be noted.
        """
        now = self._clock()
        self._done = [entry for entry in self._done if entry[0] > now - self._budget.window]
        self._used = {key: until for key, until in self._used.items() if until > now}
        key = "\n".join((approved or "", kind, name))
        if approved is not None and key in self._used:
            raise Refused(409, "That approval was used before.")
        of_kind = sorted(at for at, what, _ in self._done if what == kind)
        of_name = sorted(at for at, what, whose in self._done if (what, whose) == (kind, name))
        for times, most, whose in ((of_name, self._budget.each, name), (of_kind, self._budget.all, "all containers")):
            if len(times) >= most:
                wait = max(1, int(times[-most] + self._budget.window - now) + 1) if most else int(self._budget.window)
                message = f"{kind} of {whose}: {most} within {self._budget.window:.0f} s is the most."
                raise Refused(429, message, {"Retry-After": str(wait)})
        # For longer than any approval of this action holds that exists by now.
        used = {key: now + LONGEST} if approved is not None else {}
        self._write([*self._done, (now, kind, name)], self._used | used)

    def _write(self, done: list[tuple[float, str, str]], used: dict[str, float]) -> None:
        new = self._path.with_suffix(".new")
        try:
            new.touch(mode=0o600)
            with new.open("w") as file:
                json.dump({"done": done, "used": used}, file)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._path)
        except OSError as error:
            raise Refused(503, f"What is done cannot be noted ({error.strerror}), so nothing is.") from error
        self._done, self._used = done, used
