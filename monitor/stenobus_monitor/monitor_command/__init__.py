"""``stenobus monitor``: one module for each noun."""

from __future__ import annotations

import click

from ..evaluation.command import evaluate
from .actions import actions, approve
from .holds import hold, holds, unhold
from .incidents import incidents, show
from .labels import label, precision
from .serve import keys, serve
from .silences import silence, silences, unsilence


@click.group()
def monitor() -> None:
    """What is wrong with the containers, the bus and the pipeline, and why."""


for command in (
    incidents,
    show,
    label,
    precision,
    silence,
    unsilence,
    silences,
    actions,
    approve,
    hold,
    unhold,
    holds,
    serve,
    keys,
    evaluate,
):
    monitor.add_command(command)
