"""``stenobus process``."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypedDict, get_args

import click

from stenobus_contracts import DocumentLanguage, ExtraFormat, OutputOptions

from ..discovery import discover
from ..follow import Outcome, deliver
from ..job import Job, JobError, output_options
from ..once import processed
from ..plugin import Handler
from ..response import documents
from ..services import Services
from ..session import Session
from ..settings import CoreSettings
from .progress import Progress
from .running import print_json, run, settings


class _Named(TypedDict):
    """What the command line says about the document."""

    title: str | None
    language: str | None
    document_language: DocumentLanguage | None
    output: OutputOptions | None


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option(
    "--event", "event_file", type=click.Path(path_type=Path), help="Classic job event (JSON file, - for stdin)."
)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Folder for Markdown, DOCX and result record."
)
@click.option("--title", help="Title of the document; the file's name by default.")
@click.option("--language", help="Spoken language, BCP 47 (en, pt-BR, es-CL).")
@click.option(
    "--document-language",
    type=click.Choice(get_args(DocumentLanguage)),
    help="Language of the document; that of the recording by default.",
)
@click.option(
    "--template",
    type=click.Path(path_type=Path),
    help="DOCX or DOTX whose styles, page, header and footer the document takes.",
)
@click.option(
    "--format",
    "formats",
    multiple=True,
    type=click.Choice(get_args(ExtraFormat)),
    help="What to make beside Markdown and DOCX; may be given twice. PDF needs LibreOffice.",
)
@click.option("--json", "as_json", is_flag=True, help="Print exactly one JSON document on stdout.")
def process(
    file: Path | None,
    event_file: Path | None,
    out: Path | None,
    title: str | None,
    language: str | None,
    document_language: DocumentLanguage | None,
    template: Path | None,
    formats: tuple[ExtraFormat, ...],
    as_json: bool,
) -> None:
    """Turn FILE into a technical document.

    FILE is a recording (WAV, FLAC, MP3, M4A, MP4, MKV, WebM, Ogg) or a transcript (AWS Transcribe JSON, SRT, VTT, plain
    text). Everything runs in this process, on the embedded server unless STENOBUS_NATS_URL names another.

    \b
    Exit codes: 0 done, 1 a stage failed, 2 the input is to blame, 130 interrupted.
    """
    if (file is None) == (event_file is None):
        raise click.UsageError("Name a FILE, or --event EVENT.json.")
    found = settings("error")
    try:
        named: _Named = {
            "title": title,
            "language": language,
            "document_language": document_language,
            "output": output_options(template, formats),
        }
        job = Job.from_file(file, **named) if file else _classic(event_file, named)
        result = run(_process(found, job, out, quiet=as_json))
    except (JobError, click.ClickException, click.Abort) as error:
        failure, code = _failure(error)
        if as_json:
            print_json(failure.response)
        else:
            click.echo(f"Error: {failure}", err=True)
        raise SystemExit(code) from error
    if as_json:
        print_json(result)


def _failure(error: JobError | click.ClickException | click.Abort) -> tuple[JobError, int]:
    """What to tell of an error, and the exit code."""
    cause = error if isinstance(error, JobError) else error.__cause__
    if isinstance(cause, JobError):
        return cause, 2 if cause.status == 400 else 1
    if isinstance(error, click.ClickException):
        return JobError(error.message, status=500, error="Failed"), 1
    kept = "Interrupted; nothing is lost: the run goes on with the next `stenobus process` or `up`."
    return JobError(kept, status=500, error="Interrupted"), 130


def _classic(path: Path | None, named: _Named) -> Job:
    try:
        text = sys.stdin.buffer.read() if str(path) == "-" else Path(str(path)).read_bytes()
    except OSError as error:
        raise JobError(f"{path} cannot be read: {error.strerror}.", error="FileUnreadable") from error
    return Job.from_classic(text, **named)


async def _process(found: CoreSettings, job: Job, out: Path | None, *, quiet: bool) -> dict[str, Any]:
    discovered = discover(found)
    for name, why in discovered.broken.items():
        click.echo(f"Warning: the plugin {name} is left out: {why}", err=True)
    plugins = list(discovered.plugins.values())
    handlers = [handler for plugin in plugins for handler in plugin.handlers]
    with ExitStack() as shown:
        progress = Progress(_expected(handlers, type(job.event)), enabled=not quiet)

        def begin(session: Session) -> None:
            if not quiet:
                where = "embedded nats-server" if session.server else "nats-server"
                click.echo(f"{where} at {session.url}", err=True)
            shown.enter_context(progress)

        async with processed(found, plugins, job, on_open=begin, on_step=progress.update) as (outcome, services):
            shown.close()
            return await _report(outcome, services, out, quiet=quiet)


async def _report(outcome: Outcome, services: Services, out: Path | None, *, quiet: bool) -> dict[str, Any]:
    uris: dict[str, str] = {}
    record: Path | None = None
    if out is not None:
        written = await deliver(outcome, services, out)
        uris = {kind: path.resolve().as_uri() for kind, path in written.items()}
        record = out / f"{written['markdown'].stem}.result.json"
    result = outcome.response(uris)
    if record is not None:
        record.write_text(json.dumps(result, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    if not quiet:
        from .summary import summary

        blobs = {kind: ref.uri for kind, ref in documents(outcome.ready).items()}
        summary(outcome, {**blobs, **outcome.outputs, **uris}, record)
    return result


def _expected(handlers: list[Handler], start: type[Any]) -> list[str]:
    """Names of the handlers a job passes, in order."""
    names, todo, seen = [], [start], {start}
    while todo:
        contract = todo.pop(0)
        for handler in handlers:
            if handler.contract is contract and handler.track:
                names.append(handler.name)
                todo += [output for output in handler.outputs if output not in seen]
                seen |= set(handler.outputs)
    return names
