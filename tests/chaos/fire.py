"""Processes under fire: what is started, killed, paused and cut off, and what must be true of it afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from stenobus_bus import Bus, BusError, ServerUnavailable, apply, ledger
from stenobus_bus.dead_letters import letters
from stenobus_bus.direct import messages
from stenobus_bus.history import read
from stenobus_bus.topology import StreamSpec
from stenobus_core.services import topology

from ..support.cluster import Cluster, Node
from ..support.proxy import Proxy
from .chain import CONCURRENCY, HANDLERS, Last, notes

SECONDS = float(os.environ.get("STENOBUS_CHAOS_SECONDS", "5"))
SEED = int(os.environ.get("STENOBUS_CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)
#: Seconds without a sign of life after which the server delivers again.
ACK_WAIT = 1.5
#: Seconds after which a process has noticed that its connection is half-open.
NOTICED = 8.0
#: Seconds in which everything must have come through once nothing is disturbed any more.
CALM_DOWN = 300.0
#: Seconds that may lie between a handler's question to the ledger and its work, where processes wait for a core.
ASKED = 0.3
ROOT = Path(__file__).parents[2]


class Actor:
    """A process with connections of its own to the servers, each through a proxy of its own."""

    def __init__(self, name: str, arguments: Sequence[str], servers: Sequence[Node], folder: Path) -> None:
        self.name = name
        self._arguments, self._folder = arguments, folder
        self.proxies = [Proxy(server.port) for server in servers]
        self._process: asyncio.subprocess.Process | None = None

    async def open(self) -> None:
        for proxy in self.proxies:
            await proxy.start()
        await self.start()

    async def start(self) -> None:
        environment = os.environ | {
            "STENOBUS_NATS_URL": ",".join(proxy.url for proxy in self.proxies),
            "STENOBUS_CHAOS_LEDGER": str(self._folder / "ledger.jsonl"),
            "STENOBUS_DATA_DIR": str(self._folder),
            "STENOBUS_ACK_WAIT": str(ACK_WAIT),
            "STENOBUS_REPLICAS": str(1 if len(self.proxies) == 1 else 3),
        }
        with (self._folder / f"{self.name}.log").open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.chaos.chain", *self._arguments,
                cwd=ROOT, env=environment, stdout=output, stderr=output,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None and self.running:
            self._process.send_signal(number)

    async def kill(self) -> None:
        self.signal(signal.SIGKILL)
        await self.wait()

    async def wait(self) -> int:
        assert self._process is not None
        return await self._process.wait()

    async def close(self) -> None:
        if self._process is None:
            return
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(10):
                await self.wait()
        await self.kill()
        for proxy in self.proxies:
            await proxy.stop()


@dataclass
class Blow:
    """Something that was done to a process, or to a server and so to all."""

    what: str
    #: Process it was done to, 0 for all.
    pid: int
    began: float
    ended: float = 0.0


@dataclass
class Field:
    """The servers, the processes, and what happened to them."""

    servers: Sequence[Node]
    folder: Path
    dice: random.Random
    handlers: list[Actor] = field(default_factory=list)
    publishers: list[Actor] = field(default_factory=list)
    blows: list[Blow] = field(default_factory=list)
    #: What is under a blow now.
    _struck: list[Actor | Node] = field(default_factory=list)

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger.jsonl"

    @property
    def urls(self) -> str:
        return ",".join(server.url for server in self.servers)

    async def open(self, *, processes: int, publishers: int, events: int) -> None:
        """Declare, and start the given number of processes per handler, and of publishers."""
        async with await Bus.connect(self.urls) as bus:
            await declare(bus, 1 if len(self.servers) == 1 else 3)
        for number, name in enumerate(HANDLERS):
            for copy in range(processes):
                self.handlers.append(Actor(f"{name}-{copy}", ["link", str(number)], self.servers, self.folder))
        for number in range(publishers):
            name = f"publisher-{number}"
            self.publishers.append(Actor(name, ["publisher", name, str(events)], self.servers, self.folder))
        await asyncio.gather(*(actor.open() for actor in self.handlers))
        await self._until(lambda: len(notes(self.ledger, "started")) == len(self.handlers), CALM_DOWN)
        await asyncio.gather(*(actor.open() for actor in self.publishers))

    async def close(self) -> None:
        await asyncio.gather(*(actor.close() for actor in (*self.handlers, *self.publishers)))

    async def fight(self, blows: dict[Callable[[], Awaitable[None]], int], seconds: float) -> None:
        """Strike at random for so long, then let everything recover."""
        print(f"seed {SEED}, {seconds:g} s")
        end = time.monotonic() + seconds
        async with asyncio.TaskGroup() as strikes:
            while time.monotonic() < end:
                (strike,) = self.dice.choices(list(blows), list(blows.values()))
                strikes.create_task(strike())
                await self._revive()
                await asyncio.sleep(self.dice.uniform(0.1, 0.8))
        for actor in (*self.handlers, *self.publishers):
            for proxy in actor.proxies:
                proxy.heal()

    async def settle(self) -> float:
        """Wait until every event came through or was buried. Returns the seconds it took."""
        began = time.monotonic()
        async with asyncio.timeout(CALM_DOWN):
            for publisher in self.publishers:
                while await publisher.wait() != 0:  # killed; what has no PubAck is published again
                    await publisher.start()
        async with await Bus.connect(self.urls) as bus:
            try:
                await self._until(lambda: self._through(bus), CALM_DOWN)
            except TimeoutError:
                raise AssertionError(f"not calm within {CALM_DOWN} s: {await self._left(bus)}") from None
        return time.monotonic() - began

    async def _through(self, bus: Bus) -> bool:
        await self._revive()
        return not await self._left(bus)

    async def _left(self, bus: Bus) -> dict[str, Any]:
        """What has not come through, by its token; once all has, what consumers still hold."""
        expected = {entry["token"] for entry in notes(self.ledger, "acked")}
        finals, buried = await ended(bus)
        try:
            infos = {handler: await bus.api(f"CONSUMER.INFO.CHAIN.{handler}") for handler in HANDLERS}
        except BusError as error:  # a cluster that elects
            return {"server": str(error)}
        if missing := expected - set(finals) - buried:
            return {"missing": sorted(missing), "consumers": infos}
        return {name: info for name, info in infos.items() if info["num_pending"] or info["num_ack_pending"]}

    async def _until(self, condition: Callable[[], Any], within: float) -> None:
        async with asyncio.timeout(within):
            while True:
                value = condition()
                if (await value) if isinstance(value, Awaitable) else value:
                    return
                await asyncio.sleep(0.2)

    async def _revive(self) -> None:
        """Start again what ended by itself, as a supervisor would: who begins while a cluster elects gives up."""
        for actor in (*self.handlers, *self.publishers):
            if actor not in self._struck and not actor.running and await actor.wait() != 0:
                await actor.start()

    # --- blows -------------------------------------------------------------------------------------------------------

    @contextmanager
    def _strike(self, what: str, target: Actor | Node) -> Iterator[Blow]:
        """Nobody else strikes the target meanwhile."""
        blow = Blow(what, target.pid if isinstance(target, Actor) else 0, time.time())
        self.blows.append(blow)
        self._struck.append(target)
        try:
            yield blow
        finally:
            self._struck.remove(target)
            blow.ended = max(blow.ended, time.time())

    def _actor(self, among: Sequence[Actor]) -> Actor | None:
        """One that nobody strikes, and that lives."""
        free = [actor for actor in among if actor not in self._struck and actor.running]
        return self.dice.choice(free) if free else None

    def _server(self) -> Node | None:
        """One of the servers, while all are up: two of three must always be."""
        if any(isinstance(target, Node) for target in self._struck):
            return None
        return self.dice.choice(self.servers)

    async def kill_a_handler(self) -> None:
        if actor := self._actor(self.handlers):
            with self._strike("kill", actor):
                await actor.kill()
                await asyncio.sleep(self.dice.choice((0.0, 0.3)))
                await actor.start()

    async def pause_a_handler(self) -> None:
        """Longer than the server waits: when it goes on, others have its events."""
        if actor := self._actor(self.handlers):
            with self._strike("pause", actor):
                actor.signal(signal.SIGSTOP)
                await asyncio.sleep(ACK_WAIT * self.dice.uniform(0.8, 1.5))
                actor.signal(signal.SIGCONT)

    async def kill_a_publisher(self) -> None:
        if actor := self._actor(self.publishers):
            with self._strike("kill publisher", actor):
                await actor.kill()

    async def kill_a_server(self) -> None:
        """SIGKILL, and up again on the same store."""
        if server := self._server():
            await self.restart(server)

    async def restart(self, server: Node) -> None:
        with self._strike("kill server", server):
            await server.kill()
            await asyncio.sleep(self.dice.choice((0.0, 0.5)))
            await server.start()

    async def pause_a_server(self) -> None:
        if server := self._server():
            with self._strike("pause server", server):
                server.pause()
                await asyncio.sleep(self.dice.uniform(0.3, 2.0))
                server.resume()

    async def break_a_connection(self) -> None:
        if (actor := self._actor([*self.handlers, *self.publishers])) is None:
            return
        how = self.dice.choice(("cut", "hold", "hold up", "hold down", "strand", "delay"))
        with self._strike(how, actor) as blow:
            for proxy in actor.proxies:
                if how == "cut":
                    proxy.cut()
                elif how == "strand":
                    proxy.strand()
                    blow.ended = time.time() + NOTICED
                elif how == "delay":
                    proxy.delay = self.dice.uniform(0.02, 0.3)
                elif how == "hold":
                    proxy.hold()
                else:
                    proxy.hold("up" if how == "hold up" else "down")
            if how not in {"cut", "strand"}:
                await asyncio.sleep(self.dice.uniform(0.5, 2 * ACK_WAIT))
            for proxy in actor.proxies:
                proxy.heal()


@dataclass
class Replicated(Field):
    """Three servers that hold a copy of everything each."""

    cluster: Cluster | None = None

    async def kill_a_leader(self) -> None:
        """Of the events, of the ledger, or of the cluster itself."""
        if self._server() is None:
            return
        if leader := await self._leader(self.dice.choice(("CHAIN", f"KV_{ledger.BUCKET}", None))):
            await self.restart(leader)

    async def isolate_a_server(self) -> None:
        """Cut off from the two others for long enough that they choose new leaders; its clients still reach it."""
        assert self.cluster is not None
        if server := self._server():
            with self._strike("isolate server", server):
                self.cluster.isolate(server)
                await asyncio.sleep(self.dice.uniform(1.0, 10.0))
                self.cluster.heal()

    async def _leader(self, stream: str | None) -> Node | None:
        """Who leads a stream, or the cluster, as far as anybody knows."""
        assert self.cluster is not None
        for server in self.servers:
            about = await server.jetstream()
            for known in streams(about):
                if known["name"] == stream and (leader := (known.get("cluster") or {}).get("leader")):
                    return self.cluster.named(leader)
            if stream is None and (leader := (about.get("meta_cluster") or {}).get("leader")):
                return self.cluster.named(leader)
        return None


def streams(about: dict[str, Any]) -> list[dict[str, Any]]:
    """The streams in what a server tells about itself."""
    return [stream for account in about.get("account_details") or () for stream in account.get("stream_detail") or ()]


async def declare(bus: Bus, replicas: int) -> None:
    """What the hosts would declare, with a ledger that remembers every time an event was completed."""
    specs = []
    for spec in topology("stenobus", replicas):
        if spec.name == f"KV_{ledger.BUCKET}":
            assert isinstance(spec, StreamSpec)
            spec = replace(spec, initial={**spec.initial, "max_msgs_per_subject": 50})
        specs.append(spec)
    async with asyncio.timeout(CALM_DOWN):
        while True:
            try:
                await apply(bus, specs)
                return
            except ServerUnavailable:  # a cluster has no leader yet
                await asyncio.sleep(0.2)


async def ended(bus: Bus) -> tuple[Counter[str], set[str]]:
    """How often each token came out, and which are in the dead letters."""
    finals: Counter[str] = Counter()
    async for message in read(bus, "CHAIN", Last.subject):
        finals[Last.model_validate_json(message.data).token] += 1
    buried = {Last.model_validate_json(letter.data or "").token async for _, letter in letters(bus)}
    return finals, buried


async def completions(bus: Bus) -> dict[str, list[float]]:
    """When each entry of the ledger was written, by its subject."""
    written: dict[str, list[float]] = defaultdict(list)
    async for msg in messages(bus.nc, f"KV_{ledger.BUCKET}", f"$KV.{ledger.BUCKET}.>"):
        headers = msg.headers or {}
        written[headers["Nats-Subject"]].append(_seconds(headers["Nats-Time-Stamp"]))
    return written


def _seconds(stamp: str) -> float:
    """RFC 3339 with nanoseconds as seconds since the epoch."""
    moment, _, fraction = stamp.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{moment}+00:00").timestamp() + float(f"0.{fraction or 0}")


async def verify(scene: Field) -> None:
    """Nothing is lost, nothing comes out twice, nothing runs again without a reason, or after it was completed."""
    async with await Bus.connect(scene.urls) as bus:
        finals, buried = await ended(bus)
        written = await completions(bus)
    acked = [entry["token"] for entry in notes(scene.ledger, "acked")]
    executed = notes(scene.ledger, "executed")
    repeats = _repeats(executed)
    recovered = _recoveries(scene, executed)
    print(
        f"{len(acked)} events, {len(executed)} executions, {len(repeats)} of them repeated, {len(buried)} buried; "
        f"{len(scene.blows)} blows: {dict(Counter(blow.what for blow in scene.blows))}"
    )
    if recovered:
        print(
            f"server up → first event handled: {statistics.median(recovered):.2f} s in the middle, "
            f"{max(recovered):.2f} s at most, of {len(recovered)}"
        )

    missing = set(acked) - set(finals) - buried
    assert not missing, f"lost: {sorted(missing)}"
    assert not set(finals) - set(acked), "came out without having gone in"
    twice = {token: count for token, count in finals.items() if count > 1}
    assert not twice, f"came out more than once: {twice}"
    assert not buried, f"buried: {sorted(buried)}"

    # The machine may stand still as well, for whatever else it has to do.
    stalls = [Blow("stall", 0, entry["at"] - entry["seconds"], entry["at"]) for entry in notes(scene.ledger, "stalled")]
    blows = [*scene.blows, *stalls]
    unexplained = [
        again for first, again in repeats if not any(_between(blow, first["at"], again["at"]) for blow in blows)
    ]
    assert not unexplained, f"ran again without a reason: {unexplained}"
    most = sum(CONCURRENCY * (1 if blow.pid else len(scene.handlers)) for blow in blows)
    assert len(repeats) <= most

    late = [entry for entry in executed if _completed_before(entry, written, blows)]
    assert not late, f"ran after it was completed: {late}"


def _repeats(executed: list[dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Executions beyond the first of an event, each with the one before it."""
    before: dict[tuple[str, str], dict[str, Any]] = {}
    repeats = []
    for entry in executed:
        place = entry["handler"], entry["key"]
        if place in before:
            repeats.append((before[place], entry))
        before[place] = entry
    return repeats


def _between(blow: Blow, first: float, again: float) -> bool:
    """What happened a moment before the first of the two counts: its event may have been on the way for so long."""
    return blow.began <= again and blow.ended >= first - ACK_WAIT - 1


def _completed_before(entry: dict[str, Any], written: dict[str, list[float]], blows: list[Blow]) -> bool:
    """The ledger knew the event when the handler asked it, which is the moment before it runs. A process that was
    paused or cut off between the two is excused, and so are copies that were in work in two processes."""
    times = written.get(f"$KV.{ledger.BUCKET}.{entry['handler']}.{entry['key']}", [])
    known = min(times, default=float("inf"))
    asked = entry["at"] - ASKED
    if known >= asked:
        return False
    return not any(blow.pid in {0, entry["pid"]} and _between(blow, known, entry["at"]) for blow in blows)


def _recoveries(scene: Field, executed: list[dict[str, Any]]) -> list[float]:
    """Seconds from each time a server was up again to the next event in a handler."""
    ups = [blow.ended for blow in scene.blows if blow.what == "kill server"]
    starts = sorted(entry["at"] for entry in executed)
    return [after - up for up in ups if (after := next((at for at in starts if at > up), None)) is not None]
