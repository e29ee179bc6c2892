"""What a handler gets beside its event: blobs, and the stage cache."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from stenobus_bus import BlobNotFound, Bus, EmbeddedServer, PermanentError, RetryPolicy, apply
from stenobus_contracts import BlobRef, Media
from stenobus_core import BlobStore, Context, CoreSettings, Plugin
from stenobus_core.blobs import Blobs
from stenobus_core.cache import StageCache, cache_key
from stenobus_core.file_store import FileStore, file_uri
from stenobus_core.runs import Runs
from stenobus_core.services import topology
from stenobus_testing.blob_store_contract import BlobStoreContract
from stenobus_testing.stage import Stage, unique
from stenobus_testing.waiting import DEADLINE, Gate, eventually

from ..support.contracts import Ping


class TestFileStore(BlobStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> BlobStore:
        return FileStore(tmp_path / "blobs")

    @pytest.fixture
    def missing(self, tmp_path: Path) -> str:
        return file_uri(tmp_path / "nothing here")


@pytest.fixture
async def blobs(bus: Bus, settings: CoreSettings) -> AsyncIterator[Blobs]:
    blobs = Blobs(settings, bus)
    yield blobs
    await blobs.close()


def media(path: Path, **known: Any) -> Media:
    return Media(uri=file_uri(path), **known)


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    path = tmp_path / "my talk é.txt"
    path.write_bytes(b"hello")
    return path


async def test_new_blobs_go_to_the_bus_unless_a_setting_names_another_store(
    bus: Bus, settings: CoreSettings, blobs: Blobs
) -> None:
    ref = await blobs.put(b"hello", "text/plain")
    assert ref.uri.startswith("nats://stenobus/")
    assert await blobs.read(ref) == b"hello"
    files = Blobs(settings.model_copy(update={"blob_store": "file"}), bus)
    ref = await files.put(b"hello", "text/plain")
    assert ref.uri.startswith(f"file://{settings.data_dir}/blobs/")
    assert await blobs.read(ref) == b"hello"


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({"size": 4}, "5 bytes found where 4 were promised"),
        ({"size": 6}, "5 bytes found where 6 were promised"),
        ({"sha256": "0" * 64}, "differs from the promised hash"),
    ],
)
async def test_content_that_is_not_what_was_promised_is_a_permanent_error(
    blobs: Blobs, talk: Path, known: dict[str, Any], message: str
) -> None:
    with pytest.raises(PermanentError, match=message):
        await blobs.read(media(talk, **known))
    with pytest.raises(PermanentError, match=message):
        async with blobs.fetch(media(talk, **known)):
            pytest.fail("never handed out")


async def test_what_was_promised_is_read(blobs: Blobs, talk: Path) -> None:
    known = media(talk, size=5, sha256=hashlib.sha256(b"hello").hexdigest())
    assert await blobs.read(known) == b"hello"
    async with blobs.fetch(known) as path:
        assert path == talk  # no copy


async def test_a_fetched_blob_is_a_file_with_its_suffix_that_goes_again(blobs: Blobs) -> None:
    ref = await blobs.put(b"hello", "text/plain")
    named = Media(uri=ref.uri, size=5, sha256=ref.sha256)
    async with blobs.fetch(named) as path:
        assert path.read_bytes() == b"hello"
    assert not path.exists()


async def test_reading_is_bounded(blobs: Blobs, talk: Path) -> None:
    with pytest.raises(PermanentError, match="larger than the limit of 4 bytes"):
        await blobs.read(media(talk), limit=4)


async def test_files_outside_the_roots_are_not_read(bus: Bus, settings: CoreSettings, talk: Path) -> None:
    root = talk.parent / "allowed"
    root.mkdir()
    (root / "inside.txt").write_bytes(b"inside")
    (root / "link.txt").symlink_to(talk)
    limited = Blobs(settings.model_copy(update={"file_roots": (root,)}), bus)
    assert await limited.read(media(root / "inside.txt")) == b"inside"
    for uri in (
        file_uri(talk), f"file://{root}/../{talk.name}", f"file://{root}/link.txt", "file:///etc/passwd",
        f"file://{root}/%2e%2e/{talk.name}",
    ):  # fmt: skip
        with pytest.raises(PermanentError, match="lies outside the folders of STENOBUS_FILE_ROOTS"):
            await limited.read(Media(uri=uri))


async def test_what_is_no_file_is_not_found_and_never_waited_for(blobs: Blobs, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for uri in (
        file_uri(tmp_path), file_uri(tmp_path / "pipe"), "file:///dev/zero", "file:///a%00b",
        file_uri(tmp_path / "no" / "such" / "file"), file_uri(tmp_path / ("x" * 300)),
    ):  # fmt: skip
        async with asyncio.timeout(DEADLINE):
            with pytest.raises((BlobNotFound, PermanentError)):
                await blobs.read(Media(uri=uri))


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("file://talk.wav", "write file:///path with three slashes"),
        ("acme://bucket/key", "acme:// needs a blob store that is not installed; try `pip install stenobus-acme`"),
    ],
)
async def test_an_address_that_leads_nowhere_says_what_to_do(blobs: Blobs, uri: str, message: str) -> None:
    with pytest.raises(PermanentError, match=message):
        await blobs.read(Media(uri=uri))


async def test_an_interrupted_store_leaves_no_half_file(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "blobs")
    with pytest.raises(OSError):
        await store.put(tmp_path / "nothing", "text/plain")
    assert list((tmp_path / "blobs").iterdir()) == []


# --- in a handler ----------------------------------------------------------------------------------------------------

Use = Callable[[Ping, Context[Any, Any]], Awaitable[None]]


def using(use: Use, name: str | None = None) -> Plugin:
    plugin = Plugin(name or unique())

    @plugin.handler(attempts=1)
    async def work(event: Ping, ctx: Context[Any, Any]) -> None:
        await use(event, ctx)

    return plugin


class Result(BaseModel):
    value: int


class Other(BaseModel):
    value: str


async def test_a_blob_that_is_gone_is_a_permanent_error_that_says_what_to_do(stage: Stage, talk: Path) -> None:
    gone = BlobRef(uri=f"nats://stenobus/{'0' * 64}", sha256="0" * 64, size=1)
    errors: list[str] = []

    async def use(event: Ping, ctx: Context[Any, Any]) -> None:
        for attempt in (ctx.read(gone), ctx.read_model(gone, Result)):
            with pytest.raises(PermanentError) as error:
                await attempt
            errors.append(str(error.value))
        with pytest.raises(PermanentError):
            async with ctx.fetch(gone):
                pass
        with pytest.raises(PermanentError, match="is no Result: Input should be a valid integer"):
            await ctx.read_model(await ctx.store_model(Other(value="x")), Result)
        assert await ctx.read_model(await ctx.store_model(Result(value=3)), Result) == Result(value=3)
        assert await ctx.read(await ctx.store(talk, "text/plain")) == b"hello"
        errors.append("done")

    await stage.run(using(use))
    await stage.publish(Ping(number=1))
    await eventually(lambda: errors[-1:] == ["done"])
    assert errors[0] == f"{gone.uri} does not exist; store it again and publish the event anew."


class Stages:
    """A handler with one cached stage."""

    def __init__(self) -> None:
        self.computed: list[int] = []
        self.results: list[Any] = []
        self.parts: tuple[Any, ...] = ("v1", {"model": "a"})
        self.shape: type[BaseModel] = Result
        self.text = "text"

    async def __call__(self, event: Ping, ctx: Context[Any, Any]) -> None:
        async def produce() -> BaseModel:
            self.computed.append(event.number)
            return self.shape.model_validate({"value": event.number if self.shape is Result else self.text})

        self.results.append(await ctx.cached(self.shape, produce, *self.parts))


async def test_equal_inputs_are_computed_once_and_the_run_says_so(stage: Stage) -> None:
    stages = Stages()
    await stage.run(using(stages))
    for number in (1, 2):
        await stage.publish(Ping(number=number), run=f"run-{number}")
        await eventually(lambda: len(stages.results) == number)  # noqa: B023
    assert (stages.computed, stages.results) == ([1], [Result(value=1), Result(value=1)])
    assert await eventually(lambda: _cached(stage)) == {"run-1": False, "run-2": True}


async def _cached(stage: Stage) -> Any:
    steps = await stage.steps()
    return {step.run: step.cached for step in steps} if {step.status for step in steps} == {"done"} else None


async def test_a_changed_input_handler_or_shape_is_computed_anew(stage: Stage) -> None:
    stages, other = Stages(), Stages()
    await stage.run(using(stages, name := unique()))
    changes: list[tuple[tuple[Any, ...], type[BaseModel]]] = [
        (("v1",), Result), (("v2",), Result), (("v2", {"a": 1, "b": 2}), Result), (("v2", {"b": 2, "a": 1}), Result),
        (("v2",), Other), (("v2", None), Result),
    ]  # fmt: skip
    for number, (stages.parts, stages.shape) in enumerate(changes, 1):
        await stage.publish(Ping(number=number))
        await eventually(lambda: len(stages.results) == number)  # noqa: B023
    assert stages.computed == [1, 2, 3, 5, 6]  # the fourth is the third in another order
    other.parts = ("v1",)
    await stage.run(using(other, f"{name}-other"))
    await eventually(lambda: len(other.results) == len(changes))
    assert other.computed  # another handler keeps its results to itself


async def test_a_kept_result_whose_blob_is_gone_is_computed_anew(stage: Stage) -> None:
    stages = Stages()
    stages.shape, stages.text = Other, "long " * 20_000
    await stage.run(using(stages))
    await stage.publish(Ping(number=1))
    await eventually(lambda: len(stages.results) == 1)
    await stage.bus.api("STREAM.PURGE.OBJ_stenobus")
    await stage.publish(Ping(number=2))
    await eventually(lambda: len(stages.results) == 2)
    await stage.publish(Ping(number=3))
    await eventually(lambda: len(stages.results) == 3)
    assert stages.computed == [1, 2]


async def test_a_kept_result_of_another_shape_is_none(bus: Bus, blobs: Blobs) -> None:
    await apply(bus, topology("stenobus"))
    cache = await StageCache.open(bus, blobs)
    for text in ("long " * 20_000, "text"):
        await cache.put("key", Other(value=text))
        assert await cache.get("key", Other) == Other(value=text)
    assert await cache.get("key", Result) is None
    assert await cache.get("other", Other) is None


async def test_the_cache_can_be_switched_off(stage: Stage) -> None:
    stages = Stages()
    await stage.run(using(stages), cache=False)
    for number in (1, 2):
        await stage.publish(Ping(number=number))
        await eventually(lambda: len(stages.results) == number)  # noqa: B023
    assert stages.computed == [1, 2]


def test_a_blob_counts_by_its_content_and_not_by_where_it_lies() -> None:
    here, there = (BlobRef(uri=f"{uri}://b/k", sha256="0" * 64, size=1) for uri in ("nats", "s3"))
    other = BlobRef(uri="nats://b/k", sha256="1" * 64, size=1)
    assert cache_key("a", Result, (here,)) == cache_key("a", Result, (there,))
    assert cache_key("a", Result, (here,)) != cache_key("a", Result, (other,))


# --- facts of earlier attempts ---------------------------------------------------------------------------------------


async def test_an_attempt_knows_what_the_ones_before_it_noted(stage: Stage) -> None:
    plugin, seen = Plugin(unique("careful")), []

    @plugin.handler(retry=RetryPolicy(attempts=3, base=0.01))
    async def work(event: Ping, ctx: Context[Any, Any]) -> None:
        seen.append(dict(ctx.earlier))
        spent = ctx.earlier.get("spent", 0) + 10
        ctx.note(spent=spent, **{f"attempt_{ctx.attempt}": True})
        if ctx.attempt < 3:
            raise ValueError("not yet")

    await stage.run(plugin)
    envelope = await stage.publish(Ping(number=1))
    await stage.run_until_idle()
    [step] = await stage.steps(envelope.run)
    assert seen == [{}, {"spent": 10, "attempt_1": True}, {"spent": 20, "attempt_1": True, "attempt_2": True}]
    assert step.facts == {"spent": 30, "attempt_1": True, "attempt_2": True, "attempt_3": True}


async def test_what_was_noted_before_a_process_stopped_is_known_to_the_next_one(
    stage: Stage, server: EmbeddedServer
) -> None:
    plugin, gate, seen = Plugin(unique("handed")), Gate(), []

    @plugin.handler()
    async def work(event: Ping, ctx: Context[Any, Any]) -> None:
        seen.append((ctx.attempt, dict(ctx.earlier)))
        ctx.note(asked="model")
        await gate()

    async with await Bus.connect(server.url) as bus:
        first = await stage.run(plugin, bus=bus)
        await stage.publish(Ping(number=1))
        await eventually(lambda: gate.waiting == 1)
        await first.stop(grace=0)
    gate.open()
    await stage.run(plugin)
    await eventually(lambda: len(seen) == 2)
    assert seen == [(1, {}), (1, {"asked": "model"})]


async def test_what_is_noted_late_is_in_the_record_while_the_step_still_runs(stage: Stage) -> None:
    plugin, second, end = Plugin(unique("late")), Gate(), Gate()

    @plugin.handler()
    async def work(event: Ping, ctx: Context[Any, Any]) -> None:
        ctx.note(call=1)
        await second()
        ctx.note(call=2)
        await end()

    await stage.run(plugin)
    envelope = await stage.publish(Ping(number=1))

    async def noted() -> list[Any]:
        return [(step.status, step.facts) for step in await stage.steps(envelope.run)]

    await eventually(lambda: _is(noted(), [("running", {"call": 1})]))
    second.open()
    await eventually(lambda: _is(noted(), [("running", {"call": 2})]))
    end.open()
    await stage.run_until_idle()


async def _is(found: Awaitable[Any], wanted: Any) -> bool:
    return bool(await found == wanted)


async def test_the_steps_of_one_handler_are_read_without_those_of_others(stage: Stage) -> None:
    one, other = Plugin(unique("one")), Plugin(unique("other"))

    @one.handler()
    async def work(event: Ping, ctx: Context[Any, Any]) -> None: ...

    @other.handler(name=f"{other.name}-x")
    async def more(event: Ping, ctx: Context[Any, Any]) -> None: ...

    await stage.run(one, other)
    envelopes = [await stage.publish(Ping(number=number)) for number in range(3)]
    await stage.run_until_idle()
    runs = await Runs.open(stage.bus)
    steps = [step async for step in runs.of(one.name)]
    assert {step.run for step in steps} == {envelope.run for envelope in envelopes}
    assert {step.handler for step in steps} == {one.name}
    assert [step.run async for step in runs.of(one.name, run=envelopes[1].run)] == [envelopes[1].run]
    last = max(step.finished for step in steps if step.finished)
    assert [step async for step in runs.of(one.name, since=last + timedelta(seconds=5))] == []
    assert len([step async for step in runs.of(one.name, since=last - timedelta(minutes=1))]) == 3
