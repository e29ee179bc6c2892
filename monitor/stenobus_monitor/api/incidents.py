"""Incidents, and labels for them."""

from __future__ import annotations

from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Annotated, Final, Literal

from fastapi import APIRouter, HTTPException, Path, Query
from pydantic import BaseModel

from stenobus_contracts import MonitorDiagnosed, MonitorIncident, Severity
from stenobus_core.http.door import REFUSALS

from ..account import Account, Deed
from ..errors import LabelRefused
from ..labels import Label, Said, label, publish
from ..store import Store
from .callers import InStore, Labeller, OnBus, Reader

router: Final = APIRouter(prefix="/v1", responses=REFUSALS)
Id = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Wildcard = Annotated[str, Query(max_length=200, description="wildcards allowed")]


class Incidents(BaseModel):
    """Incidents, the latest first."""

    incidents: list[MonitorIncident]
    next: str | None


class Known(BaseModel):
    """One incident and what belongs to it."""

    incident: MonitorIncident
    diagnosis: MonitorDiagnosed
    actions: list[Deed]
    label: Label | None


@router.get("/incidents")
async def listed(
    store: InStore,
    _: Reader,
    status: Literal["open", "resolved", "all"] = "open",
    kind: Wildcard = "*",
    component: Wildcard = "*",
    severity: Severity | None = None,
    since: datetime | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    after: Annotated[str | None, Query(max_length=64, description="`next` of the page before")] = None,
) -> Incidents:
    """List incidents."""
    begin = since.astimezone(UTC) if since else None
    found = [
        entry.incident
        for entry in reversed(await store.incidents())
        if entry.status != "waiting"
        and status in {"all", entry.incident.status}
        and fnmatchcase(entry.incident.kind, kind)
        and fnmatchcase(entry.incident.component, component)
        and severity in {None, entry.incident.severity}
        and (begin is None or entry.incident.started_at >= begin)
    ]
    if after is not None:
        last = await _known(store, after)
        found = [each for each in found if _place(each) < _place(last.incident)]
    found.sort(key=_place, reverse=True)
    return Incidents(incidents=found[:limit], next=found[limit - 1].incident_id if len(found) > limit else None)


@router.get("/incidents/{incident_id}")
async def shown(store: InStore, _: Reader, incident_id: Id) -> Known:
    """One incident: its evidence, probable cause, actions and label."""
    account = await _known(store, incident_id)
    return Known(
        incident=account.incident, diagnosis=account.diagnosis, actions=list(account.deeds), label=account.label
    )


@router.post("/incidents/{incident_id}/label")
async def labelled(store: InStore, bus: OnBus, key: Labeller, incident_id: Id, said: Said) -> Label:
    """Say whether the diagnosis was right, and what became of the action. The last word stands."""
    try:
        made = label(await _known(store, incident_id), said, key.name, datetime.now(UTC))
    except LabelRefused as error:
        raise HTTPException(422, str(error)) from error
    await store.put_label(made)
    await publish(bus, made)
    return made


async def _known(store: Store, incident_id: str) -> Account:
    account = await Account.read(store, incident_id)
    if account is None:
        raise HTTPException(404, f"There is no incident {incident_id}.")
    return account


def _place(incident: MonitorIncident) -> tuple[datetime, str]:
    return incident.started_at, incident.incident_id
