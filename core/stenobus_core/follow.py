"""Follow a job from its event to its document."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from stenobus_bus import Bus, Envelope
from stenobus_bus.history import Remembered
from stenobus_bus.history import events as stored
from stenobus_contracts import DocReady, Event, LlmRequest

from .job import Job, JobError, slug
from .plugin import Handler
from .response import documents, response, saved
from .runs import Step
from .services import Services

#: Who publishes the events of jobs.
_SOURCE: Final = "stenobus/process"
#: Seconds without any change after which a run is looked at whether it has ended.
_QUIET: Final = 1.5
#: Seconds the readers of the finished document get.
_AFTERWARDS: Final = 60.0
_LOOK: Final = 1.0
#: File name endings of the kinds that are not called as they are.
_ENDINGS: Final = {"markdown": "md"}
#: How far the clock of the server may be behind ours.
_SKEW: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished job."""

    job: Job
    run: str
    ready: DocReady
    steps: list[Step] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def document_steps(self) -> list[Step]:
        """The steps that made the document, in order; requests to models are counted by their stage."""
        return [step for step in self.steps if step.subject not in LlmRequest.subjects()]

    @property
    def saved(self) -> tuple[int, Decimal | None]:
        """Tokens and US dollars that cached answers took when they were asked for, see :func:`.response.saved`."""
        return saved(self.steps)

    @property
    def outputs(self) -> dict[str, str]:
        """Where handlers that deliver have put the document, by kind."""
        found: dict[str, str] = {}
        for step in self.steps:
            noted = step.facts.get("outputs")
            if step.subject == DocReady.subject and isinstance(noted, dict):
                found |= {str(kind): str(uri) for kind, uri in noted.items()}
        return found

    def response(self, uris: Mapping[str, str]) -> dict[str, Any]:
        """The classic response.

        Args:
            uris: where the results are, by kind; they come before :attr:`outputs`.
        """
        return response(
            self.ready,
            execution_id=self.job.execution_id,
            run=self.run,
            steps=self.steps,
            seconds=self.seconds,
            uris={**self.outputs, **uris},
        )


def check_chain(handlers: Iterable[Handler], start: type[Event]) -> None:
    """Make sure that the handlers lead from an event to a document.

    Raises:
        JobError: they do not; the message names the subject that nobody handles.
    """
    by_contract: dict[type[Event], list[Handler]] = {}
    for handler in handlers:
        by_contract.setdefault(handler.contract, []).append(handler)
    todo, seen, dead_ends = [start], {start}, []
    while todo:
        contract = todo.pop()
        if contract is DocReady:
            return
        takers = by_contract.get(contract, [])
        if not takers:
            dead_ends.append(contract.subject)
        for output in (output for handler in takers for output in handler.outputs):
            if output not in seen:
                seen.add(output)
                todo.append(output)
    raise JobError(
        f"No running plugin handles {', '.join(dead_ends) or start.subject}; switch on the plugin that does.",
        status=500,
        error="IncompletePipeline",
    )


async def run_job(
    job: Job,
    services: Services,
    handlers: Iterable[Handler],
    on_step: Callable[[Step], None] = lambda step: None,
    since: datetime | None = None,
) -> Outcome:
    """Publish a job's event and follow its run to the end.

    A run of the same job that was broken off on this bus goes on: nothing is published, and what is done stays done.

    Args:
        handlers: those that work on the run. The ones that read the finished document are awaited too.
        on_step: called with every change of a step.
        since: when the handlers began to work, if that was earlier: the run may have gone on, and ended, since then.

    Raises:
        JobError: a step failed for good, or the run ended without a document.
        BusError: the event could not be published.
    """
    started = datetime.now(UTC)
    tracked = [handler for handler in handlers if handler.track]
    run, began = await _run_of(services, job, tracked, since or started)
    follower = _Follower(services, job, run, tracked, on_step, began or started)
    async with follower.listening():
        if began is None:
            await services.bus.publish(job.event, Envelope.new(job.event, _SOURCE, run=run))
        ready = await follower.finish()
    seconds = (datetime.now(UTC) - started).total_seconds()
    steps = sorted(follower.steps.values(), key=lambda step: step.started)
    return Outcome(job, run, ready, steps, seconds)


class _Follower:
    """Watches one run from two sides: its steps, and the event that ends it."""

    def __init__(
        self,
        services: Services,
        job: Job,
        run: str,
        handlers: list[Handler],
        on_step: Callable[[Step], None],
        began: datetime,
    ) -> None:
        self._services, self._bus, self._job, self._run = services, services.bus, job, run
        self._handlers, self._on_step = handlers, on_step
        self._since = began - _SKEW
        self.steps: dict[str, Step] = {}
        self._changed = asyncio.Event()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Follow the run from before its first event."""
        self._watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)

    async def finish(self) -> DocReady:
        """The finished document.

        Raises:
            JobError: a step failed for good, or the run ended without a document.
        """
        loop = asyncio.get_running_loop()
        changed, ready = loop.time(), None
        while True:
            if self._watching.done():
                self._watching.result()  # raises what ended it
            self._changed.clear()
            ready = ready or await self._look()
            if ready is not None:
                self._raise_undelivered()
            if ready is not None and self._read(ready):
                return ready
            if ready is None:
                self._raise_failure()
            quiet = loop.time() - changed
            if ready is not None and quiet > _AFTERWARDS and self._delivered():
                return ready
            if ready is None and quiet > _QUIET and await self._ended():
                raise JobError(
                    f"No plugin took {self._job.name} up as a recording or transcript (run {self._run}).",
                    error="Unsupported",
                )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK):
                    await self._changed.wait()
                changed = loop.time()

    async def _watch(self) -> None:
        async for step in self._services.runs.follow(self._run):
            self.steps[step.key] = step
            self._on_step(step)
            self._changed.set()

    async def _look(self) -> DocReady | None:
        if not any(step.status == "done" for step in self.steps.values()):
            return None
        async for message in self._events(DocReady):
            return DocReady.model_validate_json(await self._bus.claims.whole(message.data, message.headers))
        return None

    def _events(self, contract: type[Event]) -> AsyncIterator[Remembered]:
        return stored(self._bus, contract, since=self._since, run=self._run)

    def _read(self, ready: DocReady) -> bool:
        """Every reader of the document is done with it."""
        readers = {handler.name for handler in self._handlers if handler.contract is type(ready)}
        return readers <= {step.handler for step in self.steps.values() if step.status in {"done", "failed"}}

    def _delivered(self) -> bool:
        """The readers whose work belongs to the job are done with it."""
        wanted = {handler.name for handler in self._handlers if handler.delivers}
        return wanted <= {step.handler for step in self.steps.values() if step.status == "done"}

    def _raise_undelivered(self) -> None:
        wanted = {handler.name for handler in self._handlers if handler.delivers}
        for step in self.steps.values():
            if step.handler in wanted and step.status == "failed":
                raise JobError(
                    f"The document is made, but not delivered: {step.message} (handler {step.handler}, run "
                    f"{self._run}; mend it, then `stenobus dlq retry`)",
                    status=500,
                    error="DeliveryFailed",
                )

    async def _ended(self) -> bool:
        """Every event of the run has been through every handler that listens to it."""
        if any(step.status in {"running", "retrying"} for step in self.steps.values()):
            return False
        done = {(step.handler, step.event_id) for step in self.steps.values() if step.status in {"done", "failed"}}
        for handler in self._handlers:
            async for event in self._events(handler.contract):
                if (handler.name, event.event_id) not in done:
                    return False
        return True

    def _raise_failure(self) -> None:
        step = next((step for step in self.steps.values() if step.status == "failed"), None)
        if step is None:
            return
        at_fault = step.reason in {"permanent", "invalid"}
        raise JobError(
            f"{step.message} (stage {step.handler}, run {self._run}; see `stenobus dlq list`)",
            status=400 if at_fault else 500,
            error="InvalidInput" if at_fault else "StageFailed",
        )


async def _run_of(
    services: Services, job: Job, handlers: Iterable[Handler], since: datetime
) -> tuple[str, datetime | None]:
    """The run for a job: one that was broken off, and when it began, or a new one, numbered when its name is taken."""
    base = slug(job.execution_id)
    number, name = 1, base
    while await services.steps(name):
        if (began := await _broken_off(services, job, name, handlers, since)) is not None:
            return name, began
        number += 1
        name = f"{base}-{number}"
    return name, None


async def _broken_off(
    services: Services, job: Job, run: str, handlers: Iterable[Handler], since: datetime
) -> datetime | None:
    """When a run of this very job began that had not ended by a time; None when it is no such run."""
    steps = await services.runs.steps(run)
    ended = [step for step in steps if step.finished is not None and step.finished < since]
    if not steps or any(step.status == "failed" for step in ended):
        return None
    bus, began = services.bus, min(step.stored or step.started for step in steps)
    first = began - _SKEW
    if not any([await _is_of(bus, job, event) async for event in stored(bus, type(job.event), since=first, run=run)]):
        return None
    ready = any([event.time < since async for event in stored(bus, DocReady, since=first, run=run)])
    delivered = {handler.name for handler in handlers if handler.delivers} <= {step.handler for step in ended}
    return None if ready and delivered else began


async def _is_of(bus: Bus, job: Job, event: Remembered) -> bool:
    """Whether an event is the job's own."""
    if event.attributes.get("source") != _SOURCE:
        return False
    body = await bus.claims.whole(event.data, event.headers)
    return type(job.event).model_validate_json(body) == job.event


async def deliver(outcome: Outcome, services: Services, folder: Path) -> dict[str, Path]:
    """Write a finished document into a folder.

    Returns:
        Paths by kind: markdown, docx, transcript, and html, pdf and quality where they were made.

    Raises:
        JobError: the folder cannot be written.
    """
    stem = outcome.job.stem
    wanted = {
        **{kind: (ref, f"{stem}.{_ENDINGS.get(kind, kind)}") for kind, ref in documents(outcome.ready).items()},
        "transcript": (outcome.ready.transcript, f"{stem}.transcript.json"),
    }
    if outcome.ready.quality is not None:
        wanted["quality"] = (outcome.ready.quality, f"{stem}.quality.json")
    contents = {name: await services.blobs.read(ref) for ref, name in wanted.values()}
    try:
        await asyncio.to_thread(_write, folder, contents)
    except OSError as error:
        raise JobError(f"{folder} cannot be written: {error.strerror}.", error="OutputUnwritable") from error
    return {kind: folder / name for kind, (_, name) in wanted.items()}


def _write(folder: Path, contents: dict[str, bytes]) -> None:
    """Write files, each complete or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in contents.items():
        partial = folder / f".{name}.partial"
        partial.write_bytes(data)
        partial.replace(folder / name)
