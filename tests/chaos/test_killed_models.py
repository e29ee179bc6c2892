"""Documents by a model that costs money: whoever is killed, the document says the same and nothing is paid for twice.

The stages and the router are a process each, and one of them, or both, die by SIGKILL at a random message on the wire.
What is guaranteed: an answer that the router has stored is never asked for again. A call that is under way when the
router dies, or whose answer is not stored yet, is made again, and the provider may charge for both; a kill of the
stages alone repeats no call at all. The document is the same to the last byte; only where a call was lost, the cost in
it includes the lost one. ``STENOBUS_KILL_RUNS`` sets the number of runs, of two kills each.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from nats.errors import Error as NatsError

from stenobus_bus import Bus, EmbeddedServer, Envelope, apply, direct
from stenobus_bus.answers import BUCKET as ANSWERS
from stenobus_bus.dead_letters import letters
from stenobus_bus.history import read
from stenobus_contracts import AsrDone, DocReady, LlmDone, LlmRequest, Media
from stenobus_core.cache import BUCKET as CACHE
from stenobus_core.services import topology
from stenobus_testing.waiting import eventually

from ..llm.chat import OpenAIServer
from ..support.author import TALK, answer
from ..support.wire import Wire

RUNS = int(os.environ.get("STENOBUS_KILL_RUNS", "2"))
SEED = int(os.environ.get("STENOBUS_KILL_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)
RUN_DEADLINE = 300.0
KILLS = 2
#: The lines of a document's provenance that say what it took.
_TOOK = re.compile(r"^(- Cost: |\| (extract|map|outline|write) \| model \|).*$", re.MULTILINE)
PARTS = ("documents", "llm")


@dataclass(frozen=True)
class Kill:
    """A kill of the router: how many calls the model had heard by then, and what was stored of its answers."""

    calls: int
    stored: frozenset[str]


class Chain:
    """The stages and the router, a process each, between a real server and a model that counts its calls."""

    def __init__(self, bus: Bus, model: OpenAIServer, folder: Path) -> None:
        self._bus, self.model, self._log = bus, model, folder / "plugins.log"
        assert bus.nc.connected_url is not None
        target = {
            "name": "paid", "model": "author", "base_url": model.url, "input_price_per_million": "1",
            "output_price_per_million": "3",
        }  # fmt: skip
        self._environment = os.environ | {
            "STENOBUS_NATS_URL": bus.nc.connected_url.geturl(),
            "STENOBUS_DATA_DIR": str(folder),
            "STENOBUS_ACK_WAIT": "2",
            "STENOBUS_LLM_TARGETS": json.dumps([target]),
            "STENOBUS_DOCUMENTS_EXTRACT_MAX_TOKENS_PER_CHUNK": "200",
        }
        self._processes: dict[str, asyncio.subprocess.Process] = {}

    async def start(self, part: str) -> None:
        with self._log.open("ab") as output:
            self._processes[part] = await asyncio.create_subprocess_exec(
                sys.executable, "-c", "from stenobus_core.cli import main; main()", "up", part,
                env=self._environment, stdout=output, stderr=output,
            )  # fmt: skip

    async def ready(self) -> None:
        for plugin in ("llm", "documents-clean", "documents-extract", "documents-write", "documents-output"):
            async with asyncio.timeout(RUN_DEADLINE):
                while True:
                    with contextlib.suppress(NatsError):
                        found = await self._bus.nc.request(f"stenobus.ready.{plugin}", timeout=0.5)
                        if b'"ready": true' in found.data:
                            break

    async def kill(self, part: str) -> None:
        self._processes[part].kill()
        await self._processes[part].wait()
        if part == "llm":  # what it sent with its last breath is on the way to the model
            await eventually(lambda: self.model.connected == 0)

    async def stop(self) -> None:
        for process in self._processes.values():
            if process.returncode is None:
                process.terminate()
        async with asyncio.timeout(RUN_DEADLINE):
            await asyncio.gather(*(process.wait() for process in self._processes.values()))

    @property
    def calls(self) -> list[str]:
        """The prompts the model was asked, in order."""
        return [received.body["messages"][-1]["content"] for received in self.model.received]

    async def told(self, document: DocReady) -> str:
        """What a document says, apart from what it says it took: a call whose answer got lost is no less paid for."""
        data = b"".join([part async for part in self._bus.objects.open(document.markdown.uri)])
        return _TOOK.sub("", data.decode())

    async def stored(self, run: str) -> frozenset[str]:
        """The prompts of a run whose answers are stored."""
        prompts = {
            event.event_id: LlmRequest.model_validate_json(event.data).messages[-1].content
            async for event in read(self._bus, "LLM", "llm.request", run=run)
        }
        found = set()
        async for msg in direct.messages(self._bus.nc, f"KV_{ANSWERS}", f"$KV.{ANSWERS}.>"):
            done = LlmDone.model_validate_json(await self._bus.claims.whole(msg.data, msg.headers))
            if done.request_id in prompts:
                assert done.error is None
                found.add(prompts[done.request_id])
        return frozenset(found)


@pytest.fixture
async def bus(tmp_path: Path) -> AsyncIterator[Bus]:
    server = EmbeddedServer(tmp_path / "nats", port=0)
    async with await Bus.connect(await server.start()) as connected:
        await apply(connected, topology("stenobus"))
        yield connected
    await server.stop()


@pytest.fixture
async def chain(bus: Bus, tmp_path: Path) -> AsyncIterator[Chain]:
    model = OpenAIServer()
    model.author = lambda received: answer(received.body)
    await model.start()
    chain = Chain(bus, model, tmp_path)
    await asyncio.gather(*(chain.start(part) for part in PARTS))
    await chain.ready()
    yield chain
    await chain.stop()
    await model.stop()


async def publish(bus: Bus, talk: Path, run: str) -> None:
    """Begin a run that finds nothing in the stage cache."""
    await bus.js.purge_stream(f"KV_{CACHE}")
    event = AsrDone(transcript=Media(uri=talk.as_uri()), title="A killed talk")
    await bus.publish(event, Envelope.new(event, "kill-test", run=run))


async def finished(bus: Bus, run: str) -> DocReady:
    """The one document of a run."""
    async with asyncio.timeout(RUN_DEADLINE):
        arrived = asyncio.Event()

        async def note(_: object) -> None:
            arrived.set()

        subscription = await bus.nc.subscribe("doc.ready", cb=note)
        while not [event async for event in read(bus, "DOC", "doc.ready", run=run)]:
            arrived.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await arrived.wait()
        await subscription.unsubscribe()
    (document,) = [DocReady.model_validate_json(event.data) async for event in read(bus, "DOC", "doc.ready", run=run)]
    return document


def paid_again(calls: list[str], kills: list[Kill]) -> list[str]:
    """The prompts that were asked again without a reason.

    A reason is a kill of the router between the two calls, at which the answer was not stored yet.
    """
    last: dict[str, int] = {}
    found = []
    for place, prompt in enumerate(calls):
        before = last.get(prompt)
        if before is not None and not any(before < kill.calls <= place and prompt not in kill.stored for kill in kills):
            found.append(prompt)
        last[prompt] = place
    return found


def test_what_counts_as_paid_again() -> None:
    assert paid_again(["a", "b", "a"], []) == ["a"]
    assert paid_again(["a", "b", "a"], [Kill(2, frozenset())]) == []
    assert paid_again(["a", "b", "a"], [Kill(2, frozenset("a"))]) == ["a"]
    assert paid_again(["a", "b", "a"], [Kill(0, frozenset()), Kill(3, frozenset())]) == ["a"]


@pytest.mark.timeout(RUN_DEADLINE * (RUNS + 2))
async def test_whoever_is_killed_the_document_is_the_same_and_nothing_is_paid_twice(
    bus: Bus, chain: Chain, tmp_path: Path
) -> None:
    print(f"seed {SEED}, {RUNS} runs")
    dice = random.Random(SEED)
    talk = tmp_path / "talk.txt"
    talk.write_text(TALK)
    wire = Wire()
    await wire.watch(bus)
    await publish(bus, talk, "undisturbed")
    expected = await finished(bus, "undisturbed")
    messages, calls = wire.count, len(chain.calls)
    assert expected.method == "model" and expected.chunks_processed > 4
    assert paid_again(chain.calls, []) == []

    killed, repeated = 0, 0
    for number in range(RUNS):
        run = f"killed-{number}"
        chain.model.received.clear()
        kills: list[Kill] = []
        places = sorted(dice.randrange(1, messages) for _ in range(KILLS))
        ending = asyncio.create_task(finished(bus, run))
        wire.mark(places[0])
        await publish(bus, talk, run)
        for place in places:
            wire.mark(max(1, place - wire.count))
            reached = asyncio.create_task(wire.reached.wait())
            await asyncio.wait({reached, ending}, return_when=asyncio.FIRST_COMPLETED)
            reached.cancel()
            for part in dice.choice([PARTS, PARTS[:1], PARTS[1:]]):
                await chain.kill(part)
                if part == "llm":
                    kills.append(Kill(len(chain.calls), await chain.stored(run)))
                await chain.start(part)
            killed += 1
        document = await ending
        assert paid_again(chain.calls, kills) == []
        assert await chain.told(document) == await chain.told(expected)
        accounted = sum(stage.calls for stage in document.stages)
        assert calls <= accounted <= len(chain.calls)
        if accounted == calls:
            assert document.stages == expected.stages
            assert document.markdown.sha256 == expected.markdown.sha256
            assert document.docx.sha256 == expected.docx.sha256
        assert set(chain.calls) == set(await chain.stored(run))
        repeated += len(chain.calls) - calls
    print(f"{killed} kills in {RUNS} runs of {calls} calls; {repeated} calls were under way at a kill and made again")
    assert [entry async for entry in letters(bus)] == []
