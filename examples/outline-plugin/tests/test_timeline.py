"""The plugin keeps every rule of the house, and its outline holds every item once."""

from __future__ import annotations

from stenobus_contracts import DocMapped, DocumentSource, Evidence, Extraction, Item, Media, ProblemMatrix, Transcript
from stenobus_testing import Stage, conformance
from stenobus_timeline import plan, plugin


def _item(number: int, start: float | None) -> Item:
    evidence = Evidence(segments=("S0001",), quote="It failed.", start=start)
    return Item(id=f"I{number:03d}", kind="symptom", text="It failed.", evidence=evidence)


SOURCE = DocumentSource(title="A talk", transcript=Media(uri="file:///talk.srt"), language="es-CL")
ITEMS = tuple(_item(number, start) for number, start in enumerate((5, 3599.9, 61, 600, None), start=1))


async def mapped(stage: Stage) -> DocMapped:
    """What the stage before it publishes."""
    return DocMapped(
        source=SOURCE,
        transcript=await stage.put(Transcript().model_dump_json().encode()),
        extraction=await stage.put(Extraction(items=ITEMS).model_dump_json().encode()),
        matrix=await stage.put(ProblemMatrix().model_dump_json().encode()),
        chunks_processed=1,
    )


TestTimeline = conformance(plugin, examples=[mapped])


def test_sections_are_in_the_order_of_the_recording_and_hold_every_item_once() -> None:
    """Nothing is lost, nothing is told twice, and the headings are in the language of the document."""
    outline = plan(ITEMS, 600, SOURCE)
    assert [(section.heading, section.items) for section in outline.sections] == [
        ("00:00:00 – 00:10:00", ("I001", "I003")),
        ("00:10:00 – 00:20:00", ("I004",)),
        ("00:50:00 – 01:00:00", ("I002",)),
        ("Sin tiempo", ("I005",)),
    ]
    assert plan((), 600, SOURCE).sections == ()
