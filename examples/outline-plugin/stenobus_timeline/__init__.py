"""Sections by time: a third party's outline stage."""

from collections import defaultdict
from decimal import Decimal

from pydantic import Field

from stenobus_contracts import (
    DocMapped,
    DocOutlined,
    DocumentSource,
    Extraction,
    Item,
    Outline,
    OutlineSection,
    StageUsage,
)
from stenobus_core import Context, Plugin, PluginSettings

#: Heading of what was said at a time nobody knows, by language.
UNTIMED = {"en": "Without a time", "pt": "Sem tempo", "es": "Sin tiempo"}


class Settings(PluginSettings):
    """How long a section is."""

    minutes: float = Field(default=10, gt=0, le=1440, description="minutes of the recording in one section")


plugin = Plugin("example-timeline", summary="An outline by time instead of by topic", settings=Settings)


@plugin.handler(timeout=60)
async def outline(event: DocMapped, ctx: Context[Settings, None]) -> DocOutlined:
    """One section per so many minutes in which something was found."""
    items = (await ctx.read_model(event.extraction, Extraction)).items
    planned = plan(items, ctx.settings.minutes * 60, event.source)
    ctx.note(sections=len(planned.sections))
    return DocOutlined.model_validate(
        {
            **dict(event),  # all that came in, fields this plugin does not know too
            "stages": (*event.stages, StageUsage(stage="outline", method="local", cost_usd=Decimal(0))),
            "outline": await ctx.store_model(planned),
        }
    )


def plan(items: tuple[Item, ...], seconds: float, source: DocumentSource) -> Outline:
    """The sections, in the order of the recording.

    Args:
        items: what the recording says, with the seconds at which it does.
        seconds: length of a section.
        source: whose title the document has, and in whose language its headings are.
    """
    parts: dict[float, list[str]] = defaultdict(list)
    for item in items:
        start = item.evidence.start
        parts[float("inf") if start is None else start // seconds * seconds].append(item.id)
    language = source.document_language or (source.language or "")[:2]
    sections = tuple(
        OutlineSection(
            heading=UNTIMED.get(language, UNTIMED["en"])
            if start == float("inf")
            else f"{_clock(start)} – {_clock(start + seconds)}",
            items=tuple(found),
        )
        for start, found in sorted(parts.items())
    )
    return Outline(title=source.title[:300], sections=sections)


def _clock(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{second:02d}"
