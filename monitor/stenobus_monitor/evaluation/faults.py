"""Steps of a case, carried out: what breaks, and everything else that happens."""

from __future__ import annotations

import asyncio
import json
import shlex
import time
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from stenobus_bus import Envelope
from stenobus_bus.pause import pause, places, resume
from stenobus_contracts import BlobRef

from . import case as cases
from .containers import Containers
from .errors import EvaluationError
from .model import Script
from .probe import TELL, EvalDone, EvalTask
from .process import to_its_end
from .world import World

_SOURCE: Final = "stenobus/eval"


async def carry_out(step: cases.Step, world: World, script: Script) -> None:
    """Do what a step says, when it is time; what it did has happened when this returns."""
    await asyncio.sleep(step.after)
    await do(step, world, script)


async def do(step: cases.Step, world: World, script: Script) -> None:
    """Do what a step says, at once."""
    match step:
        case cases.Wait():
            return
        case cases.Model(seconds=seconds):
            script.slow = seconds
        case cases.Publish():
            await _publish(step, world)
        case cases.Blob():
            await _blob(step, world)
        case cases.Hoard():
            await _hoard(step, world)
        case cases.Bus():
            await _bus(step, world)
        case cases.Engine():
            await _engine(step, world)
        case cases.Signal():
            await to_its_end(lambda: _signal(step, world))
        case cases.Tell():
            words = {"what": step.what, "amount": step.amount, "seconds": step.seconds, "text": step.text}
            await asyncio.to_thread(_write, world, step.service, json.dumps(words), str(TELL))
        case cases.Say():
            text = "\n".join(step.lines) + "\n"
            await asyncio.to_thread(_say, world, step.service, text * step.times)
        case cases.Run():
            await asyncio.to_thread(_exec, world, step.service, step.command, {})


# --- containers ------------------------------------------------------------------------------------------------------


async def _engine(step: cases.Engine, world: World) -> None:
    if step.do == "start" and step.service not in world.containers.started:
        await world.run(next(each for each in world.case.services if each.name == step.service))
    else:
        await to_its_end(lambda: _ask_engine(step, world.containers))


def _ask_engine(step: cases.Engine, containers: Containers) -> None:
    container = containers.get(step.service)
    match step.do:
        case "start":
            container.start()
        case "stop":
            container.stop(timeout=step.grace)
        case "restart":
            container.restart(timeout=step.grace)
        case "kill":
            container.kill()
        case "remove":
            container.remove(force=True)
        case "pause":
            container.pause()
        case "unpause":
            container.unpause()
        case "disconnect":
            containers.network.disconnect(container)
        case "connect":
            containers.network.connect(container, aliases=[step.service])


def _signal(step: cases.Signal, world: World) -> None:
    """From a container that sees the host's processes; behind an `init` to the worker that it started."""
    container = world.containers.get(step.service)
    container.reload()
    pid = int(container.attrs["State"]["Pid"])
    behind = next((each.init for each in world.case.services if each.name == step.service), False)
    which = f"int(open('/proc/{pid}/task/{pid}/children').read().split()[0])" if behind else str(pid)
    code = f"import os, signal; os.kill({which}, signal.SIG{step.signal})"
    own = world.containers
    own.client.containers.run(
        own.image, ["python3", "-c", code], pid_mode="host", network_mode="none", remove=True, labels=own.label
    )


def _exec(world: World, service: str, command: str, environment: dict[str, str]) -> None:
    found = world.containers.get(service).exec_run(["/bin/sh", "-c", command], environment=environment)
    if found.exit_code:
        raise EvaluationError(f"{command!r} in {service} ended with {found.exit_code}: {found.output[-300:]!r}")


def _write(world: World, service: str, text: str, path: str) -> None:
    """A file that is there whole or not at all."""
    _exec(world, service, f'printf %s "$TEXT" > {path}.new && mv {path}.new {path}', {"TEXT": text})


def _say(world: World, service: str, text: str) -> None:
    """The first process's standard output is the container's log, whoever writes to it."""
    for begin in range(0, len(text), 60_000):
        _exec(world, service, f"printf %s {shlex.quote(text[begin : begin + 60_000])} > /proc/1/fd/1", {})


# --- the bus ---------------------------------------------------------------------------------------------------------


async def _publish(step: cases.Publish, world: World) -> None:
    event = EvalTask.model_validate(step.task)
    if step.content:
        event = event.model_copy(update={"blob": await world.bus.objects.put(_text(step.content), "text/plain")})

    def envelope() -> Envelope:
        found = Envelope.new(event, _SOURCE, run=f"eval-{uuid.uuid4().hex[:12]}")
        if step.ahead:
            ahead = datetime.now(UTC) + timedelta(seconds=step.ahead)
            found = replace(found, time=ahead.isoformat())
        return found

    if step.every:
        for _ in range(step.count):
            await world.bus.publish(event, envelope())
            await asyncio.sleep(step.every)
    else:
        await world.bus.publish_all((event, envelope()) for _ in range(step.count))


async def _blob(step: cases.Blob, world: World) -> None:
    content = _text(step.size)
    ref = await world.bus.objects.put(content, "text/plain")
    bucket, _, key = ref.uri.removeprefix("nats://").partition("/")
    objects = await world.bus.nc.jetstream().object_store(bucket)
    match step.damage:
        case "changed":
            await objects.put(key, b"B" + content[1:] + b"0" * 32)
        case "truncated":
            await objects.put(key, content[: step.size // 2])
        case "gone":
            await objects.delete(key)
        case "wrong_hash":
            ref = BlobRef(uri=ref.uri, sha256="0" * 64, size=ref.size, content_type=ref.content_type)
    event = EvalDone(blob=ref)
    await world.bus.publish(event, Envelope.new(event, _SOURCE, run=f"eval-{uuid.uuid4().hex[:12]}"))


def _text(size: int) -> bytes:
    """Content that nobody else has, of so many bytes and a few more."""
    return (b"A transcript of a talk. " * (size // 24 + 1))[:size] + uuid.uuid4().hex.encode()


async def _hoard(step: cases.Hoard, world: World) -> None:
    inbox = world.bus.nc.new_inbox()
    taken = asyncio.Event()
    left = step.count

    async def take(message: Any) -> None:
        nonlocal left
        left -= bool(message.reply)
        if left <= 0:
            taken.set()

    subscription = await world.bus.nc.subscribe(inbox, cb=take)
    until = time.monotonic() + 20
    while not taken.is_set() and time.monotonic() < until:
        asked = json.dumps({"batch": max(1, left), "expires": 1_000_000_000}).encode()
        await world.bus.nc.publish(f"$JS.API.CONSUMER.MSG.NEXT.EVAL.{step.handler}", asked, reply=inbox)
        try:
            await asyncio.wait_for(taken.wait(), 1.5)
        except TimeoutError:
            continue
    await subscription.unsubscribe()


async def _bus(step: cases.Bus, world: World) -> None:
    bus = world.bus
    match step.do:
        case "limit":
            config = (await bus.api(f"STREAM.INFO.{step.target}"))["config"]
            await bus.api(f"STREAM.UPDATE.{step.target}", config | {"max_msgs": step.amount})
        case "delete_stream":
            await bus.api(f"STREAM.DELETE.{step.target}")
        case "delete_consumer":
            await bus.api(f"CONSUMER.DELETE.EVAL.{step.target}")
        case "unsettled":
            config = (await bus.api(f"CONSUMER.INFO.EVAL.{step.target}"))["config"]
            changed = {"stream_name": "EVAL", "config": config | {"max_ack_pending": step.amount}, "action": "update"}
            await bus.api(f"CONSUMER.CREATE.EVAL.{step.target}.{config['filter_subject']}", changed)
        case "pause_handler":
            until = datetime.now(UTC) + timedelta(seconds=step.amount or 600)
            for place in await places(bus, step.target):
                await pause(bus, place, until)
        case "resume_handler":
            for place in await places(bus, step.target):
                await resume(bus, place)
