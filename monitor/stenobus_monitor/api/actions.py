"""Actions and their approval, by those whose API key has the right to it: by a program, or on the page of a link.

Here approvals are signed and published, and nothing else: whoever handles ``monitor.action.approved`` has them checked.
Opening a link approves nothing and tells nothing. Its page asks for a key, then shows what would be done, with a
button; key and button's confirmation come in bodies alone, so that no address, log or browser's memory has them.
"""

from __future__ import annotations

from collections.abc import Mapping
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
from ..actions.approvals import ApprovalRefused, Approvals, name
from ..actions.course import Course
from ..labels import SOURCE
from ..store import Store
from .callers import Approver, InStore, OnBus, Reader
from .confirmations import Confirmations
from .incidents import Id
from .keys import Key, Keys
from .page import approved_page, asking_page, key_page, trouble_page

router: Final = APIRouter(prefix="/v1", responses=REFUSALS)
_SIGNED: Final = r"^[A-Za-z0-9._~-]{1,200}$"
#: Requests a minute with links: of all addresses, and of each.
_LINKS: Final = 120
_LINKS_EACH: Final = 20
#: A button of the link's page.
Pressed = Literal["approve", "undo"]
Token = Annotated[str, Field(pattern=_SIGNED, description="an approval that was signed elsewhere")]


class Actions(BaseModel):
    """Actions, the latest first."""

    actions: list[Deed]
    next: str | None


class Approval(BaseModel):
    """Allow an action. Without a token it is signed here, where the key of approvals is."""

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
async def ask(request: Request, action_id: Id) -> HTMLResponse:
    """The page of an alert's link, for every action there may be. It approves nothing."""
    _slow_down(request)
    return key_page("approve/page")


@router.post("/actions/{action_id}/approve", status_code=202)
async def approve(
    request: Request, store: InStore, bus: OnBus, key: Approver, action_id: Id, wanted: Approval
) -> Accepted:
    """Approve an action, or that what it did is taken back."""
    course = await _course(store, action_id)
    if trouble := course.objection(datetime.now(UTC), undo=wanted.undo):
        raise HTTPException(409, trouble)
    approvals: Approvals = request.app.state.approvals
    try:
        token = wanted.token or approvals.grant(course, undo=wanted.undo)
    except ApprovalRefused as error:
        raise HTTPException(
            409, f"Nothing can be signed here: {error} Send a token that was signed elsewhere."
        ) from None
    await _publish(bus, course, key.name, token, undo=wanted.undo, once=token)
    return Accepted(action_id=action_id, approved_by=key.name)


@router.post("/actions/{action_id}/approve/page", include_in_schema=False)
async def approve_by_page(request: Request, store: InStore, bus: OnBus, action_id: Id) -> HTMLResponse:
    """The two forms of the link's page: a key shows the action, the button below it approves, or takes it back."""
    _slow_down(request)
    form = await _form(request)
    key, pressed = _shown(request, form, action_id)
    if key is None:
        again = "That took too long, or the key is gone: once more." if pressed else "That was no valid key."
        return key_page("page", again, 401)
    request.state.caller = key.name
    slow_down(request.app.state.pace, key.name, key.per_minute)
    if "approve" not in key.scopes:
        return key_page("page", f"The key {key.name} has no right to approve.", 403)
    course, now = await _course(store, action_id), datetime.now(UTC)
    undo = pressed == "undo" if pressed else course.objection(now, undo=True) is None
    deed, approvals = Deed.of(course), request.app.state.approvals
    if trouble := course.objection(now, undo=undo):
        return trouble_page(deed, trouble)
    try:
        if pressed is None:
            confirmation = Confirmations(approvals.read()).give(key.id, name(action_id, undo))
            return asking_page(deed, key.name, confirmation, undo=undo)
        token = approvals.grant(course, undo=undo)
    except ApprovalRefused as error:
        return trouble_page(deed, f"Nothing can be signed here: {error}")
    # The token to take something back is another one each time, so that it does not tell one press from the next.
    await _publish(bus, course, key.name, token, undo=undo, once=form["confirmation"] if undo else token)
    return approved_page(deed)


def _shown(request: Request, form: Mapping[str, str], action_id: str) -> tuple[Key | None, Pressed | None]:
    """The key that was shown, None for none; and which button was pressed, None for none."""
    keys: Keys = request.app.state.keys
    approvals: Approvals = request.app.state.approvals
    if "confirmation" not in form:
        return keys.find(form.get("key", "").strip()), None
    try:
        confirmations = Confirmations(approvals.read())
    except ApprovalRefused:
        return None, "approve"
    # Which button it was, it says itself: between page and press the action may have been done.
    buttons: tuple[Pressed, ...] = ("approve", "undo")
    for button in buttons:
        known = confirmations.taken(form["confirmation"], name(action_id, button == "undo"))
        if known is not None:
            return next((key for key in keys.all() if key.id == known and not key.expired), None), button
    return None, "approve"


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form, each once; none of what is no form."""
    try:
        found = parse_qs((await request.body()).decode("ascii"), max_num_fields=5)
    except ValueError:
        return {}
    return {name: values[0] for name, values in found.items()}


async def _publish(bus: Bus, course: Course, by: str, token: str, *, undo: bool, once: str) -> None:
    """Once for each approval, however often the button is pressed."""
    action = course.action
    event = MonitorActionApproved(action_id=action.action_id, approved_by=by, token=token, undo=undo)
    event_id = derived_id("approved", action.action_id, once)
    await bus.publish(event, Envelope.new(event, SOURCE, run=f"incident-{action.incident_id}", id=event_id))


async def _course(store: Store, action_id: str) -> Course:
    course = await store.course(action_id)
    if course is None:
        raise HTTPException(404, f"There is no action {action_id}.")
    return course


def _slow_down(request: Request) -> None:
    request.state.caller = "link"
    slow_down(request.app.state.pace, "link", _LINKS)
    slow_down(request.app.state.pace, f"link {request.client.host if request.client else ''}", _LINKS_EACH)
