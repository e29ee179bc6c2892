"""Run stores: where the record of runs is kept.

The bucket on the bus is the record that everything works with: handlers write it, ``status``, ``trace`` and ``top``
read it. Further stores keep a copy beyond the bus's own life, made by :mod:`stenobus_core.mirror`. All speak this port.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.metadata import entry_points
from typing import Final, Protocol

from .errors import PluginError
from .runs import Step
from .settings import CoreSettings

#: Entry point group of further stores: name = the store's, value = a function from the settings to the store, or to
#: None when nobody set it up.
GROUP: Final = "stenobus.run_stores"


class RunStore(Protocol):
    """Keeps the latest state of each step of each run."""

    def put(self, step: Step) -> Awaitable[bool]:
        """Write a step's state; putting it twice stores it once.

        Returns:
            Whether it is stored now: a store of copies refuses a state that is not newer (:attr:`Step.order`) than the
            one it has.
        """
        ...

    async def steps(self, run: str) -> list[Step]:
        """The steps of a run in order of their start; none when the run is not known."""
        ...

    async def latest(self, limit: int) -> list[str]:
        """Names of the runs that began last, the newest first."""
        ...

    async def close(self) -> None:
        """Release what the store holds."""
        ...


class Copies(RunStore, Protocol):
    """A store beside the bus.

    Its methods raise :class:`~stenobus_core.RetryableError` for what may pass by itself, and
    :class:`~stenobus_core.PermanentError` when somebody has to change something first. Who calls them tries again;
    they do not.
    """

    async def check(self) -> None:
        """Raise when it cannot be used as it is set up; the message says what to do."""
        ...


Factory = Callable[[CoreSettings], Copies | None]


def copies(settings: CoreSettings) -> dict[str, Copies]:
    """The further stores that are installed and set up, by name. None of them is connected to yet.

    Raises:
        PluginError: one is set up wrongly.
    """
    found = {}
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        try:
            factory: Factory = point.load()
            store = factory(settings)
        except Exception as error:  # a stranger's module can raise anything
            raise PluginError(f"The run store {point.name} cannot start: {error}") from error
        if store is not None:
            found[point.name] = store
    return found
