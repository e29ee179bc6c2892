"""What a statement may say beside its quote, and what counts as the same quote."""

from __future__ import annotations

import pytest

from stenobus_contracts import Evidence, Item, ItemKind, Segment, Word
from stenobus_documents.grounding import ground
from stenobus_documents.standing import MISATTRIBUTED, UNSAID

TALK = [
    Segment(id="S0001", text="So the payment gateway, um, stopped answering after 12 minutes.", speaker="Ana Lima"),
    Segment(id="S0002", text="I restarted the payment gateway with systemctl restart paygate.", speaker="Bob"),
    Segment(id="S0003", text="It must not be restarted during the day.", speaker="Ana Lima"),
    Segment(id="S0004", text="The second gateway listens on port eighty eighty one.", speaker="Bob"),
]


def item(quote: str, cited: str, kind: ItemKind = "fact", text: str = "x") -> Item:
    return Item(id="I001", kind=kind, text=text, evidence=Evidence(segments=(cited,), quote=quote))


@pytest.mark.parametrize(
    ("quote", "cited", "verbatim"),
    [
        (
            "the payment gateway stopped answering after 12 minutes",
            "S0001",
            "the payment gateway, um, stopped answering after 12 minutes.",
        ),
        (
            "so payment gateway um stopped answering after 12 minutes",
            "S0001",
            "So the payment gateway, um, stopped answering after 12 minutes.",
        ),
        (
            "I restart the payment gateway with systemctl restart paygate",
            "S0002",
            "I restarted the payment gateway with systemctl restart paygate.",
        ),
        (
            "The second gateway listens on port 8081",
            "S0004",
            "The second gateway listens on port eighty eighty one.",
        ),
    ],
)
def test_a_slip_in_copying_is_mended(quote: str, cited: str, verbatim: str) -> None:
    [found] = ground([item(quote, cited)], TALK).items
    assert found.evidence.quote == verbatim


@pytest.mark.parametrize(
    ("quote", "cited"),
    [
        ("So the payment gateway um stopped answering after 13 minutes", "S0001"),
        ("It must be restarted during the day", "S0003"),
        ("It must not be stopped during the day", "S0003"),
        ("The second gateway listens on port 8082", "S0004"),
        ("The first gateway listens on port eighty eighty one", "S0004"),
        ("I restarted the payment gateway with systemctl restart gateway", "S0002"),
        ("a payment gateways the um stopping answered the after 12 minute", "S0001"),
    ],
)
def test_a_word_that_changes_what_was_said_is_no_slip(quote: str, cited: str) -> None:
    [dropped] = ground([item(quote, cited)], TALK).dropped
    assert dropped.reason == "its quote is not in the cited segments"


QUOTE = "stopped answering after 12 minutes"


@pytest.mark.parametrize(
    "text",
    [
        "After 13 minutes the gateway stopped answering.",
        "After `systemctl stop paygate` the gateway stopped answering.",
        "It stopped answering, with GatewayTimeoutException.",
        "It stopped answering on /dev/sda1.",
    ],
)
def test_a_text_with_something_that_was_not_said_gives_way_to_the_quote(text: str) -> None:
    grounded = ground([item(QUOTE, "S0001", text=text)], TALK)
    assert [each.text for each in grounded.items] == ["stopped answering after 12 minutes."]
    assert grounded.mended == {UNSAID: 1}


@pytest.mark.parametrize(
    "text",
    [
        "The gateway stopped answering after twelve minutes.",
        "Ana Lima saw it; `paygate` stopped.",
        "Pagamentos pararam.",
    ],
)
def test_a_text_with_what_was_said_nearby_stays(text: str) -> None:
    grounded = ground([item(QUOTE, "S0001", text=text)], TALK)
    assert [each.text for each in grounded.items] == [text] and not grounded.mended


def test_words_given_to_another_speaker_give_way_to_the_quote() -> None:
    [found] = ground([item(QUOTE, "S0001")], TALK).items
    assert found.evidence.speaker == "Ana Lima"
    by_text = ground([item(QUOTE, "S0001", text="Bob says that it stopped answering.")], TALK)
    evidence = Evidence(segments=("S0001",), quote=QUOTE, speaker="Bob")
    by_evidence = ground([Item(id="I001", kind="fact", text="It stopped.", evidence=evidence)], TALK)
    for grounded in (by_text, by_evidence):
        assert [(each.text, each.evidence.speaker) for each in grounded.items] == [
            ("stopped answering after 12 minutes.", "Ana Lima")
        ]
        assert grounded.mended == {MISATTRIBUTED: 1}


def test_a_command_that_was_not_said_is_dropped() -> None:
    quote = "with systemctl restart paygate"
    said = ground([item(quote, "S0002", kind="command", text="systemctl restart paygate")], TALK)
    other = ground([item(quote, "S0002", kind="command", text="systemctl stop paygate")], TALK)
    assert [each.text for each in said.items] == ["systemctl restart paygate"]
    assert [each.reason for each in other.dropped] == ["the command is not what was said"]


def test_a_quote_begins_when_its_first_word_was_said() -> None:
    words = [Word(text=text, start=start, end=start + 1) for text, start in (("The", 10), ("disk", 12), ("is", 14))]
    timed = [Segment(id="S0001", text="The disk, is full", start=10, end=20, words=tuple(words))]
    starts = [ground([item(quote, "S0001")], timed).items[0].evidence.start for quote in ("disk is", "full", "The")]
    assert starts == [12, 10, 10], "a word without a time of its own is found where its segment begins"
