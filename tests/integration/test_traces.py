"""Traces as a collector receives them: the real exporter sends to a real OTLP receiver."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from faststream import BaseMiddleware
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from stenobus_bus import Bus, Observer, Observers, PermanentError, RetryPolicy, apply
from stenobus_bus.history import replay
from stenobus_bus.topology import domain
from stenobus_bus.traceparent import working
from stenobus_core import Context, Host, Plugin
from stenobus_core.plugin import Handler
from stenobus_core.services import topology
from stenobus_core.spans import Spans
from stenobus_testing.stage import Stage, unique
from stenobus_testing.waiting import Gate, eventually

from ..support.contracts import Answer, Ask, Ping, Pong
from ..support.installed import Site
from ..support.otlp import Collector, Seen, collector

QUICK = RetryPolicy(attempts=3, base=0.01)
CONSUMER = 5


@pytest.fixture
def collected() -> Iterator[Collector]:
    with collector() as opened:
        yield opened


@pytest.fixture
async def traced(stage: Stage, collected: Collector) -> AsyncIterator[Any]:
    """Starts plugins whose spans go to the collector, each as it ends."""
    provider = TracerProvider(shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=f"{collected.url}/v1/traces")
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    async def start(*plugins: Plugin, behind: Observer | None = None) -> TracerProvider:
        def observe(handler: Handler) -> Observer:
            spans = Spans(provider, handler)
            return Observers(spans, behind) if behind else spans

        host = Host(stage.settings, stage.bus, plugins, observe=observe)
        await host.start()
        stage.hosts.append(host)
        return provider

    yield start
    provider.shutdown()


async def arrived(collected: Collector, subject: str, count: int = 1, **attributes: Any) -> list[Seen]:
    await eventually(lambda: len(collected.of(subject, **attributes)) >= count)
    found = collected.of(subject, **attributes)
    assert len(found) == count
    return found


async def test_a_span_says_which_attempt_of_which_handler_it_is(
    stage: Stage, collected: Collector, traced: Any
) -> None:
    plugin = Plugin(unique("traced"))

    @plugin.handler()
    async def work(event: Ping, ctx: Context[Any, Any]) -> None: ...

    await traced(plugin)
    await stage.publish(Ping(number=1), run="run-1", id="id-1")
    (span,) = await arrived(collected, "test.ping")
    assert (span.kind, span.parent, span.links, span.failed) == (CONSUMER, "", (), False)
    assert (
        span.attributes.items()
        >= {
            "messaging.system": "nats",
            "messaging.operation.type": "process",
            "messaging.destination.name": "test.ping",
            "messaging.consumer.group.name": plugin.name,
            "messaging.message.id": "id-1",
            "stenobus.run": "run-1",
            "stenobus.handler": plugin.name,
            "stenobus.plugin": plugin.name,
            "stenobus.attempt": 1,
            "stenobus.result": "done",
        }.items()
    )
    assert 0 <= span.attributes["stenobus.waited"] < 15
    assert "stenobus.replay" not in span.attributes


async def test_outputs_and_the_handlers_own_spans_hang_on_the_handlers_span(
    stage: Stage, collected: Collector, traced: Any
) -> None:
    first, second = Plugin(unique("first")), Plugin(unique("second"))
    tracer: Any = None

    @first.handler(publishes=[Ask])
    async def begin(event: Ping, ctx: Context[Any, Any]) -> Pong:
        with tracer.start_as_current_span("decode"):
            await ctx.publish(Ask(question="beside"))
        return Pong(number=1)

    @second.handler()
    async def end(event: Pong) -> None: ...

    @second.handler(name=f"{second.name}-ask")
    async def beside(event: Ask) -> None: ...

    tracer = (await traced(first, second)).get_tracer("plugin")
    await stage.publish(Ping(number=1), run="one")
    await stage.publish(Ping(number=2), run="two")
    outer = {s.attributes["stenobus.run"]: s for s in await arrived(collected, "test.ping", 2)}
    for subject in ("test.pong", "test.ask"):
        for span in await arrived(collected, subject, 2):
            cause = outer[span.attributes["stenobus.run"]]
            assert (span.parent, span.trace) == (cause.id, cause.trace)
    own = [s for s in collected.spans if s.name == "decode"]
    assert {(s.parent, s.trace) for s in own} == {(s.id, s.trace) for s in outer.values()}
    assert outer["one"].trace != outer["two"].trace


async def test_a_handler_behind_faststreams_middlewares_is_traced_the_same(
    stage: Stage, collected: Collector, traced: Any
) -> None:
    plugin = Plugin(unique("middle"), middlewares=[BaseMiddleware])
    tracer: Any = None

    @plugin.handler()
    async def work(event: Ping) -> Pong:
        with tracer.start_as_current_span("decode"):
            return Pong(number=1)

    assert not plugin.handlers[0].plain
    tracer = (await traced(plugin)).get_tracer("plugin")
    await stage.publish(Ping(number=1))
    (outer,) = await arrived(collected, "test.ping")
    (own,) = [span for span in collected.spans if span.name == "decode"]
    assert own.parent == outer.id
    (pong,) = await stage.stored(Pong)
    assert pong.headers["traceparent"] == f"00-{outer.trace}-{outer.id}-01"


async def test_nothing_of_an_event_stays_current_when_it_is_done(
    stage: Stage, collected: Collector, traced: Any
) -> None:
    plugin = Plugin(unique("left"))
    current: list[tuple[bool, str | None]] = []

    class Look(Observer):
        async def before(self, *_: Any) -> None:
            current.append((trace.get_current_span().get_span_context().is_valid, working.get()))

        failed = succeeded = buried = before

    @plugin.handler(retry=QUICK)
    async def work(event: Ping) -> None:
        if event.number:
            raise ValueError("no")

    await traced(plugin, behind=Look())
    await stage.publish(Ping(number=0))
    await stage.publish(Ping(number=1))
    await arrived(collected, "test.ping", 4)
    await eventually(lambda: len(current) == 8)
    assert [valid for valid, _ in current].count(True) == 4  # while the handler runs, and not behind it
    assert [parent for _, parent in current].count(None) == 4


async def test_retries_link_to_the_attempt_before_and_carry_their_errors(
    stage: Stage, collected: Collector, traced: Any
) -> None:
    plugin = Plugin(unique("retried"))

    @plugin.handler(retry=QUICK)
    async def work(event: Ping, ctx: Context[Any, Any]) -> None:
        raise ValueError(f"attempt {ctx.attempt}")

    await traced(plugin)
    await stage.publish(Ping(number=1))
    one, two, three = await arrived(collected, "test.ping", 3)
    assert [s.attributes["stenobus.attempt"] for s in (one, two, three)] == [1, 2, 3]
    assert (one.links, two.links, three.links) == ((), (one.id,), (two.id,))
    assert [s.events for s in (one, two, three)] == [("attempt 1",), ("attempt 2",), ("attempt 3",)]
    assert [s.attributes["stenobus.result"] for s in (one, two, three)] == ["retry", "retry", "dead letter"]
    assert three.attributes["stenobus.reason"] == "exhausted"
    assert one.failed and three.failed and one.attributes["error.type"] == "ValueError"
    assert len({s.trace for s in (one, two, three)}) == 1


async def test_what_never_came_to_an_attempt_has_a_span_too(stage: Stage, collected: Collector, traced: Any) -> None:
    plugin = Plugin(unique("invalid"))

    @plugin.handler()
    async def work(event: Ping) -> None: ...

    await traced(plugin)
    await stage.bus.store("test.ping", b"{}", {"ce-id": "odd"})
    (span,) = await arrived(collected, "test.ping")
    assert (span.attributes["stenobus.result"], span.attributes["stenobus.reason"]) == ("dead letter", "invalid")
    await stage.publish(Ping(number=1), id="once")
    await arrived(collected, "test.ping", result="done")
    body = Ping(number=1)
    await stage.bus.store(body.subject, body.body(), {"ce-id": "once", "ce-source": "test"})
    await arrived(collected, "test.ping", result="duplicate")


async def test_a_foreign_producers_trace_goes_on(stage: Stage, collected: Collector, traced: Any) -> None:
    plugin, behind = Plugin(unique("foreign")), Plugin(unique("behind"))

    @plugin.handler()
    async def work(event: Ping) -> Pong:
        return Pong(number=1)

    @behind.handler()
    async def end(event: Pong) -> None: ...

    await traced(plugin, behind)
    theirs = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await stage.bus.store("test.ping", b'{"number": 1}', {"traceparent": theirs})
    (span,) = await arrived(collected, "test.ping")
    assert (span.trace, span.parent) == ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
    (after,) = await arrived(collected, "test.pong")
    assert (after.trace, after.parent) == (span.trace, span.id)
    for broken in ("nonsense", f"00-{'0' * 32}-{'1' * 16}-01", "ff" + theirs[2:]):
        await stage.bus.store("test.ping", b'{"number": 1}', {"traceparent": broken, "ce-correlationid": "own"})
    own = await arrived(collected, "test.ping", 3, run="own")
    assert [s.parent for s in own] == ["", "", ""]
    unsampled = theirs[:-2] + "00"
    await stage.bus.store("test.ping", b'{"number": 1}', {"traceparent": unsampled, "ce-id": "quiet"})

    async def all_passed() -> bool:
        return len(await stage.stored(Pong)) == 5 and await stage.settled(behind.name)

    await eventually(all_passed)
    assert not [s for s in collected.spans if s.attributes["messaging.message.id"] == "quiet"]
    (quiet,) = [m for m in await stage.stored(Pong) if m.attributes["causationid"] == "quiet"]
    assert quiet.headers["traceparent"].endswith("-00")


async def test_a_question_and_its_answer_are_in_the_askers_trace(
    stage: Stage, collected: Collector, traced: Any
) -> None:
    asking, answering = Plugin(unique("asking")), Plugin(unique("answering"))

    @asking.handler(requests=[Ask])
    async def ask(event: Ping, ctx: Context[Any, Any]) -> Pong:
        answer = await ctx.request(Ask(question="?"))
        return Pong(number=1, text=answer.text)

    @answering.handler()
    async def answer(event: Ask) -> Answer:
        return Answer(text="!")

    await traced(asking, answering)
    await stage.publish(Ping(number=1))
    (outer,) = await arrived(collected, "test.ping")
    (inner,) = await arrived(collected, "test.ask")
    assert (inner.trace, inner.parent) == (outer.trace, outer.id)
    (told,) = await stage.stored(Answer)
    assert told.headers["traceparent"] == f"00-{outer.trace}-{inner.id}-01"


async def test_a_replay_is_in_the_trace_of_its_run_and_says_so(stage: Stage, collected: Collector, traced: Any) -> None:
    plugin = Plugin(unique("replayed"))

    @plugin.handler()
    async def work(event: Ping) -> None: ...

    await traced(plugin)
    await stage.publish(Ping(number=1))
    (first,) = await arrived(collected, "test.ping")
    mark = await replay(stage.bus, plugin.name, await stage.stored(Ping))
    (again,) = await arrived(collected, "test.ping", replay=mark)
    assert again.trace == first.trace and again.id != first.id


async def test_a_stopped_handlers_span_ends_and_the_next_process_links_to_it(
    stage: Stage, collected: Collector, traced: Any
) -> None:
    plugin, gate = Plugin(unique("stopped")), Gate()

    @plugin.handler()
    async def work(event: Ping) -> None:
        await gate()

    await traced(plugin)
    await stage.publish(Ping(number=1))
    await eventually(lambda: gate.waiting == 1)
    await stage.hosts.pop().stop(grace=0)
    (first,) = await arrived(collected, "test.ping")
    assert first.attributes["stenobus.result"] == "handed back"
    gate.open()
    await traced(plugin)
    await eventually(lambda: len(collected.of("test.ping")) == 2)
    second = collected.of("test.ping")[1]
    assert (second.links, second.attributes["stenobus.attempt"]) == ((first.id,), 1)
    assert second.attributes["stenobus.result"] == "done"


async def test_a_permanent_error_is_a_dead_letter_in_the_trace(stage: Stage, collected: Collector, traced: Any) -> None:
    plugin = Plugin(unique("permanent"))

    @plugin.handler()
    async def work(event: Ping) -> None:
        raise PermanentError("never")

    await traced(plugin)
    await stage.publish(Ping(number=1))
    (span,) = await arrived(collected, "test.ping")
    assert (span.attributes["stenobus.result"], span.attributes["stenobus.reason"]) == ("dead letter", "permanent")
    assert not trace.get_current_span().get_span_context().is_valid


# --- processes -------------------------------------------------------------------------------------------------------

CHAIN = '''
    """Three plugins: the second fails once, the third waits to be killed the first time."""

    import asyncio
    import os
    from pathlib import Path

    from stenobus_bus import RetryPolicy
    from stenobus_contracts import Event
    from stenobus_core import Context, Plugin


    class One(Event, subject="chain.one"):
        number: int


    class Two(Event, subject="chain.two"):
        number: int


    class Three(Event, subject="chain.three"):
        number: int


    first, second, third = Plugin("chain-first"), Plugin("chain-second"), Plugin("chain-third")


    @first.handler()
    async def begin(event: One) -> Two:
        return Two(number=event.number)


    @second.handler(retry=RetryPolicy(base=0.01))
    async def go_on(event: Two, ctx: Context) -> Three:
        if ctx.attempt == 1:
            raise ValueError("not yet")
        return Three(number=event.number)


    @third.handler(retry=RetryPolicy(base=0.01))
    async def end(event: Three, ctx: Context) -> None:
        if ctx.attempt == 1:
            Path(os.environ["CHAIN_AT_WORK"]).touch()
            await asyncio.Event().wait()
'''
COMMAND = [sys.executable, "-c", "from stenobus_core.cli import main; main()"]


@pytest.fixture
def environment(bus: Bus, collected: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Of processes that run the chain and send their spans, switched on by nothing but the standard variables."""
    site = Site(tmp_path / "site", monkeypatch)
    for name in ("first", "second", "third"):
        site.install(f"chain-{name}", CHAIN if name == "first" else "", entry=f"installed_chain_first:{name}")
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(site.folder), os.environ.get("PYTHONPATH")])),
        "STENOBUS_NATS_URL": bus.nc.connected_url.geturl(),
        "STENOBUS_DATA_DIR": str(tmp_path / "data"),
        "STENOBUS_PLUGINS": "chain",
        "STENOBUS_ACK_WAIT": "1",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collected.url,
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "OTEL_BSP_SCHEDULE_DELAY": "20",
        "OTEL_SERVICE_NAME": "chain",
        "CHAIN_AT_WORK": str(tmp_path / "at-work"),
    }


async def _up(environment: dict[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *COMMAND, "up", env=environment, stderr=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL
    )


async def test_one_trace_goes_through_three_plugins_a_retry_and_a_killed_process(
    bus: Bus, collected: Collector, environment: dict[str, str]
) -> None:
    await apply(bus, [domain("chain"), *topology("stenobus")])
    one = await _up(environment)
    try:
        await bus.store("chain.one", b'{"number": 1}', {"ce-correlationid": "walk"})
        await eventually(lambda: Path(environment["CHAIN_AT_WORK"]).exists())
        await eventually(lambda: len(collected.spans) == 3)
        one.send_signal(signal.SIGKILL)
        await one.wait()
        two = await _up(environment)
        await eventually(lambda: len(collected.spans) == 4)
        two.terminate()
        assert await two.wait() == 0
    finally:
        if one.returncode is None:
            one.kill()
    (begun,) = collected.of("chain.one")
    failed, done = collected.of("chain.two")
    (ended,) = collected.of("chain.three")
    assert len({span.trace for span in collected.spans}) == 1
    assert (begun.parent, begun.links) == ("", ())
    assert (failed.parent, failed.failed, failed.events) == (begun.id, True, ("not yet",))
    assert (done.parent, done.links, done.attributes["stenobus.attempt"]) == (begun.id, (failed.id,), 2)
    assert (ended.parent, ended.attributes["stenobus.attempt"]) == (done.id, 2)
    # The attempt that died with its process never arrived; its id is known all the same.
    (lost,) = ended.links
    assert lost not in {span.id for span in collected.spans}
    assert {span.resource["service.name"] for span in collected.spans} == {"chain"}


async def test_a_collector_that_does_not_answer_holds_up_neither_events_nor_the_stop(
    bus: Bus, collected: Collector, environment: dict[str, str]
) -> None:
    collected.silent.set()
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "up", "chain-first", env=environment, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr
    lines = []
    async with asyncio.timeout(60):
        async for line in process.stderr:
            lines.append(line)
            if b'"event": "up"' in line:
                break
    assert any(b"tracing.on" in line for line in lines)
    await bus.store("chain.one", b'{"number": 1}', {})

    async def passed() -> bool:
        return bool((await bus.api("STREAM.INFO.CHAIN"))["state"]["messages"] == 2)

    await eventually(passed)
    process.terminate()
    async with asyncio.timeout(60):
        _, rest = await process.communicate()
    assert process.returncode == 0
    assert b"did not take the last spans" in rest


def test_nothing_of_opentelemetry_is_imported_while_it_is_off(environment: dict[str, str]) -> None:
    off = {name: value for name, value in environment.items() if not name.startswith("OTEL_")}
    code = (
        "import sys, asyncio\nfrom stenobus_core.tracing import tracing\nimport stenobus_core.cli.up\n"
        "async def main():\n    async with tracing() as observe:\n"
        "        print(observe, [m for m in sys.modules if m.startswith(('opentelemetry', 'prometheus'))])\n"
        "asyncio.run(main())"
    )
    for variables in ({}, {"OTEL_TRACES_EXPORTER": "none"}, {"OTEL_SDK_DISABLED": "true"}):
        on = {} if not variables else {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
        done = subprocess.run(
            [sys.executable, "-c", code], env=off | on | variables, capture_output=True, text=True, check=True
        )
        assert done.stdout == "None []\n", variables
