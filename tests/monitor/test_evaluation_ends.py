"""An evaluation that is told to end, or killed, leaves nothing behind; and one that lives loses nothing to another."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from stenobus_monitor.evaluation.leftovers import NAME, new_folder, sweep
from stenobus_monitor.evaluation.monitor import plugins
from stenobus_monitor.evaluation.owner import LABEL, OWNER, gone, mine
from stenobus_monitor.evaluation.process import to_its_end
from stenobus_testing import eventually, still

from ..support.engine import base_image, engine

#: A case that lasts until somebody ends it.
LONG = """
[[case]]
name = "long"
kind = "no-fault"
about = "Nothing is wrong, for minutes"
fault = false
services = [{ name = "worker", plugins = ["probe"] }, { name = "cache", command = "sleep 600", volume = "/small" }]
steps = [{ do = "wait", after = 500 }]
"""
MINUTES = 200.0
#: The executor, and the plugins beside the containers.
PROCESSES = 1 + len(plugins())


class Run:
    """`stenobus monitor eval` in a process of its own."""

    def __init__(self, client: Any, folder: Path, base: str) -> None:
        self.client = client
        folder.mkdir()
        (folder / "long.toml").write_text(LONG)
        code = "from stenobus_core.cli import main; main()"
        options = ["--out", str(folder / "out"), "--base", base]
        command = [sys.executable, "-c", code, "monitor", "eval", str(folder / "long.toml"), *options]
        with (folder / "said").open("wb") as said:
            self.process = subprocess.Popen(command, stdout=said, stderr=said)

    def containers(self) -> list[str]:
        found = self.client.containers.list(all=True, filters={"label": LABEL}, ignore_removed=True)
        return [each.name for each in found if self._ours(each.name)]

    def remains(self) -> list[str]:
        """Everything of its that is there: on the engine, in the folder of temporary files, among the processes."""
        filters = {"label": LABEL}
        found = [*self.client.networks.list(filters=filters), *self.client.volumes.list(filters=filters)]
        folders = [path.name for path in Path(tempfile.gettempdir()).glob(f"{NAME}-*")]
        return [*self.containers(), *filter(self._ours, [each.name for each in found] + folders), *self.children()]

    def children(self) -> list[str]:
        """Working folders of the monitor and the executor."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                found.append((entry / "cwd").readlink().name)
            except OSError:
                continue
        return [name for name in found if self._ours(name)]

    def tell(self, number: int) -> int:
        """Send it a signal. Returns how it ended."""
        self.process.send_signal(number)
        return self.process.wait(MINUTES)

    def _ours(self, name: str) -> bool:
        return name.startswith(f"{NAME}-{self.process.pid}-")


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Any]:
    client = engine()
    pytest.importorskip("matplotlib")
    base, begun = base_image(client), []

    def begin() -> Run:
        begun.append(Run(client, tmp_path / f"run-{len(begun)}", base))
        return begun[-1]

    yield begin
    for run in begun:
        run.process.kill()
        run.process.wait()
    sweep(client)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
async def test_told_to_end_it_removes_everything_first(runs: Any, number: int, code: int) -> None:
    run = runs()
    await eventually(run.containers, within=MINUTES)  # it is in the middle of making more
    assert run.tell(number) == code
    assert run.remains() == []


@pytest.mark.timeout(600)
async def test_what_a_killed_run_left_goes_and_what_lives_stays(runs: Any) -> None:
    killed = runs()
    await eventually(lambda: len(killed.children()) == PROCESSES and len(killed.containers()) == 3, within=MINUTES)
    killed.tell(signal.SIGKILL)
    assert len(killed.remains()) > 5, "a killed process tidies nothing up"

    living = runs()
    await eventually(lambda: len(living.children()) == PROCESSES, within=MINUTES)
    assert killed.remains() == []
    sweep(engine())
    assert len(living.children()) == PROCESSES and len(living.containers()) == 3
    assert living.tell(signal.SIGTERM) == 143
    assert living.remains() == []


async def test_what_a_thread_is_making_is_waited_for() -> None:
    begun, may_end, made = threading.Event(), threading.Event(), []

    def work() -> None:
        begun.set()
        may_end.wait(60)
        made.append("container")

    task = asyncio.create_task(to_its_end(work))
    await asyncio.to_thread(begun.wait)
    task.cancel()
    await still(lambda: not task.done(), 0.2)
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert made == ["container"]


def test_what_nobody_here_can_know_the_owner_of_goes_when_it_is_old() -> None:
    now, elsewhere = datetime.now(UTC), f"elsewhere-1/{os.getpid()}/x"
    for mark in (None, "", "nonsense", elsewhere):
        assert not gone(mark, now) and not gone(mark, None) and gone(mark, now - timedelta(days=2))


def test_a_process_that_has_the_number_of_a_dead_one_is_another() -> None:
    place, number, began = mine().split("/")
    old = datetime.now(UTC) - timedelta(days=9)
    assert not gone(mine(), old)
    assert gone(f"{place}/{number}/{began}1", datetime.now(UTC))


def test_a_folder_that_is_a_link_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "owner").write_text(mine() + "1")
    link = Path(tempfile.gettempdir()) / f"{NAME}-{os.getpid()}-link"
    link.symlink_to(tmp_path / "kept")
    try:
        sweep(engine())
        assert (tmp_path / "kept" / "owner").exists()
    finally:
        link.unlink()


def test_a_shell_that_looks_at_what_was_left_lives_on() -> None:
    folder = new_folder(f"{NAME}-{os.getpid()}-looked-at")
    (folder / "owner").write_text(mine() + "1")
    shell = subprocess.Popen(["sleep", "600"], cwd=folder)
    try:
        sweep(engine())
        assert not folder.exists() and shell.poll() is None
    finally:
        shell.kill()
        shell.wait()


def test_a_container_of_somebody_elses_with_our_label_stays() -> None:
    client = engine()
    base = base_image(client)
    dead = mine() + "1"
    made = [
        client.containers.create(base, ["true"], labels={LABEL: value, OWNER: dead})
        for value in ("image", f"{NAME}-1-abc")
    ]
    try:
        gone_by_now = sweep(client)
        assert made[1].name in gone_by_now and made[0].name not in gone_by_now
    finally:
        made[0].remove()
