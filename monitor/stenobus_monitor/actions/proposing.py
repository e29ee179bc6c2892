"""From an incident to what is proposed, at which level; and the holds that follow from what people do."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from stenobus_contracts import Action, Level, MonitorActionProposed, MonitorIncident

from ..containers import Container
from ..engine import Engine
from ..errors import NoSuchContainer
from ..proposals import actions
from ..store import Store
from . import Remedy
from .approvals import Checker
from .course import Course, stepped
from .holds import stopped
from .levels import FULL_DISK, allowed, wanted
from .trust import Trust

#: Kinds that take somebody who may do something to containers.
_BY_HAND = frozenset({"restart", "limits"})
#: Kinds that are for people alone, and said only where nothing speaks against them.
_SUGGESTED = frozenset({"rollback"})
#: A container of an action that began this lately is stopped by it, not by people.
_OURS = timedelta(minutes=10)


class Proposing:
    """Proposes.

    Args:
        remedies: by kind of action.
        levels: kind of action to level, by the settings.
        holds_for: how long a proposal holds.
        able: whether there is an executor.
        url: where people find the monitor's HTTP interface, for links.
    """

    def __init__(
        self,
        store: Store,
        remedies: Mapping[str, Remedy],
        checker: Checker,
        trust: Trust,
        engine: Engine | None,
        *,
        levels: Mapping[str, Level],
        holds_for: timedelta,
        able: bool,
        url: str | None = None,
    ) -> None:
        self._store, self._remedies, self._checker = store, remedies, checker
        self._trust, self._engine = trust, engine
        self._levels, self._holds_for, self._able, self._url = levels, holds_for, able, url

    async def propose(self, incident: MonitorIncident) -> list[MonitorActionProposed]:
        """What an incident calls for; again the same where that was proposed before.

        Raises:
            MonitorError, BusError: what has to be looked at does not answer.
        """
        await self._keep_hold(incident)
        known = [action for action in actions(incident) if action.kind in self._remedies]
        found = [await self._propose(action, incident) for action in known]
        return [proposal for proposal in found if proposal is not None]

    def link(self, event: MonitorActionProposed) -> str | None:
        """Where people approve a proposal once they have shown their key; None where there is no such place."""
        if self._url is None or event.level != "approve":
            return None
        return f"{self._url.rstrip('/')}/v1/actions/{event.action.action_id}/approve"

    async def _propose(self, action: Action, incident: MonitorIncident) -> MonitorActionProposed | None:
        course = await self._store.course(action.action_id)
        if course is None:
            first = await self._begin(action, incident)
            if first is None:
                return None
            course = await self._store.change_course(action.action_id, lambda known: known or first)
        return MonitorActionProposed(
            action=course.action,
            reason=course.reason,
            dry_run=course.dry_run,
            expires_at=course.expires_at,
            level=course.level,
        )

    async def _begin(self, action: Action, incident: MonitorIncident) -> Course | None:
        outlook = await self._remedies[action.kind].look(action)
        if action.kind in _SUGGESTED and outlook.obstacles:
            return None
        proof = next(line.text for line in incident.evidence if line.kind != "log")
        against = f"; now against it: {'; '.join(outlook.obstacles)}" if outlook.obstacles else ""
        level, why = await self._level(action, incident)
        course = Course(
            action=action,
            incident_kind=incident.kind,
            component=incident.component,
            level=level,
            reason=f"{incident.title}; {proof}{why}",
            dry_run=f"{outlook.dry_run}{against}",
            expires_at=datetime.now(UTC) + self._holds_for,
            undoable=self._remedies[action.kind].undoable,
        )
        return stepped(course, "proposed", f"{level}: {course.dry_run}")

    async def _level(self, action: Action, incident: MonitorIncident) -> tuple[Level, str]:
        """The level, and what people have to know of it."""
        container = await self._container(incident.component)
        kind = FULL_DISK if action.parameters.get("at_once") else action.kind
        level = wanted(self._levels, kind, incident.kind, container)
        trusted = level != "automatic" or await self._trust.allows(action.kind, incident.kind)
        able = action.kind not in _SUGGESTED and (self._able or action.kind not in _BY_HAND)
        level = allowed(level, container, trusted=trusted, able=able)
        trouble = await self._checker.trouble() if level == "approve" else None
        return level, f"; {trouble}" if trouble else ""

    async def _container(self, component: str) -> Container | None:
        kind, _, name = component.partition(":")
        if kind != "container" or self._engine is None:
            return None
        try:
            return await self._engine.inspect(name)
        except NoSuchContainer:
            return None

    async def _keep_hold(self, incident: MonitorIncident) -> None:
        """What somebody stopped by hand is theirs until it runs again."""
        if not incident.component.startswith("container:"):
            return
        hold = stopped(incident)
        if incident.status == "resolved":
            await self._store.remove_hold(hold.id)
        elif incident.kind == "container.stopped" and not await self._was_us(incident):
            await self._store.put_hold(hold)

    async def _was_us(self, incident: MonitorIncident) -> bool:
        name = incident.component.partition(":")[2]
        return any(
            name in course.restarts and abs(incident.started_at - step.at) < _OURS
            for course in await self._store.courses()
            for step in course.trail
            if step.stage == "started"
        )
