"""The monitor on a real engine: processor time at rest, and how soon the end of a container is known and repaired.

    python bench/monitor.py [CONTAINERS [SECONDS [DEATHS [REPAIRS]]]]

Starts containers of nothing but a static busybox, a nats-server, and the monitor in a process of its own; measures that
process for some seconds, then lets containers end one after the other. Detection is the time from the engine's
FinishedAt to the server's time of the stored incident. At last containers of a plugin end, six at most (the budget of
ten minutes); repair is the time from the engine's FinishedAt to its next StartedAt.
"""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import sys
import tarfile
import tempfile
import time
import uuid
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import docker

from stenobus_bus import Bus, EmbeddedServer
from stenobus_bus.history import read
from stenobus_contracts import MonitorIncident
from stenobus_monitor.actions.budget import ALL
from stenobus_monitor.containers import moment

_HOST = """
import asyncio
from stenobus_bus import Bus
from stenobus_core import CoreSettings, Host
from stenobus_monitor import plugin

async def main():
    settings = CoreSettings()
    async with await Bus.connect(settings.nats_url) as bus:
        await Host(settings, bus, [plugin]).start()
        print("ready", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def image(client: Any) -> str:
    """An image of a static busybox."""
    found = shutil.which("busybox")
    if found is None:
        raise SystemExit("There is no busybox; install busybox-static.")
    context, recipe = (
        io.BytesIO(),
        b'FROM scratch\nCOPY busybox /bin/busybox\nRUN ["/bin/busybox", "--install", "/bin"]\n',
    )
    with tarfile.open(fileobj=context, mode="w") as archive:
        archive.add(found, "busybox")
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(recipe)
        archive.addfile(entry, io.BytesIO(recipe))
    context.seek(0)
    tag = f"stenobus-bench:{uuid.uuid4().hex[:8]}"
    client.images.build(fileobj=context, custom_context=True, tag=tag, rm=True)
    return tag


def processor(pid: int) -> float:
    """Seconds of processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def incidents(bus: Bus) -> dict[str, float]:
    """When the incident of each component was stored, in seconds since the epoch."""
    found: dict[str, float] = {}
    async for message in read(bus, "MONITOR", MonitorIncident.subject):
        incident = MonitorIncident.model_validate_json(message.data)
        if incident.kind == "container.crashed":
            found.setdefault(incident.component, message.timestamp / 1e9)
    return found


async def repair(container: Any) -> float:
    """Seconds from the end of a container to its next life."""
    next(iter(container.logs(stream=True, follow=True)))  # it hears of signals from here on
    container.reload()
    began = container.attrs["State"]["StartedAt"]
    container.exec_run(["/bin/kill", "-USR1", "1"], detach=True)
    while container.attrs["State"]["StartedAt"] == began:
        await asyncio.sleep(0.02)
        container.reload()
    state = container.attrs["State"]
    finished, started = moment(state["FinishedAt"]), moment(state["StartedAt"])
    assert finished is not None and started is not None
    return (started - finished).total_seconds()


async def main(count: int, seconds: float, deaths: int, repairs: int) -> None:
    """Print the figures."""
    client = docker.from_env()
    prefix, tag = f"stn-bench-{uuid.uuid4().hex[:6]}", image(client)
    folder = Path(tempfile.mkdtemp())
    server = EmbeddedServer(folder / "nats", port=0)
    url = await server.start()
    containers = []
    monitor = None
    script = "trap 'exit 3' USR1; while true; do sleep 0.2; done"
    try:
        for number in range(count):
            name = f"{prefix}-{number}"
            containers.append(client.containers.run(tag, ["/bin/sh", "-c", script], name=name, detach=True))
        environment = {
            **os.environ,
            "STENOBUS_NATS_URL": url,
            "STENOBUS_MONITOR_ENGINE": "/var/run/docker.sock",
            "STENOBUS_MONITOR_EXECUTOR": "/var/run/docker.sock",
            "STENOBUS_MONITOR_CONTAINERS": f"{prefix}-*",
        }
        monitor = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            _HOST,
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert monitor.stdout is not None
        while b"ready" not in (line := await monitor.stdout.readline()):
            assert line, "the monitor did not start"
        await asyncio.sleep(5)  # the first looks are no rest
        begin, used = time.monotonic(), processor(monitor.pid)
        await asyncio.sleep(seconds)
        part = (processor(monitor.pid) - used) / (time.monotonic() - begin)
        print(f"{count} containers at rest: {part:.1%} of one core over {seconds:g} s")
        async with await Bus.connect(url) as bus:
            late = []
            for container in containers[:deaths]:
                container.kill(signal="USR1")
                container.wait(timeout=20)
                container.reload()
                finished = moment(container.attrs["State"]["FinishedAt"])
                assert finished is not None
                while f"container:{container.name}" not in (stored := await incidents(bus)):
                    await asyncio.sleep(0.05)
                late.append(stored[f"container:{container.name}"] - finished.timestamp())
        cuts = quantiles(late, n=20, method="inclusive")
        print(f"{len(late)} deaths detected: median {cuts[9]:.2f} s, p95 {cuts[18]:.2f} s, most {max(late):.2f} s")
        took = []
        for number in range(min(repairs, ALL)):
            containers.append(
                client.containers.run(
                    tag,
                    ["/bin/sh", "-c", script.replace("USR1;", "USR1; echo ready;")],
                    name=f"{prefix}-plugin-{number}",
                    labels={"stenobus.plugin": "bench"},
                    detach=True,
                )
            )
            took.append(await repair(containers[-1]))
        print(f"{len(took)} crashes of plugins repaired: median {median(took):.2f} s, most {max(took):.2f} s")
    finally:
        if monitor is not None:
            monitor.terminate()
            await monitor.wait()
        for container in containers:
            container.remove(force=True)
        client.images.remove(tag, force=True)
        await server.stop()
        shutil.rmtree(folder)


if __name__ == "__main__":
    numbers = [float(each) for each in sys.argv[1:]] + [20, 60, 20, 6][len(sys.argv) - 1 :]
    asyncio.run(main(int(numbers[0]), numbers[1], int(numbers[2]), int(numbers[3])))
