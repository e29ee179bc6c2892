"""Jobs run in processes that can be stopped at any moment and never outlive their parent."""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from stenobus_asr.errors import UnusableError, WorkerError
from stenobus_asr.jobs import listen
from stenobus_asr.workers import Workers
from stenobus_testing.waiting import eventually

from .sounds import EXAMPLE


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    workers = Workers(2, stall=30)
    yield workers
    await workers.close()
    assert not multiprocessing.active_children()


async def results(workers: Workers, job: object, *args: object) -> list[object]:
    return [item async for item in workers.run(job, *args)]


def processes() -> set[int | None]:
    return {child.pid for child in multiprocessing.active_children()}


async def test_what_a_job_yields_arrives_in_order(workers: Workers) -> None:
    assert await results(workers, range, 5) == [0, 1, 2, 3, 4]


async def test_a_process_does_one_job_after_another(workers: Workers) -> None:
    await results(workers, range, 1)
    before = processes()
    await results(workers, range, 1)
    assert processes() == before and len(before) == 1


async def test_no_more_jobs_run_at_once_than_there_are_places(workers: Workers) -> None:
    assert await asyncio.gather(*(results(workers, range, 3) for _ in range(6))) == [[0, 1, 2]] * 6
    assert len(processes()) == 2


async def test_the_error_of_a_job_arrives_as_it_was_raised(workers: Workers, tmp_path: Path) -> None:
    with pytest.raises(UnusableError, match=r"gone\.wav"):
        await results(workers, listen, tmp_path / "gone.wav", "gone.wav", 60.0, 600.0)


async def test_an_unexpected_error_says_what_it_was_and_the_process_goes_on(workers: Workers) -> None:
    await results(workers, range, 1)
    before = processes()
    with pytest.raises(WorkerError, match="TypeError: 'str' object cannot be interpreted as an integer"):
        await results(workers, range, "many")
    assert await results(workers, range, 1) == [0]
    assert processes() == before


async def test_a_process_that_dies_is_reported_and_replaced(workers: Workers) -> None:
    with pytest.raises(WorkerError, match=r"died \(signal SIGABRT\).*lack memory"):
        await results(workers, os.abort)
    assert await results(workers, range, 1) == [0]


async def test_a_process_that_dies_between_two_jobs_is_replaced(workers: Workers) -> None:
    await results(workers, range, 1)
    (idle,) = multiprocessing.active_children()
    idle.kill()
    idle.join()
    assert await results(workers, range, 1) == [0]


async def test_a_process_that_is_killed_in_the_middle_of_a_job_is_reported(workers: Workers) -> None:
    with pytest.raises(WorkerError, match="signal SIGKILL"):
        async with aclosing(workers.run(itertools.count)) as items:
            async for number in items:
                if number == 100:
                    for child in multiprocessing.active_children():
                        child.kill()


async def test_a_job_that_gives_no_sign_of_life_is_stopped() -> None:
    workers = Workers(1, stall=0.5)
    with pytest.raises(WorkerError, match="gave no sign of life"):
        await results(workers, time.sleep, 600)
    assert not processes()
    await workers.close()


async def test_a_cancelled_job_leaves_no_process(workers: Workers) -> None:
    begun = asyncio.Event()

    async def count() -> None:
        async with aclosing(workers.run(itertools.count)) as items:
            async for _ in items:
                begun.set()

    task = asyncio.create_task(count())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not processes()
    assert await results(workers, range, 1) == [0]


async def test_a_job_that_was_left_early_leaves_no_process(workers: Workers) -> None:
    async with aclosing(workers.run(itertools.count)) as items:
        assert await anext(items) == 0
    assert not processes()


PARENT = """
import asyncio
from pathlib import Path
from stenobus_asr.jobs import listen
from stenobus_asr.workers import Workers

async def main():
    workers = Workers(2, stall=60)
    await asyncio.gather(*(use(workers) for _ in range(2)))

async def use(workers):
    async for window in workers.run(listen, Path({path!r}), "talk", 10.0, 600.0):
        print("busy", flush=True)
        await asyncio.Event().wait()

if __name__ == "__main__":
    asyncio.run(main())
"""


async def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(path=str(EXAMPLE / "disk-full.ogg")))
    parent = await asyncio.create_subprocess_exec(sys.executable, script, stdout=asyncio.subprocess.PIPE)
    assert parent.stdout is not None
    for _ in range(2):
        assert await parent.stdout.readline() == b"busy\n"
    parent.send_signal(signal.SIGKILL)
    # the workers hold the same pipe: it ends when the last of them does
    assert await asyncio.wait_for(parent.stdout.read(), 60) == b""
    await parent.wait()


async def test_closing_ends_idle_processes() -> None:
    workers = Workers(1, stall=30)
    await results(workers, range, 1)
    await workers.close()
    await eventually(lambda: not processes())
