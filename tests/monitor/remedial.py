"""What tests of remedies need: a bus with the monitor's bucket, a run record to write, and actions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from stenobus_bus import Bus, apply
from stenobus_bus.topology import key_value
from stenobus_contracts import Action
from stenobus_core.runs import Runs, Step, Try
from stenobus_core.services import topology
from stenobus_monitor.store import BUCKET, Store


async def opened(bus: Bus) -> tuple[Store, Runs]:
    """The monitor's bucket and the run record, with every stream and bucket of the host's."""
    await apply(bus, [*topology("stenobus"), key_value(BUCKET)])
    return await Store.open(bus), await Runs.open(bus)


def action(kind: str, target: str, **parameters: Any) -> Action:
    return Action(action_id="a1", incident_id="i1", kind=kind, target=target, parameters=parameters)


def now() -> datetime:
    return datetime.now(UTC)


def killed(attempt: int, ago: float) -> Try:
    """An attempt that ended with its process."""
    return Try(attempt=attempt, started=now() - timedelta(seconds=ago), error="the process ended")


def failed(attempt: int, ago: float) -> Try:
    """An attempt that ended in an error."""
    return Try(attempt=attempt, started=now() - timedelta(seconds=ago), seconds=0.1, error="no")


async def record(runs: Runs, handler: str, event: str, status: Any, *tries: Try, **more: Any) -> Step:
    """Write a step as a handler's process writes it."""
    last = tries[-1].attempt if tries else 0
    step = Step.model_validate(
        {
            "run": f"run-{event}",
            "handler": handler,
            "event_id": event,
            "subject": "asr.done",
            "status": status,
            "attempt": last + 1,
            "changed": now(),
            "tries": tries,
            **more,
        }
    )
    assert await runs.put(step)
    return step
