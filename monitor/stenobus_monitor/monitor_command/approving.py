"""``stenobus monitor approve``."""

from __future__ import annotations

import asyncio
import getpass
import time
from typing import TYPE_CHECKING, Final

import click

from .actions import said, unknown
from .asking import on_bus

if TYPE_CHECKING:
    from stenobus_bus import Bus

    from ..actions.course import Course
    from ..store import Store

#: Seconds until an approval that nobody takes is told as such, and between two looks.
_TAKEN: Final = 30.0
_LOOK: Final = 0.2
_ENDED: Final = {"failed": "has failed", "refused": "was refused"}


@click.command()
@click.argument("action_id", metavar="ACTION")
@click.option("--undo", is_flag=True, help="Take back what was done.")
@click.option("--by", default=getpass.getuser, show_default="you", help="Who approves.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Stay until it is done, and show each step.")
def approve(action_id: str, undo: bool, by: str, wait: bool) -> None:
    """Allow a proposed ACTION, or with --undo take one back.

    It is carried out once the monitor has looked again and nothing speaks against it. This signs with the key of
    approvals, STENOBUS_MONITOR_APPROVAL_KEY, which lies where people approve and not with the monitor. Exits with 1
    when the action fails or is refused. Ctrl-C ends the waiting, and nothing else.
    """
    from stenobus_bus import Envelope
    from stenobus_contracts import MonitorActionApproved

    from ..actions.approvals import ApprovalRefused, Approvals
    from ..settings import Settings

    async def give(bus: Bus, store: Store) -> None:
        course = await store.course(action_id)
        if course is None:
            raise unknown(action_id)
        key = Settings.load("monitor").approval_key
        event = MonitorActionApproved(
            action_id=action_id, approved_by=by, token=Approvals(key).grant(course, undo=undo), undo=undo
        )
        envelope = Envelope.new(event, "stenobus/monitor-approve", run=f"incident-{course.action.incident_id}")
        await bus.publish(event, envelope)
        what = "taking back" if undo else "approved"
        click.echo(f"{what}: {course.action.kind} of {course.action.target}")
        if wait:
            await _follow(store, course, envelope.id, by)
        else:
            click.echo(f"`stenobus monitor actions {action_id}` shows what comes of it.")

    try:
        on_bus(give)
    except ApprovalRefused as error:
        raise click.ClickException(str(error)) from error


async def _follow(store: Store, course: Course, event_id: str, by: str) -> None:
    """Show each step of an action until it has ended.

    Raises:
        click.ClickException: it did not end well, the approval was refused, or nobody takes it.
    """
    from ..actions.course import refusal

    begun, action_id = time.monotonic(), course.action.action_id
    while course.approval != event_id or course.stage != "done":
        if course.approval != event_id and time.monotonic() - begun > _TAKEN:
            raise click.ClickException(
                f"Nobody has taken the approval for {_TAKEN:.0f} s: does the monitor run? It takes it when it does, as "
                f"long as the approval holds; `stenobus monitor actions {action_id}` shows it."
            )
        await asyncio.sleep(_LOOK)
        now = await store.course(action_id)
        if now is None:
            raise unknown(action_id)
        for step in (each for each in now.trail if each not in course.trail):
            click.echo(said(step))
            if now.approval != event_id and step.text.startswith(refusal(by)):
                raise click.ClickException("The approval was refused, and nothing was done; the line above says why.")
        course = now
    if course.outcome not in {"succeeded", "undone"}:
        raise click.ClickException(f"The action {action_id} {_ENDED[course.outcome or 'failed']}: {course.detail}")
