"""Progress of a run, stage by stage: live bars on a terminal, one line per change elsewhere. Always on stderr."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from stenobus_contracts import LlmRequest

from ..runs import Step
from ..watching import WAITING

#: A character for each status.
MARKS = {"running": "…", "retrying": "↻", "done": "✓", "failed": "✗"}


class Progress:
    """Shows the steps of one run.

    Args:
        expected: handlers in the order in which the run will reach them.
        enabled: show anything at all.
    """

    def __init__(self, expected: Sequence[str], *, enabled: bool = True) -> None:
        self._console = Console(stderr=True, highlight=False, markup=False, quiet=not enabled)
        self._live = enabled and self._console.is_terminal
        self._bars = Bars(
            TextColumn("{task.fields[mark]} {task.description:<20}"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", style="dim", markup=False),
            console=self._console,
        )
        self._tasks: dict[str, TaskID] = {}
        self._said: dict[str, tuple[str, str]] = {}
        #: The latest of each event's steps: a request to a model is shown with the stage that asked.
        self._asking: dict[str, Step] = {}
        if self._live:
            for name in expected:
                self._add(name)

    def __enter__(self) -> Self:
        if self._live:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._bars.stop()

    def update(self, step: Step) -> None:
        """Show a change."""
        if step.subject in LlmRequest.subjects():
            asker, said = self._asking.get(step.causation or ""), step.message or ""
            if asker is not None and asker.status == step.status == "running" and said.startswith(WAITING):
                self._show(asker, said)
            return  # the rest shows in its stage's own progress
        self._asking[step.event_id] = step
        self._show(step, "from cache" if step.cached else step.message or "")

    def _show(self, step: Step, note: str) -> None:
        if self._live:
            self._draw(step, note)
        elif self._said.get(step.key) != (step.status, note):
            self._said[step.key] = (step.status, note)
            took = f" in {step.seconds:.1f} s" if step.seconds is not None else ""
            self._console.print(
                f"{MARKS[step.status]} {step.handler}{took}{f': {note}' if note else ''}", soft_wrap=True
            )

    def _add(self, name: str) -> TaskID:
        self._tasks[name] = self._bars.add_task(name, total=1.0, start=False, mark=" ", note="")
        return self._tasks[name]

    def _draw(self, step: Step, note: str) -> None:
        task = self._tasks.get(step.handler) if step.handler in self._tasks else self._add(step.handler)
        assert task is not None
        if not self._bars.tasks[self._bars.task_ids.index(task)].started:
            self._bars.start_task(task)
        self._bars.update(task, completed=step.progress, mark=MARKS[step.status], note=note)
        if step.status in {"done", "failed"}:
            self._bars.stop_task(task)
