"""``stenobus monitor actions`` and ``stenobus monitor approve``."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING

import click

from .asking import asked, on_bus

if TYPE_CHECKING:
    from stenobus_bus import Bus

    from ..actions.course import Course
    from ..store import Store


@click.command()
@click.argument("action_id", metavar="[ACTION]", required=False)
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="The latest so many.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def actions(action_id: str | None, limit: int, as_json: bool) -> None:
    """List what was proposed or done; or show one ACTION.

    The latest comes last. One is shown with its dry run and each step.
    """
    from stenobus_core.cli.running import print_json

    if action_id is not None:
        one = asked(lambda store: store.course(action_id))
        if one is None:
            raise _unknown(action_id)
        if as_json:
            print_json(_document(one))
        else:
            _show(one)
        return
    found = asked(lambda store: store.courses())[-limit:]
    if as_json:
        print_json([_document(each) for each in found])
        return
    for each in found:
        action, at = each.action, each.trail[0].at.astimezone()
        state = each.outcome or each.stage
        click.echo(
            f"{action.action_id}  {at:%m-%d %H:%M:%S}  {each.level:9}  {state:9}  {action.kind} of {action.target}"
        )
    if not found:
        click.echo("Nothing was ever proposed.")


@click.command()
@click.argument("action_id", metavar="ACTION")
@click.option("--undo", is_flag=True, help="Take back what was done.")
@click.option("--token", help="As in an alert's link; signed with the key of the settings when absent.")
@click.option("--by", default=getpass.getuser, show_default="you", help="Who approves.")
def approve(action_id: str, undo: bool, token: str | None, by: str) -> None:
    """Allow a proposed ACTION, or with --undo take one back.

    It is carried out once the monitor has looked again and nothing speaks against it; `stenobus monitor actions ACTION`
    shows what comes of it. Without --token this signs with the key of approvals, STENOBUS_MONITOR_APPROVAL_KEY.
    """
    from stenobus_bus import Envelope
    from stenobus_contracts import MonitorActionApproved

    from ..actions.approvals import ApprovalRefused, Approvals
    from ..settings import Settings

    settings = Settings.load("monitor")

    async def give(bus: Bus, store: Store) -> Course | None:
        course = await store.course(action_id)
        if course is None:
            return None
        signed = token or Approvals(settings.approval_key).grant(course, undo=undo)
        event = MonitorActionApproved(action_id=action_id, approved_by=by, token=signed, undo=undo)
        run = f"incident-{course.action.incident_id}"
        await bus.publish(event, Envelope.new(event, "stenobus/monitor-approve", run=run))
        return course

    try:
        course = on_bus(give)
    except ApprovalRefused as error:
        raise click.ClickException(str(error)) from error
    if course is None:
        raise _unknown(action_id)
    what = "taking back" if undo else "approved"
    click.echo(
        f"{what}: {course.action.kind} of {course.action.target}; `stenobus monitor actions {action_id}` shows it."
    )


def _show(course: Course) -> None:
    action = course.action
    click.echo(f"{action.kind} of {action.target} · {course.level} · {course.outcome or course.stage}")
    click.echo(f"incident {action.incident_id}: {course.reason}")
    click.echo(f"dry run: {course.dry_run}")
    if course.stage == "proposed":
        click.echo(f"holds until {course.expires_at.astimezone():%Y-%m-%d %H:%M:%S}")
    if course.detail:
        click.echo(f"{course.outcome}: {course.detail}")
    for step in course.trail:
        click.echo(f"  {step.at.astimezone():%Y-%m-%d %H:%M:%S} {step.stage}" + (f": {step.text}" if step.text else ""))


def _document(course: Course) -> dict[str, object]:
    """As JSON, without what approves it."""
    return course.model_dump(mode="json", exclude_none=True, exclude={"token", "runner"})


def _unknown(action_id: str) -> click.ClickException:
    return click.ClickException(f"There is no action {action_id}; see `stenobus monitor actions`.")
