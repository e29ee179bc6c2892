"""``stenobus llm ask``: a request from the shell, its answer as it is written."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from mimetypes import guess_type
from pathlib import Path

import click
from pydantic import ValidationError

from stenobus_bus import Envelope, answers
from stenobus_bus.errors import first_fault
from stenobus_contracts import LlmChunk, LlmDone, LlmRequest
from stenobus_core.cli.running import run, services, settings
from stenobus_core.host import Host
from stenobus_core.runs import Runs
from stenobus_core.services import Services
from stenobus_core.session import Session
from stenobus_core.settings import CoreSettings


class Printed:
    """What was printed of an answer: its pieces as they come, and at the end what is missing."""

    def __init__(self) -> None:
        self._text = ""
        self._next, self._attempt = 0, 0

    async def piece(self, body: bytes) -> None:
        """Print a piece. After a missing one nothing more is printed until the end."""
        chunk = LlmChunk.model_validate_json(body)
        if chunk.attempt > self._attempt and not self._text:
            self._attempt, self._next = chunk.attempt, 0
        if (chunk.attempt, chunk.index) == (self._attempt, self._next):
            self._next += 1
            self._print(chunk.text)

    def rest(self, text: str) -> None:
        """Print what the pieces did not bring; all of it where it is another text than they began."""
        if not text.startswith(self._text):
            self._print("\n")
            self._text = ""
        self._print(text[len(self._text) :])
        if not self._text.endswith("\n"):
            self._print("\n")

    def _print(self, text: str) -> None:
        click.echo(text, nl=False)
        self._text += text


def ask(request: LlmRequest, images: Sequence[Path], timeout: float, *, as_json: bool) -> None:
    """Ask and print the answer.

    Args:
        request: what is asked.
        images: files that the last message shows.
        timeout: seconds to wait.
        as_json: print the whole of it at the end, instead of the text as it comes.

    Raises:
        click.ClickException: there is none.
    """
    done = run(_ask(settings("error"), request, images, timeout, quiet=as_json))
    if as_json:
        click.echo(json.dumps(done.model_dump(mode="json", exclude_none=True), ensure_ascii=False, indent=2))
    if done.error is not None:
        raise click.ClickException(done.error.message)
    if not as_json:
        click.echo(_footer(done), err=True)


def schema(path: Path) -> dict[str, object]:
    """A JSON Schema from a file. Raises ClickException when it is none."""
    try:
        found = json.loads(path.read_bytes())
        if not isinstance(found, dict):
            raise ValueError("it is no object")
    except (OSError, ValueError) as error:
        raise click.ClickException(f"{path} is no JSON Schema: {error}.") from error
    return found


async def _ask(
    found: CoreSettings, request: LlmRequest, images: Sequence[Path], timeout: float, *, quiet: bool
) -> LlmDone:
    async with services(found) as (session, opened), _answering(session):
        request = await _showing(request, images, opened)
        envelope = Envelope.new(request, "stenobus/ask")
        printed = Printed()
        hear = None if quiet else printed.piece
        progress = asyncio.create_task(_progress(opened, envelope.run)) if not quiet else None
        try:
            done = await answers.request(session.bus, request, lambda _: envelope, timeout, hear)
        finally:
            if progress is not None:
                progress.cancel()
                await asyncio.gather(progress, return_exceptions=True)
        assert isinstance(done, LlmDone)
        if not quiet and (done.text or done.error is None):
            printed.rest(done.text if done.text or not done.tool_calls else _calls(done))
        return done


async def _showing(request: LlmRequest, images: Sequence[Path], opened: Services) -> LlmRequest:
    """The request with images in its last message."""
    if not images:
        return request
    refs = [await opened.blobs.put(path, guess_type(path.name)[0] or "application/octet-stream") for path in images]
    *before, last = request.messages
    return request.model_copy(update={"messages": (*before, last.model_copy(update={"images": tuple(refs)}))})


@asynccontextmanager
async def _answering(session: Session) -> AsyncIterator[None]:
    """On the embedded server this process answers; on another one the plugin that runs there does."""
    if session.server is None:
        yield
        return
    from .service import plugin

    host = Host(session.settings, session.bus, [plugin])
    await host.start()
    try:
        yield
    finally:
        await host.stop()


async def _progress(opened: Services, run_id: str) -> None:
    """Say why it takes so long, such as that it waits for quota."""
    said = None
    runs: Runs = opened.runs
    async for step in runs.follow(run_id):
        if step.status in {"running", "retrying"} and step.message and step.message != said:
            said = step.message
            click.echo(f"… {said}", err=True)


def _calls(done: LlmDone) -> str:
    return "\n".join(f"{call.name}({call.arguments})" for call in done.tool_calls)


def _footer(done: LlmDone) -> str:
    cost = "unknown cost" if done.cost_usd is None else f"${done.cost_usd:f}"
    parts = [f"{done.provider}", done.model or "", f"{done.usage.input} + {done.usage.output} tokens", cost]
    if done.cached:
        parts.append("from the cache")
    if done.first_token_seconds is not None:
        parts.append(f"first piece after {done.first_token_seconds:.2f} s")
    return " · ".join([*filter(None, parts), f"{done.seconds:.2f} s"])


def request(**fields: object) -> LlmRequest:
    """A request from what the command line says. Raises ClickException when that makes none."""
    try:
        return LlmRequest.model_validate(fields)
    except ValidationError as error:
        raise click.ClickException(f"{first_fault(error)}.") from error
