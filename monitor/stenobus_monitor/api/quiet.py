"""Silences and holds: what people want to hear nothing of, and what nobody may touch."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, ConfigDict, Field

from stenobus_core.http.door import REFUSALS

from ..actions.holds import Hold
from ..silences import Silence
from .callers import Approver, InStore, Reader, Silencer
from .incidents import Id

router: Final = APIRouter(prefix="/v1", responses=REFUSALS)
#: Seconds, at most 90 days: what is kept in the bucket is forgotten by then.
Seconds = Annotated[int, Field(ge=1, le=90 * 86_400, description="how long, in seconds")]
Pattern = Annotated[str, Field(min_length=1, max_length=200, description="wildcards allowed")]
Reason = Annotated[str, Field(max_length=1000)]


class Silences(BaseModel):
    """Silences that hold."""

    silences: list[Silence]


class Holds(BaseModel):
    """Holds that hold."""

    holds: list[Hold]


class Quiet(BaseModel):
    """Ask for a silence."""

    model_config = ConfigDict(extra="forbid")

    seconds: Seconds
    kind: Pattern = "*"
    component: Pattern = "*"
    reason: Reason = ""


class HandsOff(BaseModel):
    """Ask for a hold."""

    model_config = ConfigDict(extra="forbid")

    component: Pattern
    seconds: Seconds | None = None
    reason: Reason = ""


@router.get("/silences")
async def silences(store: InStore, _: Reader) -> Silences:
    """Silences that hold."""
    now = datetime.now(UTC)
    return Silences(silences=[each for each in await store.silences() if now < each.until])


@router.post("/silences", status_code=201)
async def silence(store: InStore, key: Silencer, wanted: Quiet) -> Silence:
    """Say nothing of some incidents for a while. They are recorded all the same."""
    until = datetime.now(UTC) + timedelta(seconds=wanted.seconds)
    made = Silence(
        id=uuid.uuid4().hex[:12],
        kind=wanted.kind,
        component=wanted.component,
        until=until,
        by=key.name,
        reason=wanted.reason,
    )
    await store.put_silence(made)
    return made


@router.delete("/silences/{silence_id}", status_code=204)
async def unsilence(store: InStore, _: Silencer, silence_id: Id) -> None:
    """End a silence at once."""
    if not await store.remove_silence(silence_id):
        raise HTTPException(404, f"There is no silence {silence_id}.")


@router.get("/holds")
async def holds(store: InStore, _: Reader) -> Holds:
    """Holds that hold."""
    now = datetime.now(UTC)
    return Holds(holds=[each for each in await store.holds() if each.until is None or now < each.until])


@router.post("/holds", status_code=201)
async def hold(store: InStore, key: Silencer, wanted: HandsOff) -> Hold:
    """Let nobody but people touch a component, until it is ended or for a while."""
    until = datetime.now(UTC) + timedelta(seconds=wanted.seconds) if wanted.seconds else None
    made = Hold(id=uuid.uuid4().hex[:12], component=wanted.component, until=until, by=key.name, reason=wanted.reason)
    await store.put_hold(made)
    return made


# It lets actions happen again, so it takes the right to allow them.
@router.delete("/holds/{hold_id}", status_code=204)
async def unhold(store: InStore, _: Approver, hold_id: Id) -> None:
    """End a hold at once."""
    if not await store.remove_hold(hold_id):
        raise HTTPException(404, f"There is no hold {hold_id}.")
