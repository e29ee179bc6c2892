"""Set an event aside that ends its workers again and again, with the content it refers to. Moved, never deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, JsonValue

from stenobus_bus import BlobNotFound, Bus, HandlerError, RetryableError, dead_letters
from stenobus_bus.aside import may_set_aside, set_aside
from stenobus_bus.dead_letters import Entry
from stenobus_bus.envelope import ONLY, REPLAY
from stenobus_bus.history import Remembered, find, read
from stenobus_bus.selection import payload_of
from stenobus_bus.topology import domain_stream
from stenobus_contracts import Action, Media
from stenobus_core.blobs import Blobs
from stenobus_core.errors import StenobusError
from stenobus_core.runs import Runs, Step

from ..errors import ActionFailed
from ..store import Store
from . import Outlook
from .attempts import Attempts, steps
from .content import Content, digest, references
from .parameters import HANDLER, Shape, kept, parameters
from .patience import comes_true
from .rights import rights

#: Failures that prove it, of which one must come after the end of a process.
FAILURES: Final = 3
#: How far back the run record is looked at, and how many events of a subject are searched for the same content.
_RECENT: Final = timedelta(days=1)
_EVENTS: Final = 20_000
_TERMINATED: Final = "terminated"


class What(Shape):
    """What of it."""

    file: bool = Field(default=True, description="the event's content as well, where it alone can be to blame")


class EventHeld(Shape):
    """An event that is kept from its handler."""

    handler: str
    event_id: str
    run: str
    stream: str
    sequence: int
    attempts: int
    #: Key of its step in the run record.
    step: str


class Manifest(Shape):
    """What is set aside, from where, and why: kept before anything moves."""

    action_id: str
    incident_id: str
    at: datetime
    why: str
    event: EventHeld | None = None
    content: Content | None = None
    status: Literal["aside", "restored"] = "aside"


class Quarantine:
    """The target is ``<handler>/<event id>``.

    The event's deliveries end, with a dead letter that `stenobus dlq retry` hands out again; its content moves
    where nothing else needs it. Undoing brings the content back; the dead letter is for people to retry.

    Args:
        within: seconds in which what was set aside has to stay untouched.
    """

    kind: ClassVar[str] = "quarantine"
    undoable: ClassVar[bool] = True

    def __init__(
        self,
        bus: Bus,
        blobs: Blobs,
        runs: Runs,
        store: Store,
        *,
        within: float = 10.0,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._bus, self._blobs, self._runs, self._store = bus, blobs, runs, store
        self._within, self._clock = within, clock

    async def look(self, action: Action) -> Outlook:
        """Whether the proof holds now, and what would move."""
        try:
            what = parameters(action, What)
            handler, _, event_id = action.target.removeprefix("event:").partition("/")
            return await self._look_at_event(action, handler, event_id, what)
        except ActionFailed as refused:
            return Outlook("would set nothing aside", (str(refused),))

    async def act(self, action: Action, before: JsonValue) -> str:
        """Keep the manifest, end the deliveries, move the content."""
        manifest = kept(before, Manifest)
        await self._keep(manifest)
        done = []
        if (held := manifest.event) is not None:
            message = await find(self._bus, held.stream, held.sequence)
            if message is None:
                raise ActionFailed(f"The event is gone from {held.stream}/{held.sequence}.")
            step = await self._runs.step(held.step)
            if step is not None and step.status == "done":
                raise ActionFailed("The event was handled after all; nothing is set aside.")
            if step is not None and step.status != "failed":
                with rights():
                    await set_aside(self._bus, held.handler, message, held.attempts, f"set aside: {manifest.why}")
                changes = {"status": "failed", "reason": _TERMINATED, "message": f"set aside: {manifest.why}"}
                now = self._clock()
                await self._runs.put(step.model_copy(update=changes | {"finished": now, "changed": now}))
            done.append(f"event {held.event_id[:64]} is a dead letter of {held.handler}")
        if (content := manifest.content) is not None:
            if await digest(self._blobs, content.uri) not in {None, (content.sha256, content.size)}:
                raise ActionFailed(f"{content.uri} is not what it was when somebody looked; it stays.")
            with _stored("The content cannot be moved"):
                await self._blobs.move(content.uri, content.to)
            done.append(f"its content lies at {content.to}")
        return ", and ".join(done)

    async def verify(self, action: Action, before: JsonValue) -> str:
        """The dead letter is there, nobody tries the event any more, and the content lies unchanged where it should."""
        manifest = kept(before, Manifest)
        proofs = []
        if (held := manifest.event) is not None:
            letter = await self._letter(held)
            step = await self._runs.step(held.step)
            if step is not None and step.status == "done":
                if letter is not None:  # a worker had it in hand, and survived: nobody must do it again
                    await dead_letters.remove(self._bus, letter)
                raise ActionFailed("The event was handled while it was set aside; its dead letter is removed.")
            if letter is None:
                raise ActionFailed("There is no dead letter of the event.")

            latest = step.attempt if step is not None else held.attempts

            async def tried_again() -> bool:
                now = await self._runs.step(held.step)
                return now is not None and now.attempt > latest

            if await comes_true(tried_again, self._within):
                raise ActionFailed(f"{held.handler} tries the event again.")
            proofs.append(f"dead letter {letter.sequence} holds the event, and nobody tries it again")
        if (content := manifest.content) is not None:
            if await digest(self._blobs, content.to) != (content.sha256, content.size):
                raise ActionFailed(f"What lies at {content.to} is not what was moved.")
            proofs.append(f"{content.to} has the SHA-256 {content.sha256[:12]}…")
        return "; ".join(proofs)

    async def undo(self, action: Action, before: JsonValue) -> str:
        """Bring the content back, its hash checked. The dead letter stays, for people to retry."""
        manifest = kept(before, Manifest)
        said = []
        if (content := manifest.content) is not None:
            moved = content.sha256, content.size
            found, back = await digest(self._blobs, content.to), await digest(self._blobs, content.uri)
            if found not in {None, moved}:
                raise ActionFailed(f"What lies at {content.to} is not what was moved; it stays there.")
            if found is None and back != moved:
                raise ActionFailed(f"The content lies neither at {content.to} nor at {content.uri}.")
            if back not in {None, moved}:
                raise ActionFailed(f"Something else lies at {content.uri} now; {content.to} stays there.")
            if found is not None:
                with _stored("The content cannot be brought back"):
                    await self._blobs.move(content.to, content.uri)
            said.append(f"the content is back at {content.uri}")
        if (held := manifest.event) is not None:
            letter = await self._letter(held)
            number = str(letter.sequence) if letter is not None else f"--handler {held.handler} --run {held.run}"
            said.append(f"`stenobus dlq retry {number}` hands the event to {held.handler} again")
        await self._keep(manifest.model_copy(update={"status": "restored"}))
        return ", and ".join(said)

    # --- an event ----------------------------------------------------------------------------------------------------

    async def _look_at_event(self, action: Action, handler: str, event_id: str, what: What) -> Outlook:
        if not HANDLER.fullmatch(handler):
            raise ActionFailed(f"{handler[:100]!r} is no handler.")
        now = self._clock()
        found: Step | None = None
        well: list[Step] = []
        async for step in steps(self._runs, handler, now - _RECENT):
            if step.event_id == event_id:
                found = step if found is None or step.order > found.order else found
            elif step.status == "done":
                well.append(step)
        if found is None:
            raise ActionFailed(f"The run record knows no such event of {handler[:100]!r}.")
        attempts = Attempts(found)
        failures = attempts.failures
        obstacles = []
        if found.status == "done":
            obstacles.append("it was handled after all")
        if len(failures) < FAILURES:
            obstacles.append(f"it failed {len(failures)} times, and {FAILURES} prove it")
        if not attempts.again:
            obstacles.append("no other process failed with it: the worker may be to blame")
        if failures and not any(step.finished and step.finished > failures[0] for step in well):
            obstacles.append("no other event went well meanwhile: the handler, or what it needs, may be to blame")
        try:
            with rights():
                await may_set_aside(self._bus, handler)
        except ActionFailed as refused:
            obstacles.append(str(refused))
        message = await self._message(found)
        if message is None:
            raise ActionFailed("The event is gone from its stream.")
        why = f"{len(failures)} attempts failed, {len(attempts.kills)} of them with their process"
        held = EventHeld(
            handler=handler,
            event_id=event_id,
            run=found.run,
            stream=message.stream,
            sequence=message.sequence,
            attempts=found.attempt,
            step=found.key,
        )
        content, left = await self._content(action, message, found, well) if what.file else (None, "")
        if found.status == "failed" and content is None:
            obstacles.append(f"it is a dead letter already{'; ' + left if left else ''}")
        text = f"would make event {event_id[:64]} of run {found.run} a dead letter of {handler} ({why})"
        text += f" and move {content.uri} to {content.to}" if content else (f"; {left}" if left else "")
        manifest = Manifest(
            action_id=action.action_id, incident_id=action.incident_id, at=now, why=why, event=held, content=content
        )
        return Outlook(text, tuple(obstacles), manifest.model_dump(mode="json"))

    async def _message(self, step: Step) -> Remembered | None:
        """The event of a step, where it is stored."""
        since = (step.stored or step.started) - timedelta(seconds=1)
        stream = domain_stream(step.subject)
        async with aclosing(read(self._bus, stream, step.subject, since=since, run=step.run)) as stored:
            async for message in stored:
                marks = message.attributes
                if (
                    message.event_id == step.event_id
                    and marks.get(REPLAY) == step.replay
                    and marks.get(ONLY, step.handler) == step.handler
                ):
                    return message
        return None

    async def _content(
        self, action: Action, message: Remembered, step: Step, well: list[Step]
    ) -> tuple[Content | None, str]:
        """The content that would move; or why none does."""
        found = {ref.uri: ref for ref in references(await payload_of(self._bus, message))}
        if len(found) != 1:
            return None, f"its content stays: it refers to {len(found)} files, and none of them is proven"
        ((uri, ref),) = found.items()
        others = [
            each.handler
            for each in await self._runs.steps(step.run)
            if each.handler != step.handler and each.status in {"running", "retrying"}
        ]
        if others:
            return None, f"its content stays: {others[0]} works on the same run"
        if (event := await self._went_well(uri, step, {each.event_id for each in well})) is not None:
            return None, f"its content stays: event {event[:64]} went well with it"
        return await self._movable(action, uri, ref)

    async def _went_well(self, uri: str, step: Step, well: set[str]) -> str | None:
        """Another event that the handler did well with the same content."""
        count, since = 0, self._clock() - _RECENT
        async with aclosing(read(self._bus, domain_stream(step.subject), step.subject, since=since)) as stored:
            async for message in stored:
                if message.event_id in well:
                    payload = await payload_of(self._bus, message)
                    if any(ref.uri == uri for ref in references(payload)):
                        return message.event_id
                count += 1
                if count == _EVENTS:
                    return None
        return None

    async def _movable(self, action: Action, uri: str, ref: Media | None) -> tuple[Content | None, str]:
        try:
            to = self._blobs.aside(uri, action.action_id)
            found = await digest(self._blobs, uri)
            with rights():
                await self._blobs.may_move(uri, to)
        except (ActionFailed, BlobNotFound, HandlerError, StenobusError) as error:
            return None, f"its content stays: {error}"
        if found is None:
            return None, "its content is not there"
        if ref is not None and ref.sha256 not in {None, found[0]}:
            return None, "its content stays: it is not what the event refers to"
        return Content(uri=uri, to=to, sha256=found[0], size=found[1]), ""

    async def _letter(self, held: EventHeld) -> Entry | None:
        async for entry in dead_letters.letters(self._bus, held.handler):
            if (entry.letter.stream, entry.letter.sequence) == (held.stream, held.sequence):
                return entry
        return None

    async def _keep(self, manifest: Manifest) -> None:
        """In the store; and as a file beside the content where its store keeps names."""
        await self._store.put(f"quarantine.{manifest.action_id}", manifest.model_dump(mode="json"))
        if manifest.content is not None and urlsplit(manifest.content.to).scheme != "nats":
            beside = f"{manifest.content.to}.manifest.json"
            text = manifest.model_dump_json(indent=2).encode()
            with _stored("The manifest cannot be written"):
                await self._blobs.write(text, beside, "application/json")


@contextmanager
def _stored(what: str) -> Iterator[None]:
    """Around what a store of content is asked to do. Raises ActionFailed, and RetryableError where it may pass."""
    try:
        yield
    except RetryableError:
        raise
    except (BlobNotFound, HandlerError, StenobusError) as error:
        raise ActionFailed(f"{what}: {error}") from error
