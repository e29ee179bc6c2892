"""``stenobus monitor actions``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from .asking import asked

if TYPE_CHECKING:
    from ..actions.course import Course, Step


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
            raise unknown(action_id)
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


def _show(course: Course) -> None:
    action = course.action
    click.echo(f"{action.kind} of {action.target} · {course.level} · {course.outcome or course.stage}")
    click.echo(f"incident {action.incident_id}: {course.reason}")
    click.echo(f"dry run: {course.dry_run}")
    if course.detail:
        click.echo(f"{course.outcome}: {course.detail}")
    for step in course.trail:
        click.echo(said(step))
    if course.objection(datetime.now(UTC)) is None:
        until = f"{course.expires_at.astimezone():%Y-%m-%d %H:%M:%S}"
        click.echo(f"until {until}: `stenobus monitor approve {action.action_id}` has it done")
    elif course.objection(datetime.now(UTC), undo=True) is None:
        click.echo(f"`stenobus monitor approve {action.action_id} --undo` takes it back")
    elif course.stage == "proposed":
        click.echo(str(course.objection(datetime.now(UTC))))


def said(step: Step) -> str:
    """One step, in a line."""
    return f"  {step.at.astimezone():%Y-%m-%d %H:%M:%S} {step.stage}" + (f": {step.text}" if step.text else "")


def _document(course: Course) -> dict[str, object]:
    """As JSON, without what approves it."""
    return course.model_dump(mode="json", exclude_none=True, exclude={"token", "runner"})


def unknown(action_id: str) -> click.ClickException:
    """There is no such action."""
    return click.ClickException(f"There is no action {action_id}; see `stenobus monitor actions`.")
