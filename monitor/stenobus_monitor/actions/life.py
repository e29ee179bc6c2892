"""The life of an action: each step is kept before it is taken, so that no death in between repeats or forgets one."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from stenobus_bus import BusError, PermanentError, RetryableError
from stenobus_contracts import MonitorActionApproved, MonitorActionDone

from ..containers import Container
from ..engine import Engine
from ..errors import ActionFailed, ActionRefused, MonitorError, NoSuchContainer
from ..store import Store
from . import Outlook, Remedy
from .approvals import ApprovalRefused, Checker
from .budget import Budget, Granted, Occupied, Spent
from .course import Course, Outcome, Stage, refusal, stepped
from .holds import holding
from .progress import Progress

log = structlog.get_logger(__name__)

#: How long an action that began is tried while what it takes does not answer.
_PATIENCE: Final = timedelta(minutes=10)
#: Seconds until an action that waits for another one looks again.
_AGAIN: Final = 5.0


class Overtaken(Exception):
    """Somebody else goes on with it."""


class Life:
    """Carries actions out.

    Args:
        remedies: by kind of action.
        engine: None where containers are not watched.
    """

    def __init__(
        self,
        store: Store,
        remedies: Mapping[str, Remedy],
        checker: Checker,
        progress: Progress,
        engine: Engine | None = None,
    ) -> None:
        self._store, self._remedies, self._checker = store, remedies, checker
        self._progress, self._engine = progress, engine
        self._budget = Budget(store.cell("budget"))

    async def carry_out(self, action_id: str) -> MonitorActionDone | None:
        """Do what may be done without asking, or has been approved, from wherever it stands.

        Returns:
            What came of it; None for what waits for people, or is not known.

        Raises:
            RetryableError: what it takes does not answer now, or another action is in the way.
            BusError: the bus does not answer.
        """
        known = await self._store.course(action_id)
        if known is None or (known.stage == "proposed" and known.level != "automatic"):
            return None
        try:
            course = await self._take_over(action_id)
            while course.stage != "done":
                course = await self._advance(course)
        except Overtaken:
            raise RetryableError(f"The action {action_id} is in other hands.", delay=_AGAIN) from None
        except MonitorError as error:
            raise RetryableError(str(error)) from error
        await self._budget.release(action_id, unused=course.outcome == "refused")
        return course.done

    async def approve(self, event: MonitorActionApproved, event_id: str) -> MonitorActionDone | None:
        """Take an approval, and do what was approved. The same approval under another event's id is used up.

        Raises:
            PermanentError: it does not hold, which is noted.
            RetryableError, BusError: as :meth:`carry_out`.
        """
        known = await self._store.course(event.action_id)
        if known is None:
            log.warning("monitor.unknown_action", action=event.action_id, approved_by=event.approved_by)
            return None
        if known.approval != event_id:
            await self._accept(known, event, event_id)
        return await self.carry_out(event.action_id)

    # --- steps -------------------------------------------------------------------------------------------------------

    async def _accept(self, known: Course, event: MonitorActionApproved, event_id: str) -> None:
        """Use an approval up."""
        now, remedy = datetime.now(UTC), self._remedies.get(known.action.kind)

        def accept(course: Course | None) -> Course:
            assert course is not None
            if objection := course.objection(now, undo=event.undo):
                raise ApprovalRefused(objection)
            if event.undo and (remedy is None or not remedy.undoable):
                raise ApprovalRefused(f"A {course.action.kind} cannot be taken back.")
            stage: Stage = "undoing" if event.undo else "approved"
            return stepped(
                course,
                stage,
                f"by {event.approved_by}",
                approval=event_id,
                approved_by=event.approved_by,
                token=event.token,
            )

        try:
            accept(known)  # what is too late anyway asks nobody
            await self._checker.check(known.action, event.token, undo=event.undo)
            await self._store.change_course(known.action.action_id, accept)
        except MonitorError as error:
            raise RetryableError(str(error)) from error
        except ApprovalRefused as error:
            said = f"{refusal(event.approved_by)}: {error}"
            await self._store.change_course(
                known.action.action_id, lambda course: stepped(course or known, (course or known).stage, said)
            )
            raise PermanentError(str(error)) from error

    async def _take_over(self, action_id: str) -> Course:
        """Make it ours: whoever was at it before gets no further."""
        runner = uuid.uuid4().hex

        def take(course: Course | None) -> Course:
            assert course is not None
            if course.stage == "proposed":
                return stepped(course, "automatic", runner=runner)
            return course.model_copy(update={"runner": runner}) if course.stage != "done" else course

        return await self._store.change_course(action_id, take)

    async def _advance(self, course: Course) -> Course:
        """One step."""
        match course.stage:
            case "approved" | "automatic":
                return await self._check(course)
            case "checked":
                return await self._keep(course, "started")
            case "started":
                return await self._do(course)
            case "undoing":
                return await self._undo(course)
            case _:
                return await self._end(course, "succeeded", course.detail)

    async def _check(self, course: Course) -> Course:
        """Look again: time has passed since it was proposed, and more may pass until it is its turn."""
        action = course.action
        if course.stage == "automatic" and datetime.now(UTC) >= course.expires_at:
            return await self._end(course, "refused", "nobody came to do it in time")
        outlook = await self._look(course)
        if outlook.obstacles:
            return await self._end(course, "refused", "; ".join(outlook.obstacles))
        while isinstance(grant := await self._take(course, outlook), Occupied):
            holder = await self._store.course(grant.action_id)
            if holder is not None and holder.stage != "done":
                raise RetryableError(f"The action {grant.action_id} works on {action.target}.", delay=_AGAIN)
            await self._budget.release(grant.action_id, unused=holder is not None and holder.outcome == "refused")
        if isinstance(grant, Spent):
            return await self._end(course, "refused", grant.reason)
        if (wait := (grant.due - datetime.now(UTC)).total_seconds()) > 0:
            await asyncio.sleep(wait)
            outlook = await self._look(course)
            if outlook.obstacles:
                return await self._end(course, "refused", "; ".join(outlook.obstacles))
        return await self._keep(course, "checked", outlook.dry_run, before=outlook.before, restarts=outlook.restarts)

    async def _look(self, course: Course) -> Outlook:
        """What it would do now, by the remedy; and what speaks against it whatever the remedy says."""
        now, action = datetime.now(UTC), course.action
        remedy = self._remedies.get(action.kind)
        if remedy is None:
            return Outlook(course.dry_run, (f"there is no remedy {action.kind} here",))
        outlook = await remedy.look(action)
        obstacles = [*outlook.obstacles]
        incident = await self._store.incident(action.incident_id)
        if incident is None or incident.status == "resolved":
            obstacles.append("the incident is over")
        holds = await self._store.holds()
        components = dict.fromkeys([course.component, *(f"container:{name}" for name in outlook.restarts)])
        obstacles += [hold.said for each in components if (hold := holding(holds, each, now)) is not None]
        return Outlook(outlook.dry_run, tuple(obstacles), outlook.before, outlook.restarts)

    async def _take(self, course: Course, outlook: Outlook) -> Granted | Occupied | Spent:
        """What the budget says."""
        now, action = datetime.now(UTC), course.action
        restarts = {each.name: each for each in (await self._budget.book()).restarts}  # the last one of each
        well, floors = set(), {}
        for name in outlook.restarts:
            container = await self._container(name)
            if container is None:
                continue
            floors[name] = await self._progress.floors(container)
            last = restarts.get(name)
            if last is not None and await self._progress.well(container, last, action.incident_id, now):
                well.add(name)
        return await self._budget.take(
            action.action_id, course.component, outlook.restarts, now, well=well, floors=floors
        )

    async def _do(self, course: Course) -> Course:
        """Act and verify. A remedy does not do again what it did before a death."""
        remedy, action = self._remedies[course.action.kind], course.action
        try:
            done = await remedy.act(action, course.before)
            proof = await remedy.verify(action, course.before)
        except ActionRefused as error:
            return await self._end(course, "refused", str(error))
        except ActionFailed as error:
            return await self._end(course, "failed", str(error))
        except (MonitorError, BusError) as error:
            if datetime.now(UTC) - course.since("started") < _PATIENCE:
                raise
            return await self._end(course, "failed", str(error))
        return await self._keep(course, "verified", detail=f"{done}; {proof}")

    async def _undo(self, course: Course) -> Course:
        remedy, action = self._remedies[course.action.kind], course.action
        try:
            return await self._end(course, "undone", await remedy.undo(action, course.before))
        except ActionFailed as error:
            return await self._end(course, "failed", f"it cannot be taken back: {error}")
        except (MonitorError, BusError) as error:
            if datetime.now(UTC) - course.since("undoing") < _PATIENCE:
                raise
            return await self._end(course, "failed", f"it cannot be taken back: {error}")

    async def _end(self, course: Course, outcome: Outcome, detail: str) -> Course:
        return await self._keep(course, "done", detail, outcome=outcome, detail=detail, token=None)

    async def _keep(self, course: Course, stage: Stage, text: str = "", **changes: object) -> Course:
        """Keep the next step. Raises Overtaken where somebody else took one."""

        def step(now: Course | None) -> Course:
            if now is None or now.runner != course.runner or now.stage != course.stage:
                raise Overtaken
            return stepped(now, stage, text, **changes)

        kept = await self._store.change_course(course.action.action_id, step)
        log.info("monitor.action", action=course.action.action_id, stage=stage, text=text)
        return kept

    async def _container(self, name: str) -> Container | None:
        try:
            return await self._engine.inspect(name) if self._engine is not None else None
        except NoSuchContainer:
            return None
