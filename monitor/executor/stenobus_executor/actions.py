"""The two things that may be done, and all that has to be true before."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, MutableMapping
from typing import Any, Final

from . import approval
from .audit import audit
from .calls import KINDS, Call
from .checks import Checks
from .engine import Engine
from .ledger import Ledger
from .passing import name_of
from .request import Refused
from .rules import Rules, ended_by_itself, grace, moment, remembered, was_killed

#: Seconds that the engine may take beyond those in which a container may end.
_PATIENCE: Final = 30.0


class Actions:
    """Restarts containers and sets their limits."""

    def __init__(self, engine: Engine, rules: Rules, ledger: Ledger, checks: Checks) -> None:
        self._engine, self._rules, self._ledger, self._checks = engine, rules, ledger, checks
        self._busy: set[str] = set()

    async def do(
        self, call: Call, container: Mapping[str, Any], headers: Mapping[str, str], said: MutableMapping[str, Any]
    ) -> bytes:
        """Carry a call out, once the decision is on record; returns what the engine says. Raises Refused.

        Args:
            said: what goes on record, added to here.
        """
        id, name, kind = str(container.get("Id") or ""), name_of(container), KINDS[call.what]
        action = headers.get("x-stenobus-action", "")
        if not approval.ACTION.fullmatch(action):
            raise Refused(400, "X-Stenobus-Action names no action.")
        said["action"] = action
        why_not = self._disapproval(headers.get("x-stenobus-approval"), action, kind, name)
        said["approved"] = approved = why_not is None
        if objection := self._rules.objection(container, kind, approved):
            raise Refused(403, f"{name} is left alone: {objection}. {why_not or ''}".rstrip())
        if kind == "limits" and (objection := self._rules.outside(call.body)):
            raise Refused(400, f"{objection}.")
        if kind == "limits" and 0 < call.body["Memory"] < await self._in_use(id):
            raise Refused(409, f"{name} uses more memory than that.")
        if not approved and (objection := await self._ended(container)):
            raise Refused(403, f"{name} is left alone: {objection}. {why_not}")
        if id in self._busy:
            raise Refused(409, f"Something is being done with {name} already.")
        self._busy.add(id)
        try:
            self._ledger.spend(kind, name, action if approved else None)
            said["allowed"] = True
            audit(**said)
            # To the very container that was looked at: its name may be another's by now.
            path, query, patience = f"/containers/{id}/{call.what}", dict(call.query), _PATIENCE
            if kind == "restart":
                patience += int(query.setdefault("t", str(grace(container))))
            return await self._engine.post(path, query, call.body, patience)
        finally:
            self._busy.discard(id)

    def _disapproval(self, token: str | None, action: str, kind: str, name: str) -> str | None:
        """Why an action is not approved, None when it is. An approval of something else is worth as much as none."""
        if token is None:
            return "Nobody has approved it."
        try:
            self._checks.check(token, action, kind, name)
        except approval.ApprovalRefused as error:
            return str(error)
        return None

    async def _in_use(self, id: str) -> int:
        """Bytes that must stay: with less, version 2 of control groups would have the container killed."""
        stats = await self._engine.get(f"/containers/{id}/stats", {"stream": "false", "one-shot": "true"})
        memory = stats.get("memory_stats") or {}
        cache = memory.get("stats") or {}
        cached = cache.get("total_inactive_file", cache.get("inactive_file", 0))
        return int(memory.get("usage") or 0) - int(cached)

    async def _ended(self, container: Mapping[str, Any]) -> str | None:
        """Why an ended container stays so: somebody ended it by the engine's calls, as far as that can be known."""
        state = container["State"]
        if state.get("Status") != "exited":
            return None
        killed = was_killed(container)
        if not killed and not ended_by_itself(container):
            return "somebody stopped it"
        filters = {"type": ["container"], "container": [container["Id"]], "event": ["kill", "stop"]}
        if await self._events(moment(state["StartedAt"]), filters):
            return "somebody stopped it"
        if killed and not state.get("OOMKilled"):
            # Asked for last: what is there by now was there before.
            oldest = next(iter(await self._events(1, {})), None)
            if oldest is None or not remembered(container, int(oldest["timeNano"]) / 1e9):
                return "it was killed, and the engine does not remember whether by its own calls"
        return None

    async def _events(self, since: float, filters: Mapping[str, list[str]]) -> list[dict[str, Any]]:
        """Those that the engine remembers, the oldest first."""
        query = {"since": f"{since:.6f}", "until": f"{time.time():.6f}", "filters": json.dumps(filters)}
        return [json.loads(line) for line in (await self._engine.text("/events", query)).splitlines() if line.strip()]
