"""What Prometheus sees of a process."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from stenobus_bus import Envelope, PermanentError, RetryPolicy
from stenobus_bus.history import replay
from stenobus_bus.stats import Histogram
from stenobus_core import Context, Figure, Plugin
from stenobus_core.errors import SettingsError
from stenobus_core.figures import MOST_ROWS
from stenobus_core.lag import lag, oldest
from stenobus_core.metrics import MetricsServer
from stenobus_testing.stage import Stage, unique
from stenobus_testing.waiting import Gate, eventually

from ..support.contracts import Ping, Pong

QUICK = RetryPolicy(attempts=2, base=0.01)


class Scrape:
    """The samples of one look, by name and labels."""

    def __init__(self, text: str, parse: Any = text_string_to_metric_families) -> None:
        self.samples = [sample for family in parse(text) for sample in family.samples]

    def value(self, name: str, **labels: str) -> float:
        (found,) = (s.value for s in self.samples if s.name == name and labels.items() <= s.labels.items())
        return float(found)

    def ours(self) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
        return {(s.name, tuple(sorted(s.labels.items()))) for s in self.samples if s.name.startswith("stenobus_")}


async def get(server: MetricsServer, path: str, *, method: str = "GET", accept: str = "*/*") -> tuple[int, str, str]:
    """Status, content type and body of an answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n".encode())
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:])
    assert int(headers["Content-Length"]) == len(body.encode()) or method == "HEAD"
    return int(head.split()[1]), headers["Content-Type"], body


async def scrape(server: MetricsServer) -> Scrape:
    status, _, body = await get(server, "/metrics")
    assert status == 200
    server._figures._looked = float("-inf")  # the next one asks the server anew
    return Scrape(body)


@pytest.fixture
async def opened(stage: Stage) -> AsyncIterator[Any]:
    servers: list[MetricsServer] = []

    async def open_(*plugins: Plugin, **more: Any) -> MetricsServer:
        server = MetricsServer(await stage.run(*plugins, **more), "127.0.0.1", 0)
        await server.start()
        servers.append(server)
        return server

    yield open_
    for server in servers:
        await server.stop()


async def test_every_fate_of_an_event_is_counted_by_plugin_handler_and_subject(stage: Stage, opened: Any) -> None:
    plugin = Plugin(unique("counted"))

    @plugin.handler(retry=QUICK)
    async def work(event: Ping, ctx: Context[Any, Any]) -> Pong:
        if event.text == "never":
            raise PermanentError("never")
        if event.text == "later" and ctx.attempt == 1:
            raise ValueError("not now")
        if event.text == "exhausting":
            raise ValueError("again and again")
        return Pong(number=event.number)

    server = await opened(plugin)
    for number, text in enumerate(("", "never", "later", "exhausting", "")):
        await stage.publish(Ping(number=number, text=text))
    same = Ping(number=9)
    for source in ("one", "one"):  # the second beyond the server's window for duplicates
        await stage.bus.store(same.subject, same.body(), {"ce-id": "same", "ce-source": source})
    await eventually(lambda: stage.settled(plugin.name))
    here = {"plugin": plugin.name, "handler": plugin.name, "subject": "test.ping"}
    seen = await scrape(server)
    assert seen.value("stenobus_handled_total", **here) == 4
    assert seen.value("stenobus_failures_total", **here) == 4
    assert seen.value("stenobus_retried_total", **here) == 2
    assert seen.value("stenobus_skipped_total", **here) == 1
    assert seen.value("stenobus_buried_total", reason="permanent", **here) == 1
    assert seen.value("stenobus_buried_total", reason="exhausted", **here) == 1
    assert seen.value("stenobus_handler_seconds_count", **here) == 8
    assert seen.value("stenobus_handler_seconds_bucket", le="+Inf", **here) == 8
    assert seen.value("stenobus_publish_seconds_count", **here) == 4
    assert seen.value("stenobus_dead_letters", handler=plugin.name, reason="permanent") == 1
    assert seen.value("stenobus_dead_letters", handler=plugin.name, reason="exhausted") == 1
    assert seen.value("stenobus_oldest_pending_seconds", **here) == 0
    assert seen.value("stenobus_ready") == 1
    assert seen.value("stenobus_unanswered_questions") == 0
    assert seen.value("stenobus_stream_messages", stream="TEST") == 11
    assert seen.value("stenobus_stream_max_age_seconds", stream="TEST") == 30 * 86400


async def test_what_waits_is_seen_with_the_age_of_the_oldest(stage: Stage, opened: Any) -> None:
    plugin, gate = Plugin(unique("slow")), Gate()

    @plugin.handler(concurrency=2)
    async def work(event: Ping, ctx: Context[Any, Any]) -> None:
        if event.text == "stuck":
            await gate()

    server = await opened(plugin)
    worker = stage.hosts[0].workers[plugin.name]
    for number in range(20):  # long enough for their ages to differ
        await stage.publish(Ping(number=number))
        await eventually(lambda wanted=number + 1: worker.handled == wanted)
    await stage.publish(Ping(number=20, text="stuck"))
    await eventually(lambda: gate.waiting == 1)
    await stage.publish(Ping(number=21))  # done before the one that came earlier
    await eventually(lambda: worker.handled == 21)
    for number in range(22, 25):
        await stage.publish(Ping(number=number, text="stuck"))
    await eventually(lambda: gate.waiting == 2)
    seen = await scrape(server)
    assert (seen.value("stenobus_in_hand"), seen.value("stenobus_slots")) == (2, 2)
    assert (seen.value("stenobus_unsettled"), seen.value("stenobus_pending")) == (2, 2)
    age = seen.value("stenobus_oldest_pending_seconds")
    later = (await scrape(server)).value("stenobus_oldest_pending_seconds")
    stored = await stage.stored(Ping)
    exact = await oldest(stage.bus, await lag(stage.bus, "TEST", plugin.name))
    now = datetime.now(UTC)
    nearest = min(stored, key=lambda event: abs((now - event.time).total_seconds() - exact))
    assert nearest.sequence in {20, 21, 22} and stored[20].sequence == 21
    assert 0 < age < later < exact
    gate.open()
    await eventually(lambda: stage.settled(plugin.name))
    await eventually(lambda: _nothing_waits(server))


async def _nothing_waits(server: MetricsServer) -> bool:
    seen = await scrape(server)
    return seen.value("stenobus_oldest_pending_seconds") == seen.value("stenobus_in_hand") == 0


async def test_no_id_becomes_a_label_however_many_runs_events_and_replays_there_are(stage: Stage, opened: Any) -> None:
    plugin = Plugin(unique("many"))

    @plugin.handler(retry=QUICK)
    async def work(event: Ping, ctx: Context[Any, Any]) -> Pong:
        if event.number % 5 == 0:
            raise PermanentError(f"event {event.number} of {ctx.run}")
        return Pong(number=event.number)

    server = await opened(plugin)

    async def burst(first: int) -> Scrape:
        for number in range(first, first + 20):
            event = Ping(number=number)
            await stage.bus.publish(event, Envelope.new(event, f"source-{number}", run=f"run-{number}"))
        await replay(stage.bus, plugin.name, (await stage.stored(Ping))[first : first + 3])
        await eventually(lambda: stage.settled(plugin.name))
        return await scrape(server)

    before = (await burst(0)).ours()
    after = (await burst(20)).ours()
    assert after == before
    assert {name for _, labels in after for name, _ in labels} <= {
        "plugin", "handler", "subject", "reason", "stream", "le",
    }  # fmt: skip


async def test_ready_tells_which_handler_is_not_and_healthy_does_not_depend_on_it(stage: Stage, opened: Any) -> None:
    plugin = Plugin(unique("readiness"))

    @plugin.handler()
    async def work(event: Ping) -> None: ...

    server = await opened(plugin)
    assert (await get(server, "/healthz"))[0] == 200
    status, kind, body = await get(server, "/readyz")
    assert (status, kind) == (200, "application/json")
    expected = {"ready": True, "connected": True, "handlers": {plugin.name: True}, "failed": {}}
    assert json.loads(body) == expected
    await stage.bus.api("STREAM.DELETE.TEST")

    async def red() -> bool:
        return (await get(server, "/readyz"))[0] == 503

    await eventually(red)
    assert json.loads((await get(server, "/readyz"))[2])["handlers"] == {plugin.name: False}
    assert (await get(server, "/healthz"))[0] == 200
    seen = await scrape(server)
    assert (seen.value("stenobus_ready"), seen.value("stenobus_handler_ready")) == (0, 0)
    assert seen.value("stenobus_unanswered_questions") >= 2  # it says so instead of showing no lag


async def test_openmetrics_is_spoken_to_whoever_asks_for_it(stage: Stage, opened: Any) -> None:
    plugin = Plugin(unique("open"))

    @plugin.handler()
    async def work(event: Ping) -> None: ...

    server = await opened(plugin)
    _, kind, body = await get(server, "/metrics", accept="application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    assert Scrape(body, openmetrics).value("stenobus_slots", handler=plugin.name) == 4


async def test_anything_else_is_answered_shortly(stage: Stage, opened: Any) -> None:
    plugin = Plugin(unique("strict"))

    @plugin.handler()
    async def work(event: Ping) -> None: ...

    server = await opened(plugin)
    assert (await get(server, "/"))[0] == 404
    assert (await get(server, "/metrics", method="POST"))[0] == 405
    assert await get(server, "/healthz?x=1", method="HEAD") == (200, "text/plain", "")
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"x" * 100_000)
    assert await reader.read() == b""  # no request, no answer
    writer.close()


async def test_many_scrapers_cost_the_server_as_much_as_one(stage: Stage, opened: Any) -> None:
    plugin = Plugin(unique("shared"))

    @plugin.handler()
    async def work(event: Ping) -> None: ...

    server = await opened(plugin)
    asked = 0

    async def count(_: Any) -> None:
        nonlocal asked
        asked += 1

    watching = await stage.bus.nc.subscribe(f"$JS.API.CONSUMER.INFO.TEST.{plugin.name}", cb=count)
    await stage.bus.nc.flush()
    await asyncio.gather(*(get(server, "/metrics") for _ in range(10)))
    await stage.bus.nc.flush()
    await watching.unsubscribe()
    assert asked == 1


async def test_a_busy_port_is_one_sentence(stage: Stage, opened: Any) -> None:
    plugin = Plugin(unique("busy"))

    @plugin.handler()
    async def work(event: Ping) -> None: ...

    server = await opened(plugin)
    with pytest.raises(SettingsError, match=r"STENOBUS_METRICS_PORT: 127.0.0.1:.* name another port"):
        await MetricsServer(stage.hosts[0], "127.0.0.1", server.port).start()


# --- a plugin's own figures ------------------------------------------------------------------------------------------


async def test_a_plugin_tells_figures_of_its_own(stage: Stage, opened: Any) -> None:
    plugin, seconds = Plugin(unique("own")), Histogram()
    counted: Counter[str] = Counter()

    @plugin.lifespan
    async def state(settings: Any) -> AsyncIterator[Counter[str]]:
        yield counted

    @plugin.metrics
    def figures(state: Counter[str]) -> list[Figure]:
        return [
            Figure("words", "Words seen", "counter", {(word,): n for word, n in state.items()}, ("word",)),
            Figure("mood", "How it feels", "gauge", {(): 0.5}),
            Figure("word_seconds", "Time of a word", "histogram", {("a",): seconds}, ("word",)),
        ]

    @plugin.handler()
    async def work(event: Ping, ctx: Context[Any, Counter[str]]) -> None:
        ctx.state[event.text] += 1
        seconds.observe(0.2)

    server = await opened(plugin)
    for word in ("a", "b", "a"):
        await stage.publish(Ping(number=1, text=word))
    await eventually(lambda: stage.settled(plugin.name))
    prefix = f"stenobus_{plugin.name.replace('-', '_')}"
    seen = await scrape(server)
    assert (seen.value(f"{prefix}_words_total", word="a"), seen.value(f"{prefix}_words_total", word="b")) == (2, 1)
    assert seen.value(f"{prefix}_mood") == 0.5
    assert seen.value(f"{prefix}_word_seconds_bucket", word="a", le="0.25") == 3
    assert seen.value(f"{prefix}_word_seconds_bucket", word="a", le="0.1") == 0


@pytest.mark.parametrize(
    "bad",
    [
        [Figure("words", "Words", "counter", {(str(n),): n for n in range(MOST_ROWS + 1)}, ("word",))],
        [Figure("words", "Words", "counter", {("a", "b"): 1}, ("word",))],
        [Figure("words", "Words", "histogram", {("a",): 1}, ("word",))],
        [Figure("words", "Words", "gauge", {}), Figure("words", "Words", "gauge", {})],
    ],
)
async def test_figures_that_would_harm_a_scrape_are_left_out_and_nothing_else_is(
    stage: Stage, opened: Any, bad: list[Figure]
) -> None:
    plugin = Plugin(unique("bad"))
    plugin.metrics(lambda _: bad)

    @plugin.handler()
    async def work(event: Ping, ctx: Context[Any, Any]) -> None: ...

    seen = await scrape(await opened(plugin))
    assert seen.value("stenobus_ready") == 1
    assert not any("_words" in name for name, _ in seen.ours())
