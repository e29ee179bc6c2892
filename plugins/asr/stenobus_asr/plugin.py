"""The plugin: hears recordings, and passes on what is a transcript already."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import os
from collections.abc import AsyncIterator
from pathlib import Path

from stenobus_contracts import AsrDone, MediaUploaded
from stenobus_core import Check, Context, PermanentError, Plugin, RetryableError
from stenobus_core.kinds import HEAD, Kind, kind_by_content, kind_of

from .choice import ChoiceError, choose
from .errors import UnusableError, WorkerError
from .recogniser import Recognised, Recogniser
from .settings import Settings

plugin = Plugin(
    "asr", summary="Speech to text: pocketsphinx offline, Whisper models by faster-whisper", settings=Settings
)


@plugin.lifespan
async def recogniser(settings: Settings) -> AsyncIterator[Recogniser]:
    """One set of worker processes for the life of the plugin; they start with the first recording."""
    recogniser = Recogniser(settings, await asyncio.to_thread(choose, settings))
    try:
        yield recogniser
    finally:
        await recogniser.close()


@plugin.doctor
def doctor(settings: Settings) -> list[Check]:
    """Which engine would hear, and whether its parts are here."""
    try:
        choice = choose(settings)
    except ChoiceError as error:
        engine = Check("engine", False, str(error))
    else:
        engine = Check(
            "engine", True, f"{choice.spec.name} {choice.spec.version}, {choice.spec.model}: {choice.reason}"
        )
    parts = {"decoder": "av", "voice detection": "onnxruntime", "offline engine": "pocketsphinx"}
    return [engine, *(_installed(name, package) for name, package in parts.items())]


@plugin.handler(concurrency=2, timeout=12 * 3600, attempts=5)
async def transcribe(event: MediaUploaded, ctx: Context[Settings, Recogniser]) -> AsrDone | None:
    """Hear a recording. A transcript is passed on as it is; what is neither belongs to other plugins."""
    kind = kind_of(event)
    if kind not in {Kind.RECORDING, Kind.TRANSCRIPT, None}:
        return None
    if kind is Kind.TRANSCRIPT:
        return _passed_on(event)
    async with ctx.fetch(event.media) as path:
        head = await asyncio.to_thread(_head, path)
        if not head:
            raise PermanentError(f"{event.media.title} is empty; upload it again.")
        kind = kind or kind_by_content(head)
        if kind is not Kind.RECORDING:
            return _passed_on(event) if kind is Kind.TRANSCRIPT else None
        try:
            result = await _recognised(event, ctx, path)
        except UnusableError as error:
            raise PermanentError(str(error)) from error
        except WorkerError as error:
            raise RetryableError(str(error)) from error
    recognition = result.recognition
    ctx.note(
        engine=recognition.engine,
        model=recognition.model,
        reason=recognition.reason,
        audio_seconds=recognition.audio_seconds,
        speech_seconds=recognition.speech_seconds,
    )
    return AsrDone(
        transcript=await ctx.store_model(result.transcript),
        media=event.media.model_copy(update={"duration_seconds": recognition.audio_seconds}),
        recognition=recognition,
        title=event.title,
        language=result.transcript.language,
        document_language=event.document_language,
        output=event.output,
        metadata=event.metadata,
    )


async def _recognised(event: MediaUploaded, ctx: Context[Settings, Recogniser], path: Path) -> Recognised:
    """The whole recording's result under the hash of its file, each window's under that of its sound."""
    recogniser = ctx.state
    language = _language(event, recogniser)
    digest = await asyncio.to_thread(_digest, path)
    return await ctx.cached(
        Recognised,
        lambda: recogniser.recognise(path, event.media.title, language, ctx.cached, ctx.progress),
        recogniser.identity(language),
        {"window": ctx.settings.window, "reason": recogniser.choice.reason},
        digest,
    )


def _language(event: MediaUploaded, recogniser: Recogniser) -> str | None:
    """The ISO 639 code of what the event or the settings name.

    Raises:
        UnusableError: the engine does not know the language.
    """
    named = event.language or recogniser.settings.language
    code = named.replace("_", "-").partition("-")[0].lower() if named else None
    if recogniser.choice.spec.name != "pocketsphinx":
        return code
    if code not in {None, "en"}:
        raise UnusableError(
            f"pocketsphinx hears English only, and {event.media.title} is said to be {named}; "
            "set STENOBUS_ASR_MODEL to a Whisper model."
        )
    return "en"


def _passed_on(event: MediaUploaded) -> AsrDone:
    """The upload is the transcript."""
    return AsrDone(
        transcript=event.media,
        title=event.title,
        language=event.language,
        document_language=event.document_language,
        output=event.output,
        metadata=event.metadata,
    )


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(HEAD)
    except OSError as error:
        raise PermanentError(f"{path.name} cannot be read: {os.strerror(error.errno or 0)}.") from error


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _installed(name: str, package: str) -> Check:
    found = importlib.util.find_spec(package) is not None
    return Check(name, found, f"{package} is {'installed' if found else 'missing: pip install stenobus-asr again'}")
