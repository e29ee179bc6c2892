"""A written section keeps what the recording bears out, and tells the rest in the recording's own words."""

from __future__ import annotations

from typing import Any

import pytest

from stenobus_contracts import Evidence, Item, ItemKind, LlmRequest, Outline, OutlineSection, Segment
from stenobus_documents.vetting import Vetting

from .conftest import StartBench, honest

SEGMENTS = [
    Segment(id="S0001", text="The payment gateway stopped answering after twelve minutes.", start=1, speaker="Ana"),
    Segment(id="S0002", text="So I ran systemctl restart paygate and it answered again.", start=9, speaker="Bob"),
    Segment(id="S0003", text="Then set max connections to 200 in paygate.conf.", start=20, speaker="Bob"),
    Segment(id="S0004", text="Nothing else happened that day.", start=30, speaker="Ana"),
    Segment(id="S0005", text="The backup runs at 03:00 on port 9090.", start=40, speaker="Ana"),
]


def item(number: int, segment: int, text: str, kind: ItemKind = "fact") -> Item:
    said = SEGMENTS[segment - 1]
    evidence = Evidence(segments=(said.id,), quote=said.text, start=said.start, speaker=said.speaker)
    return Item(id=f"I{number:03d}", kind=kind, text=text, evidence=evidence)


ITEMS = [
    item(1, 1, "The payment gateway stopped answering after 12 minutes.", "symptom"),
    item(2, 2, "systemctl restart paygate", "command"),
    item(3, 3, "max_connections is 200 in paygate.conf.", "configuration"),
    item(4, 5, "The backup runs at 03:00 on port 9090."),
]


def vet(text: str, *own: int) -> tuple[str, list[str], list[str]]:
    vetting = Vetting(SEGMENTS, ITEMS, "Payments 2.0")
    kept, lost = vetting.section(text, [ITEMS[each - 1] for each in own or (1, 2, 3)])
    return kept, vetting.taken, [each.id for each in lost]


GOOD = """After 12 minutes the **payment gateway** stopped answering. [I001] Bob restarted it. [I002]

1. Restart it [I002]:

   ```sh
   # restart
   $ systemctl restart paygate
   ```

2. Set the limit:

| Setting | Value |
|---|--:|
| `max_connections` | 200 [I003] |

```ini
[paygate]
max_connections = 200
```
> **Careful:** it stops for twelve minutes. [I001]"""


def test_what_was_said_stays_as_it_was_written() -> None:
    assert vet(GOOD) == (GOOD, [], [])


@pytest.mark.parametrize(
    ("wrong", "kept"),
    [
        ("It stopped. After 13 minutes it stopped. [I001] Then it answered.", "It stopped. Then it answered."),
        ("- It stopped after 13 minutes.\n- It stopped.", "- It stopped."),
        ("| a | b |\n|---|---|\n| it | 13 |\n| it | 12 |", "| a | b |\n|---|---|\n| it | 12 |"),
        ("Run `systemctl stop paygate` now. Good.", "Good."),
        ("```sh\nsystemctl restart paygate\nreboot\n```", "```sh\nsystemctl restart paygate\n```"),
        ("Look:\n\n```sh\n# now\nreboot\n```", "Look:\n"),
        ("```ini\nmax_connections = 201\n```\nGood.", "Good."),
        ("### In 13 minutes\nGood.", "Good."),
        ("Bob saw that it stopped. [I001] Good.", "Good."),
        ("It listens on port 9090. Good.", "Good."),
        ("See paygate.yaml. Good.", "Good."),
    ],
)
def test_what_was_not_said_goes_and_the_rest_stays(wrong: str, kept: str) -> None:
    text, taken, _ = vet(wrong)
    assert text == kept
    assert len(taken) == 1


def test_an_item_of_which_nothing_is_left_is_named() -> None:
    assert vet("After 13 minutes. [I001]\n\nIt was restarted. [I002]")[2] == ["I001"]


def test_a_speaker_may_be_named_with_what_the_words_are() -> None:
    assert vet("Ana saw that it stopped. [I001]")[1] == []
    assert vet("Bob ran it. [I002]")[1] == []
    assert vet("Ana ran it. [I002]")[1] == ["Ana ran it. [I002]"]


def test_headings_and_titles_claim_nothing_either() -> None:
    sections = (OutlineSection(heading="After 12 minutes"), OutlineSection(heading="Kubernetes 1.31"))
    vetting = Vetting(SEGMENTS, ITEMS, "Payments 2.0")
    outline = vetting.outline(Outline(title="Payments 3.0", sections=sections), "Other")
    assert (outline.title, [each.heading for each in outline.sections]) == (
        "Payments 2.0",
        ["After 12 minutes", "Other"],
    )
    assert vetting.warnings == ["2 sentences taken out of the text, what they claim was not said there: 1.31, 3.0"]


async def test_a_document_tells_the_item_where_the_text_was_wrong(start: StartBench) -> None:
    def wrong(request: LlmRequest) -> Any:
        answer = honest(request)
        if request.task == "documents.write":
            answer["markdown"] = answer["markdown"].replace("100 percent", "101 percent").replace("500M", "600M")
        return answer

    bench = await start(wrong)
    ready = await bench.document()
    text = await bench.markdown(ready)
    body = text.partition("## Provenance")[0]
    assert "101" not in body and "600M" not in body
    assert "100 percent" in body and "vacuum-size=500M" in body and "SystemMaxUse=500M" in body
    [warning] = ready.warnings
    assert warning.startswith("write: 3 sentences taken out of the text") and "101" in warning
