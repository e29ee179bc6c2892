"""Dramatiq on Redis with its default worker threads.

python dramatiq_redis.py PORT EVENTS
"""

from __future__ import annotations

import sys
import threading
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from work import First, Watch


def main(port: int, total: int) -> None:
    broker = RedisBroker(host="127.0.0.1", port=port)
    dramatiq.set_broker(broker)
    finished, lock = threading.Event(), threading.Lock()

    @dramatiq.actor(queue_name="bench")
    def nothing(event: dict[str, Any]) -> None:
        First.model_validate(event)
        with lock:
            watch()

    for number in range(total):
        nothing.send(First(number=number).model_dump())
    worker = dramatiq.Worker(broker, worker_timeout=100)
    watch = Watch(total, finished.set)
    worker.start()
    finished.wait()
    worker.stop()


main(int(sys.argv[1]), int(sys.argv[2]))
