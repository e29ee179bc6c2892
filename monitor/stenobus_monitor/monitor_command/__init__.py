"""``stenobus monitor``: one module for each noun."""

from __future__ import annotations

import click

from ..evaluation.command import evaluate
from .actions import actions
from .approving import approve
from .holds import hold, holds, unhold
from .incidents import incidents, show
from .labels import label, precision
from .serve import keys, serve
from .silences import silence, silences, unsilence


class _InOrder(click.Group):
    """Commands in the order in which people come to need them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """As they were added."""
        return list(self.commands)


@click.group(cls=_InOrder)
def monitor() -> None:
    """What is wrong with the containers, the bus and the pipeline, why, and what is done about it.

    These commands ask the monitor, which `STENOBUS_MONITOR_ON=true stenobus up monitor` runs. Begin with `incidents`;
    `show` explains one; `actions` are what it proposes or did, and `approve` allows one.
    """


for command in (
    incidents,
    show,
    actions,
    approve,
    hold,
    holds,
    unhold,
    silence,
    silences,
    unsilence,
    label,
    precision,
    serve,
    keys,
    evaluate,
):
    monitor.add_command(command)
