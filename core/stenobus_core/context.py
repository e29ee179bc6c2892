"""What a handler gets beside its event."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import structlog
from pydantic import BaseModel, JsonValue, ValidationError

from stenobus_bus import (
    AnswerRefused,
    BlobNotFound,
    Envelope,
    PermanentError,
    Received,
    RequestTimeout,
    RetryableError,
    pieces,
)
from stenobus_bus import answers as bus_answers
from stenobus_contracts import BlobRef, Event, LlmChunk, LlmDone, Media

from . import remembered
from .blob_stores import Entry
from .blobs import READ_LIMIT
from .cache import Part, cache_key
from .errors import PluginError, Undeclared
from .settings import PluginSettings

if TYPE_CHECKING:
    from structlog.stdlib import BoundLogger

    from stenobus_bus import Budget, TokenBucket
    from stenobus_bus.cell import Cell

    from .runs import Step
    from .services import Services
    from .tracking import Track

S = TypeVar("S", bound=PluginSettings)
State = TypeVar("State")
M = TypeVar("M", bound=BaseModel)


class Context(Generic[S, State]):
    """One event's surroundings: settings, state, blobs, cache, requests, progress. Made anew for every attempt."""

    def __init__(
        self,
        handler: str,
        received: Received[Any],
        services: Services,
        track: Track,
        settings: S,
        state: State,
        limits: Mapping[str, TokenBucket] = MappingProxyType({}),
        outputs: Sequence[type[Event]] = (),
        requests: Sequence[type[Event]] = (),
        plugin: str = "",
    ) -> None:
        self._plugin = plugin or handler
        self._limits, self._outputs, self._requests = limits, outputs, requests
        self._handler, self._received, self._services, self._track = handler, received, services, track
        self._extra = 0
        #: The plugin's settings.
        self.settings = settings
        #: What the plugin's lifespan yielded.
        self.state = state

    @cached_property
    def log(self) -> BoundLogger:
        """Logger with run, handler and event id bound."""
        logger: BoundLogger = structlog.get_logger(self._handler)
        return logger.bind(run=self.run, handler=self._handler, event_id=self.event_id)

    @property
    def run(self) -> str:
        """The run this event belongs to."""
        return self._received.envelope.run

    @property
    def event_id(self) -> str:
        """The event's id."""
        return self._received.envelope.id

    @property
    def source(self) -> str:
        """Who published the event, such as ``stenobus/documents-extract``; ``unknown`` when it did not say."""
        return self._received.envelope.source

    @property
    def attempt(self) -> int:
        """Number of this attempt, from 1."""
        return self._received.attempt

    @property
    def redelivered(self) -> bool:
        """Whether the event was delivered before: an attempt failed, was handed back, or died without a word."""
        return self._received.delivery.count > 1

    @property
    def stored(self) -> int:
        """When the server stored the event, in nanoseconds since the epoch: the order of events, whoever handles them
        late. It goes on growing where a new server begins its sequences anew."""
        return self._received.delivery.timestamp

    @property
    def replay(self) -> str | None:
        """Id of the replay this event belongs to, None the first time. Outward effects may want to be skipped."""
        return self._received.envelope.replay

    @property
    def shadow(self) -> str | None:
        """Name of the shadow that takes this handler's outputs, None when they count.

        Only events are diverted. A handler that writes anywhere else by itself (a database, a mailbox, a bucket that
        is not content-addressed) must leave it alone, or do it under this name.
        """
        return self._received.envelope.shadow

    async def facts(self, contract: type[Event]) -> dict[str, JsonValue]:
        """What the handler of another contract says about itself; empty when it said nothing yet."""
        return await self._services.facts.get(contract)

    async def say(self, facts: Mapping[str, JsonValue]) -> None:
        """Say anew what ``@plugin.facts`` said of this handler at the start, where it no longer holds.

        A shadow speaks for nobody. Raises ServerUnavailable.
        """
        if not self.shadow:
            await self._services.facts.put(type(self._received.event), facts)

    def limit(self, name: str) -> TokenBucket:
        """A rate limit that the plugin declares and all its processes share.

        ::

            waited = await ctx.limit("tokens").acquire(1200)

            reservation = await ctx.limit("tokens").reserve(4000)  # an estimate
            await reservation.settle(3120)                         # what it really took

        Raises:
            PluginError: the plugin declares no such limit.
        """
        try:
            return self._limits[name]
        except KeyError:
            known = ", ".join(sorted(self._limits)) or "none"
            raise PluginError(f"There is no limit {name!r}; declared by @plugin.limits are: {known}.") from None

    def budget(self, name: str, limits: Mapping[str, Decimal]) -> Budget:
        """A budget that all processes of the plugin share: an estimate is held before, and settled with what it was.

        ::

            budget = ctx.budget("chars.2026-11", {"chars": Decimal(1_000_000)})
            held = await budget.reserve(ctx.event_id, {"chars": estimate})
            if isinstance(held, Shortfall): ...   # held.left is what there is
            await held.settle({"chars": used})

        Args:
            name: words of letters, digits, ``-`` and ``_``, joined by dots. Put the period in: a budget has no end,
                and is forgotten 40 days after its last change.
            limits: most of each unit.
        """
        return self._services.budgets.get(f"{self._plugin}.{name}", limits)

    def cell(self, name: str) -> Cell:
        """A JSON object that the plugin's processes share, and change one after the other; it is kept for good.

        ::

            def step(value):  # called again with what is there by then, when somebody else was faster
                return {"seen": value.get("seen", 0) + 1}, value.get("seen", 0)

            seen = await ctx.cell("visitors").change(step)

        A handler that may run twice for one event says in the object which event changed it. In a shadow, leave it
        alone.
        """
        return remembered.cell(self._services.bus, self._plugin, name)

    # --- content -----------------------------------------------------------------------------------------------------

    async def read(self, ref: BlobRef | Media, limit: int = READ_LIMIT) -> bytes:
        """The content behind a reference, verified where size and hash are known.

        Raises:
            PermanentError: it is gone, larger than ``limit`` bytes, or differs from what was promised.
        """
        try:
            return await self._services.blobs.read(ref, limit)
        except BlobNotFound as error:
            raise PermanentError(f"{error}; store it again and publish the event anew.") from error

    async def read_model(self, ref: BlobRef | Media, model: type[M]) -> M:
        """A JSON blob as a model.

        Raises:
            PermanentError: it is gone, differs from what was promised, or has another shape.
        """
        try:
            return model.model_validate_json(await self.read(ref))
        except ValidationError as error:
            raise PermanentError(
                f"{ref.uri} is no {model.__name__}: {error.errors(include_url=False)[0]['msg']}."
            ) from error

    def fetch(self, ref: BlobRef | Media) -> AbstractAsyncContextManager[Path]:
        """The content as a local file, for as long as the context manager is open. Raises as :meth:`read` does."""
        return self._services.fetch(ref)

    async def store(self, data: bytes | Path, content_type: str) -> BlobRef:
        """Store content under its hash."""
        return await self._services.blobs.put(data, content_type)

    async def write(self, data: bytes | Path, uri: str, content_type: str) -> None:
        """Store content at an address of one's choice, ``file:///folder/name`` or ``s3://bucket/key``, in place of what
        is there. No event carries it: whoever is only tried out (``ctx.shadow``) leaves it alone.

        Raises:
            PermanentError: nothing can be stored there.
            RetryableError: the store is out of reach.
        """
        await self._services.blobs.write(data, uri, content_type)

    def walk(self, uri: str) -> AsyncIterator[Entry]:
        """Every file below a folder of names, in order of their addresses.

        Raises:
            BlobNotFound: there is no such folder or bucket.
            PermanentError: not all of it can be listed.
            RetryableError: the store is out of reach.
        """
        return self._services.blobs.walk(uri)

    async def remove(self, uri: str, within: str | None = None) -> None:
        """Remove the file at an address of somebody's choice; removed already is as good. Whoever is only tried out
        (``ctx.shadow``) leaves it alone.

        Args:
            within: the folder below which folders that are empty then go, too; none does by default.

        Raises:
            PermanentError: it cannot be removed.
            RetryableError: the store is out of reach.
        """
        await self._services.blobs.remove(uri, within)

    async def store_model(self, model: BaseModel) -> BlobRef:
        """Store a model as JSON."""
        return await self.store(model.model_dump_json(exclude_none=True).encode(), "application/json")

    async def cached(self, shape: type[M], produce: Callable[[], Awaitable[M]], *parts: Part) -> M:
        """The result that follows from ``parts``: the kept one, or what ``produce`` makes and is then kept.

        Args:
            shape: model of the result.
            produce: makes it.
            parts: everything the result follows from: stage version, prompt, model name, settings, input blobs.
        """
        if (known := await self.recall(shape, *parts)) is not None:
            return known
        result = await produce()
        await self._keep(shape, result, parts)
        return result

    async def recall(self, shape: type[M], *parts: Part) -> M | None:
        """The result that was kept under ``parts``, if any; for handlers that keep some of their results only."""
        cache = self._services.cache
        known = await cache.get(cache_key(self._handler, shape, parts), shape) if cache is not None else None
        self._track.cached(hit=known is not None)
        return known

    async def keep(self, result: BaseModel, *parts: Part) -> None:
        """Keep a result for whoever recalls its shape by the same ``parts``."""
        await self._keep(type(result), result, parts)

    async def _keep(self, shape: type[BaseModel], result: BaseModel, parts: tuple[Part, ...]) -> None:
        """Keep a result as the shape it is asked for in: of a generic model, what is made may have another name."""
        if self._services.cache is not None:
            await self._services.cache.put(cache_key(self._handler, shape, parts), result)

    # --- events ------------------------------------------------------------------------------------------------------

    async def request(
        self, event: Event, timeout: float = 600.0, on_chunk: Callable[[LlmChunk], Awaitable[None]] | None = None
    ) -> Any:
        """Ask for another plugin's answer, such as :class:`LlmDone` for an :class:`LlmRequest`.

        The question's id follows from this event and the question, so that a handler that starts anew after a crash
        finds the answer it was waiting for. An earlier answer that was an error is not taken: it is asked anew.

        Args:
            timeout: seconds to wait.
            on_chunk: called with the pieces of an answer to a request that has ``stream=True``, as they come. They are
                for show: some may be missing, and an answer that exists already has none. What is returned has it all.

        Raises:
            AnswerRefused: the answer says that it can never work (a PermanentError, with the answer in it).
            RetryableError: the answer says that it may work later, or none came in time.
            Undeclared: the handler does not declare that it asks this.
        """
        check_declared(self._handler, event, self._requests, "asks", "requests=[…] of @plugin.handler")
        body = event.body().decode()

        def envelope(number: int) -> Envelope:
            return self._received.envelope.follow(event, self._handler, "request", body, number, self.replay or "")

        async def hear(piece: bytes) -> None:
            assert on_chunk is not None
            await on_chunk(LlmChunk.model_validate_json(piece))

        try:
            answer = await bus_answers.request(
                self._services.bus, event, envelope, timeout, hear if on_chunk is not None else None
            )
        except RequestTimeout as error:
            raise RetryableError(str(error)) from error
        if isinstance(answer, LlmDone) and answer.error is not None:
            sentence = f"{answer.task}: {answer.error.message}"
            raise RetryableError(sentence) if answer.error.retryable else AnswerRefused(sentence, answer)
        return answer

    async def send_piece(self, piece: BaseModel) -> None:
        """Send whoever asked for this event's answer a piece of it, for as long as it is being made."""
        await pieces.send(
            self._services.bus, self._received.envelope, piece.model_dump_json(exclude_none=True).encode()
        )

    async def publish(self, event: Event) -> None:
        """Publish an event beside those the handler returns; its id is derived, so twice is once.

        Raises:
            Undeclared: the handler does not declare that it publishes this.
        """
        check_declared(self._handler, event, self._outputs, "publishes", "publishes=[…] of @plugin.handler")
        self._extra += 1
        envelope = self._received.envelope.output(event, self._handler, "extra", self._extra)
        await self._services.bus.publish(event, envelope)

    # --- the run record ----------------------------------------------------------------------------------------------

    async def progress(self, fraction: float, message: str = "") -> None:
        """Say how far it is, from 0 to 1; never goes back."""
        await self._track.progress(fraction, message)

    async def steps(self) -> list[Step]:
        """What the run record knows of this run. On a server with users, only handlers that deliver may ask.

        Raises:
            ServerUnavailable: the bus does not answer.
        """
        return await self._services.runs.steps(self.run)

    def note(self, **facts: JsonValue) -> None:
        """Add facts about this step to the run record: engine, method, cost.

        They are written 50 ms later, or with the end of the attempt.
        """
        self._track.note(facts)

    @property
    def earlier(self) -> Mapping[str, JsonValue]:
        """Facts that earlier attempts at this event noted, in whatever process; empty at the first one.

        They stay in the record until this attempt notes something else under their names. Of an attempt whose process
        died, what was written by then is there.
        """
        return self._track.earlier


def check_declared(handler: str, event: Event, declared: Sequence[type[Event]], does: str, where: str) -> None:
    """Make sure that a handler declares what it publishes or asks.

    Args:
        does: what it does with the event, for the error.
        where: the place to declare it.

    Raises:
        Undeclared: it does not.
    """
    if type(event) not in declared:
        name = type(event).__name__
        raise Undeclared(f"{handler} {does} {name} ({event.subject}) without saying so; add {name} to its {where}.")
