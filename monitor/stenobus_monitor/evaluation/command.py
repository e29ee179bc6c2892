"""``stenobus monitor eval``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from .case import Case
    from .outcome import Outcome


@click.command("eval")
@click.argument("paths", metavar="[CASES]...", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder of the report.")
@click.option(
    "--only", "only", multiple=True, metavar="KIND", help="Only such kinds or names of cases; may be repeated."
)
@click.option("--parallel", type=click.IntRange(1, 16), default=2, show_default=True, help="Cases at a time.")
@click.option("--repeat", type=click.IntRange(1, 20), default=1, show_default=True, help="Times all of it is run.")
@click.option("--engine", default="/var/run/docker.sock", show_default=True, help="Socket of the container engine.")
@click.option(
    "--base",
    envvar="STENOBUS_BASE",
    default=f"python:{sys.version_info[0]}.{sys.version_info[1]}-slim",
    show_default=True,
    help="Image that the containers are built on: this version of Python.",
)
@click.option("--list", "listing", is_flag=True, help="List the cases and run none.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as one JSON document.")
def evaluate(
    paths: tuple[Path, ...],
    out: Path,
    only: tuple[str, ...],
    parallel: int,
    repeat: int,
    engine: str,
    base: str,
    listing: bool,
    as_json: bool,
) -> None:
    """Break real containers and see what the monitor makes of it.

    CASES are files or folders of cases; those that come with the monitor where none is named. Containers, networks and
    volumes have names of their own and are removed, also after Ctrl-C or SIGTERM; what a run left behind that was
    killed outright, the next one removes. Exits with 2 when a goal is missed or a case could not be carried out. Needs
    `pip install 'stenobus-monitor[eval]'`.
    """
    from stenobus_core.cli.running import print_json

    from .case import load
    from .errors import EvaluationError

    try:
        cases = [case for case in load(paths) if not only or {case.kind, case.name} & set(only)]
        if not cases:
            raise EvaluationError("No case is left; see --list.")
        if listing:
            for case in cases:
                click.echo(f"{case.name:32} {case.kind:20} {case.about}")
            return
        figures = _evaluate(cases, out, parallel, repeat, engine, base, quiet=as_json)
    except EvaluationError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        print_json(figures)
    missed = any(each["met"] is False for each in figures)
    raise SystemExit(2 if missed or figures[-1]["number"] else 0)


def _evaluate(
    cases: list[Case], out: Path, parallel: int, repeat: int, engine: str, base: str, *, quiet: bool
) -> list[dict[str, object]]:
    import logging
    import os
    import time
    from dataclasses import asdict
    from datetime import UTC, datetime

    import structlog

    from .errors import EvaluationError
    from .figures import Result
    from .image import build
    from .interrupts import run_until_told
    from .leftovers import sweep
    from .report import write
    from .run import repeated
    from .score import score

    try:
        import docker
        import docker.errors

        from .plots import draw
    except ImportError as error:
        raise EvaluationError(f"{error}; pip install 'stenobus-monitor[eval]'.") from error

    def done(case: Case, outcome: Outcome) -> None:
        if not quiet:
            found = score(case, outcome)
            wrong = found.trouble or ", ".join([*found.unsafe, *found.false_alarms])
            if case.fault and not wrong:
                wrong = "" if found.cause and found.action else "wrong"
            click.echo(f"{outcome.seconds:6.1f} s  {case.name:32} {wrong or 'right'}")

    # Servers are meant to go away here: what the connections say of it is no news.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    out.mkdir(parents=True, exist_ok=True)
    begin, client = time.monotonic(), docker.DockerClient(base_url=f"unix://{engine}", timeout=60)
    try:
        client.ping()
        for name in sweep(client):
            click.echo(f"removed what a run that was killed left behind: {name}", err=True)
        image = build(client, base)
        outcomes = run_until_told(repeated(repeat, cases, client, image, engine, parallel=parallel, done=done))
        version = client.version()["Version"]
    except docker.errors.DockerException as error:
        raise EvaluationError(f"The engine at {engine} does not do its part: {error}.") from error
    finally:
        client.close()
    runs = [
        [Result(case, score(case, outcome)) for case, outcome in zip(cases, of_run, strict=True)] for of_run in outcomes
    ]
    about = {
        "when": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "engine": version,
        "processors": f"{os.cpu_count()}, load {os.getloadavg()[1]:.1f} over five minutes",
        "cases": f"{len(cases)}, {parallel} at a time, {_often(repeat)}{time.monotonic() - begin:.0f} s",
        "model": "scripted: right, wrong, invented and obedient answers, and no model at all; it judges nothing",
    }
    found = write(out, runs, outcomes, about, draw(out, [result for each in runs for result in each]))
    if not quiet:
        for each in found:
            met = {True: "", False: "  MISSED", None: ""}[each.met]
            click.echo(f"{each.name:52} {each.value:40} {each.count:16} {each.goal}{met}".rstrip())
        click.echo(f"{out / 'report.md'}, with what each figure is")
    return [asdict(each) for each in found]


def _often(repeat: int) -> str:
    return f"all of it {repeat} times, " if repeat > 1 else ""
