"""Celery on Redis, acknowledged when done: one child process, its default kind.

python celery_redis.py PORT EVENTS
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from celery import Celery
from work import First, Watch

port, total = int(sys.argv[1]), int(sys.argv[2])
app = Celery("bench", broker=f"redis://127.0.0.1:{port}/1")
app.conf.update(task_acks_late=True, task_ignore_result=True, worker_prefetch_multiplier=100)


def parent_seconds() -> float:
    """Processor seconds of the process that feeds this one."""
    fields = Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def finish() -> None:
    os.kill(os.getppid(), 9)  # what it does at a stop is not measured


watch: Watch | None = None


@app.task
def nothing(event: dict[str, Any]) -> None:
    global watch
    if watch is None:
        watch = Watch(total, finish, also=parent_seconds)
    First.model_validate(event)
    watch()


for number in range(total):
    nothing.delay(First(number=number).model_dump())
app.worker_main(["worker", "--concurrency=1", "--loglevel=ERROR", "--without-gossip", "--without-mingle"])
