"""Counts the words of every transcript: a third-party plugin at its smallest."""

from pydantic import Field

from stenobus_contracts import AsrDone, Event
from stenobus_core import Check, Context, PermanentError, Plugin, PluginSettings


class WordsCounted(Event, subject="example.words.counted"):
    """The number of words of a transcript."""

    words: int = Field(ge=0, description="what lies between blanks")


class Settings(PluginSettings):
    """What is read."""

    max_bytes: int = Field(default=16 * 1024 * 1024, gt=0, description="largest transcript that is read, in bytes")


plugin = Plugin("example-wordcount", summary="Counts the words of every transcript", settings=Settings)


@plugin.doctor
def doctor(settings: Settings) -> list[Check]:
    """What may be read."""
    return [Check("limit", True, f"transcripts of up to {settings.max_bytes} bytes")]


@plugin.handler(timeout=60)
async def count(event: AsrDone, ctx: Context[Settings, None]) -> WordsCounted:
    """Count what lies between blanks."""
    try:
        text = (await ctx.read(event.transcript, limit=ctx.settings.max_bytes)).decode()
    except UnicodeDecodeError as error:
        raise PermanentError(f"{event.transcript.uri} is no UTF-8 text; publish it as one.") from error
    return WordsCounted(words=len(text.split()))
