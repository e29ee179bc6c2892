"""``stenobus-executor``: listens until it is told to end."""

from __future__ import annotations

import argparse
import asyncio
import grp
import os
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from .actions import Actions
from .approval import ApprovalRefused, read_key
from .audit import audit
from .checks import Checks
from .engine import Engine
from .ledger import Budget, Ledger
from .request import Refused
from .rules import Rules
from .server import Server

_ABOUT: Final = """The one process that holds the container engine's socket. At a socket of its own it answers a part of
the engine's HTTP interface: what containers there are and how they are, without environment, commands and strangers'
labels; and, for an action that is named and within a budget, it restarts a container or sets its limits."""
_ID: Final = re.compile(r"\b[0-9a-f]{64}\b")
#: The engine mounts them from the folder that it keeps of each container.
_MOUNTED: Final = re.compile(r"/([0-9a-f]{64})/(?:userdata/)?(?:hostname|hosts|resolv\.conf) /etc/")
_MORE: Final = """Each setting is an environment variable too: --listen is STENOBUS_EXECUTOR_LISTEN. Names may be
wildcards, separated by commas. Every refusal and every action is one JSON line on standard output."""


def parser() -> argparse.ArgumentParser:
    """Options, with the environment as their defaults."""
    found = argparse.ArgumentParser("stenobus-executor", description=_ABOUT, epilog=_MORE)

    def option(name: str, default: str, metavar: str, text: str) -> None:
        variable = "STENOBUS_EXECUTOR_" + name.upper().replace("-", "_")
        value = os.environ.get(variable) or default
        found.add_argument(f"--{name}", default=value, metavar=metavar, help=f"{text} (default: {default or 'none'})")

    option("listen", "/run/stenobus/executor.sock", "PATH", "its own socket, mode 0660")
    option("group", "", "GROUP", "name or number of the group that may use it")
    option("engine", "/var/run/docker.sock", "PATH", "the engine's socket")
    option("key", "", "PATH", "key of approvals, 32 bytes or more; nothing can be approved without")
    option("state", "/var/lib/stenobus/executor.json", "PATH", "what was done and which approvals were used")
    option("visible", "stenobus*", "NAMES", "containers that exist for those who ask")
    option(
        "restartable", "", "NAMES", "those that may be restarted and limited; with none, those labelled stenobus.plugin"
    )
    option("protected", "nats,monitor,executor", "NAMES", "names and services that need an approval")
    option("each", "3", "COUNT", "restarts of one container within --window, and changes of its limits")
    option("all", "6", "COUNT", "the same for all containers together")
    option("window", "600", "SECONDS", "see above")
    option("most-memory", str(64 * 1024**3), "BYTES", "the highest limit that may be set")
    option("most-processors", "64", "COUNT", "the same for processors")
    found.add_argument("--check", action="store_true", help="say whether engine, key and state are fine, and end")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = parser().parse_args(arguments)
    engine = Engine(Path(options.engine))
    try:
        key = read_key(Path(options.key)) if options.key else None
        budget = Budget(int(options.each), int(options.all), float(options.window))
        ledger = Ledger(Path(options.state), budget)
        rules = Rules(
            visible=_names(options.visible),
            touchable=_names(options.restartable),
            protected=_names(options.protected),
            most_memory=int(options.most_memory),
            most_processors=int(float(options.most_processors) * 1e9),
            own=own_ids(),
        )
        if options.check:
            return asyncio.run(_check(engine, key))
        checks = Checks(key)
        server = Server(engine, rules, Actions(engine, rules, ledger, checks), checks)
        asyncio.run(_serve(server, Path(options.listen), _group(options.group)))
    except (ApprovalRefused, OSError, ValueError, LookupError) as error:
        print(f"stenobus-executor: {error}", file=sys.stderr)
        return 2
    return 0


def own_ids(folder: Path = Path("/proc/self")) -> frozenset[str]:
    """Ids of the container that a process runs in, by what the engine mounted into it and by its control groups."""
    mounts = _MOUNTED.findall((folder / "mountinfo").read_text())
    return frozenset([*mounts, *_ID.findall((folder / "cgroup").read_text())])


async def _serve(server: Server, listen: Path, group: int | None) -> None:
    end = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end.set)
    async with server.listen(listen, group):
        audit(call="listen", name=str(listen), allowed=True)
        await end.wait()


async def _check(engine: Engine, key: bytes | None) -> int:
    print("key: fine" if key else "key: none, so that nothing can be approved")
    try:
        print(f"engine: {(await engine.get('/version'))['Version']} answers")
    except Refused as refused:
        print(f"engine: {refused.message}")
        return 1
    return 0


def _group(said: str) -> int | None:
    if not said:
        return None
    return int(said) if said.isdecimal() else grp.getgrnam(said).gr_gid


def _names(said: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in said.split(",") if name.strip())
