"""Actions and their approval: by a key, or by the link of an alert.

The link's token is the right to approve that one action, once. Opening the link only shows what would be done, so that
a scanner of links approves nothing; the button of that page sends the token. Whoever handles
``monitor.action.approved`` checks it; here it is published and nothing else.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Final, Literal
from urllib.parse import parse_qs

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict, Field

from stenobus_bus import Bus
from stenobus_bus.envelope import Envelope, derived_id
from stenobus_contracts import MonitorActionApproved
from stenobus_core.http.door import REFUSALS, slow_down

from ..account import Deed
from ..actions.approvals import ApprovalRefused, Approvals
from ..actions.course import Course
from ..labels import SOURCE
from ..store import Store
from .callers import Approver, InStore, OnBus, Reader
from .incidents import Id
from .page import approved_page, asking_page, trouble_page

router: Final = APIRouter(prefix="/v1", responses=REFUSALS)
_SIGNED: Final = r"^[A-Za-z0-9._~-]{1,200}$"
#: Requests a minute with links: of all addresses, and of each.
_LINKS: Final = 120
_LINKS_EACH: Final = 20
Token = Annotated[str, Field(pattern=_SIGNED, description="of the alert's link")]


class Actions(BaseModel):
    """Actions, the latest first."""

    actions: list[Deed]
    next: str | None


class Approval(BaseModel):
    """Allow an action. Without a token, the monitor's own key signs, where it is there."""

    model_config = ConfigDict(extra="forbid")

    token: Token | None = None
    undo: bool = Field(default=False, description="take back what was done, for which the token has to be")


class Accepted(BaseModel):
    """The approval is on its way; the action's own record says what comes of it."""

    action_id: str
    approved_by: str


@router.get("/actions")
async def listed(
    store: InStore,
    _: Reader,
    stage: Literal["proposed", "done", "all"] = "all",
    incident: Annotated[str | None, Query(max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    after: Annotated[str | None, Query(max_length=64, description="`next` of the page before")] = None,
) -> Actions:
    """List actions that were proposed or done."""
    courses = [
        course
        for course in reversed(await store.courses())
        if stage in {"all", course.stage} and incident in {None, course.action.incident_id}
    ]
    if after is not None:
        ids = [course.action.action_id for course in courses]
        if after not in ids:
            raise HTTPException(422, "after: take it from `next` of the page before.")
        courses = courses[ids.index(after) + 1 :]
    following = courses[limit - 1].action.action_id if len(courses) > limit else None
    return Actions(actions=[Deed.of(course) for course in courses[:limit]], next=following)


@router.get("/actions/{action_id}")
async def shown(store: InStore, _: Reader, action_id: Id) -> Deed:
    """One action, and what has become of it."""
    return Deed.of(await _course(store, action_id))


@router.get("/actions/{action_id}/approve", response_class=HTMLResponse)
async def ask(
    request: Request, store: InStore, action_id: Id, token: Annotated[str, Query(pattern=_SIGNED)]
) -> HTMLResponse:
    """The page of an alert's link. It approves nothing."""
    _slow_down(request)
    course = await _course(store, action_id)
    deed, trouble = Deed.of(course), _trouble(course)
    return trouble_page(deed, trouble) if trouble else asking_page(deed, token)


@router.post("/actions/{action_id}/approve", status_code=202)
async def approve(
    request: Request, store: InStore, bus: OnBus, key: Approver, action_id: Id, wanted: Approval
) -> Accepted:
    """Approve an action, or that what it did is taken back."""
    course = await _course(store, action_id)
    if trouble := _trouble(course, undo=wanted.undo):
        raise HTTPException(409, trouble)
    approvals: Approvals = request.app.state.approvals
    try:
        token = wanted.token or approvals.grant(course, undo=wanted.undo)
    except ApprovalRefused as error:
        raise HTTPException(409, f"{error} Send the token of the alert's link.") from None
    await _publish(bus, course, key.name, token, undo=wanted.undo)
    return Accepted(action_id=action_id, approved_by=key.name)


@router.post("/actions/{action_id}/approve/link", include_in_schema=False)
async def approve_by_link(request: Request, store: InStore, bus: OnBus, action_id: Id) -> HTMLResponse:
    """The button of the link's page."""
    _slow_down(request)
    try:
        token = parse_qs((await request.body()).decode("ascii"), max_num_fields=5)["token"][0]
    except (ValueError, KeyError):
        token = ""
    if not re.fullmatch(_SIGNED, token):
        raise HTTPException(422, "token: take it from the link of the alert.")
    course = await _course(store, action_id)
    if trouble := _trouble(course):
        return trouble_page(Deed.of(course), trouble)
    await _publish(bus, course, "link", token)
    return approved_page(Deed.of(course))


async def _publish(bus: Bus, course: Course, by: str, token: str, *, undo: bool = False) -> None:
    """Once for each approval, however often the button is pressed."""
    action = course.action
    event = MonitorActionApproved(action_id=action.action_id, approved_by=by, token=token, undo=undo)
    event_id = derived_id("approved", action.action_id, token)
    await bus.publish(event, Envelope.new(event, SOURCE, run=f"incident-{action.incident_id}", id=event_id))


async def _course(store: Store, action_id: str) -> Course:
    course = await store.course(action_id)
    if course is None:
        raise HTTPException(404, f"There is no action {action_id}.")
    return course


def _trouble(course: Course, *, undo: bool = False) -> str | None:
    """Why it cannot be approved now; whether a token holds is not looked at here."""
    if undo:
        return None if course.outcome in {"succeeded", "failed"} else "There is nothing to take back."
    if course.stage != "proposed":
        return f"The action is {course.outcome or course.stage} already."
    if course.level != "approve":
        return f"The action's level is {course.level}: nobody can approve it."
    if datetime.now(UTC) >= course.expires_at:
        return "The proposal has expired."
    return None


def _slow_down(request: Request) -> None:
    request.state.caller = "link"
    slow_down(request.app.state.pace, "link", _LINKS)
    slow_down(request.app.state.pace, f"link {request.client.host if request.client else ''}", _LINKS_EACH)
