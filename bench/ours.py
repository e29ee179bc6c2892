"""Stenobus on the work of ``peers/work.py``, in a process of its own like every peer.

python ours.py URL EVENTS noop|onward default|untracked|bare
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import uuid
from pathlib import Path

import structlog
from options import OPTIONS

from stenobus_bus import Bus
from stenobus_core import CoreSettings
from stenobus_core.bench import handle, passing, resting


async def main(url: str, total: int, kind: str, options: str) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    name = f"ours-{uuid.uuid4().hex[:8]}"
    more = {"concurrency": 100, **OPTIONS[options]}
    plugins = [resting(name, **more)] if kind == "noop" else passing(name, 1, **more)
    with tempfile.TemporaryDirectory() as folder:
        settings = CoreSettings(data_dir=Path(folder), nats_url=url)
        async with await Bus.connect(url) as bus:
            rate = await handle(settings, bus, plugins, total)
    print(json.dumps({"events": rate.events, "seconds": rate.seconds, "processor": rate.processor}))


asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]))
