"""Errors put into documents on purpose: 1,000 recordings, and each gate catches every error of its kind."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache

import pytest

from stenobus_contracts import Evidence, Item, ItemKind, Segment
from stenobus_documents import claims, grounding, quotes, standing
from stenobus_documents.grounding import Grounded, ground
from stenobus_documents.standing import MISATTRIBUTED, UNSAID
from stenobus_documents.vetting import Vetting

DOCUMENTS = 1000
SPEAKERS = ("Ana Lima", "Bob", "spk_2")
PEOPLE = ["the operator", "team our customer", "night shift", "vendor", "auditor"]
THINGS = (
    "payment gateway", "login page", "build agent", "mail relay", "object store", "message queue", "print server",
    "report job", "session cache", "search index",
)  # fmt: skip
EVENTS = (
    "stopped answering after {n} minutes", "used {n} percent of its memory", "wrote {n} gigabytes of logs",
    "answered with error {n}", "lost {n} of its connections", "needed {n} seconds to start", "moved to version {v}",
)  # fmt: skip
REASONS = (
    "because nobody had renewed its certificate", "because its disk was full of old archives",
    "because somebody had switched the rotation off", "because the pool was far too small",
    "after the upgrade on the second weekend", "while the nightly copy was still under way",
)  # fmt: skip
COMMANDS = (
    "systemctl restart {s}", "journalctl -u {s} -n {n}", "kubectl scale deployment {s} --replicas={n}",
    "df -h /var/{s}", "truncate -s 0 /var/log/{s}.log", "docker logs {s} --tail {n}",
)  # fmt: skip
SPOKEN = {2: "two", 12: "twelve", 40: "forty", 502: "five oh two", 8080: "eighty eighty", 1200: "twelve hundred"}


class Recording:
    """A talk of troubleshooting with what can be said of it truly."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.segments: list[Segment] = []
        self.items: list[Item] = []
        for number in range(1, self.chance.randint(8, 16)):
            self._sentence(number)

    def _sentence(self, number: int) -> None:
        chance = self.chance
        thing, count = chance.choice(THINGS), chance.choice([*SPOKEN, chance.randint(3, 9000)])
        version = f"{chance.randint(1, 30)}.{chance.randint(0, 40)}.{number}"
        shown = chance.choice([str(count), SPOKEN.get(count, str(count))])
        event = chance.choice(EVENTS)
        kind: ItemKind = "symptom"
        if chance.random() < 0.35:
            command = chance.choice(COMMANDS).format(s=thing.split()[0], n=count)
            said, written, kind = f"then we ran {command} on the {thing} number {number}", command, "command"
        else:
            said = f"the {thing} number {number} {event.format(n=shown, v=version)} {chance.choice(REASONS)}"
            written = f"The {thing} {number} {event.format(n=count, v=version)}."
        text = said[0].upper() + said[1:] + chance.choice([".", ""])
        speaker = chance.choice(SPEAKERS)
        segment = Segment(id=f"S{number:04d}", text=text, start=number * 7.5, end=number * 7.5 + 7, speaker=speaker)
        self.segments.append(segment)
        evidence = Evidence(segments=(segment.id,), quote=said, speaker=speaker)
        self.items.append(Item(id=f"I{number:03d}", kind=kind, text=written, evidence=evidence))

    def victim(self, *kinds: str) -> Item:
        """An item to be falsified."""
        return self.chance.choice([item for item in self.items if item.kind in kinds] or self.items)

    def near(self, item: Item, reach: int) -> str:
        """What the item's segment and those around it say."""
        at = int(item.evidence.segments[0][1:]) - 1
        return " ".join(segment.text for segment in self.segments[max(0, at - reach) : at + reach + 1])


@cache
def recordings() -> list[Recording]:
    return [Recording(seed) for seed in range(DOCUMENTS)]


def falsified(item: Item, text: str | None = None, **evidence: object) -> Item:
    return item.model_copy(update={"text": text or item.text, "evidence": item.evidence.model_copy(update=evidence)})


def invented(talk: Recording) -> Item:
    """A quote of words that nobody said so: other words in it, or its own the other way round."""
    item = talk.victim("symptom", "command")
    words = item.evidence.quote.split()
    place = talk.chance.randrange(len(words))
    match talk.chance.randrange(4):
        case 0:
            words[place] = "never" if words[place] != "never" else "always"
        case 1:
            words.insert(place, "not")
        case 2:
            words = [*talk.chance.choice(PEOPLE).split(), "unplugged", "the", "whole", "rack", "by", "mistake"]
        case _:
            words.reverse()
    return falsified(item, quote=" ".join(words))


def wrong_number(talk: Recording) -> Item:
    """A number in the text that is none of what was said there."""
    item = talk.victim("symptom")
    number = next(n for n in iter(lambda: talk.chance.randint(2, 9999), None) if str(n) not in talk.near(item, 1))
    while str(number) in " ".join(map(str, _numbers(talk.near(item, 1)))).split():
        number += 1
    words = item.text.split()
    places = [place for place, word in enumerate(words) if word[0].isdigit()]
    place = talk.chance.choice(places)
    words[place] = f"{number}." if words[place].endswith(".") else str(number)
    return falsified(item, text=" ".join(words))


def _numbers(text: str) -> list[int]:
    spoken = {word: number for number, word in SPOKEN.items()}
    return [number for word, number in spoken.items() if word in text] + [5, 80, 100]


def wrong_command(talk: Recording) -> Item:
    """A command that nobody ran."""
    item = talk.victim("command")
    words = item.text.split()
    words[talk.chance.randrange(len(words))] = talk.chance.choice(["--force", "/etc/passwd", "reboot", "delete"])
    return falsified(item, text=" ".join(words)).model_copy(update={"kind": "command"})


def moved(talk: Recording) -> Item:
    """A quote under the id of a segment that is neither its own nor beside it."""
    item = talk.victim("symptom", "command")
    at = int(item.evidence.segments[0][1:])
    far = [segment.id for number, segment in enumerate(talk.segments, start=1) if abs(number - at) > 1]
    return falsified(item, segments=(talk.chance.choice([*far, "S9999"]),))


def swapped(talk: Recording) -> Item:
    """Words given to somebody else, in the evidence or in the text."""
    item = talk.victim("symptom", "command")
    other = talk.chance.choice(
        [each.speaker for each in talk.segments if each.speaker != item.evidence.speaker] or [None]
    )
    if other is None:
        return falsified(item, segments=("S9999",))  # one person alone spoke: nothing to swap, and the id is wrong
    if item.kind == "command" or talk.chance.random() < 0.5:
        return falsified(item, speaker=other)
    return falsified(item, text=f"{other} said: {item.text}")


def caught(talk: Recording, false: Item) -> bool:
    """Whether the gates dropped the falsified item, or told it in the recording's own words and counted that."""
    grounded = ground([false], talk.segments)
    if grounded.dropped:
        return not grounded.items
    [kept] = grounded.items
    return grounded.mended.total() == 1 and kept.text == kept.evidence.quote and kept.text in talk.near(false, 1)


ERRORS: dict[str, Callable[[Recording], Item]] = {
    "invented quote": invented,
    "wrong number": wrong_number,
    "wrong command": wrong_command,
    "moved id": moved,
    "swapped speaker": swapped,
}


def missed(error: str) -> list[str]:
    """Errors of one kind, one in each document, that no gate catches."""
    seeded = [(talk, ERRORS[error](talk)) for talk in recordings()]
    assert len(seeded) == DOCUMENTS and all(false not in talk.items for talk, false in seeded)
    return [f"{number}: {false!r}" for number, (talk, false) in enumerate(seeded) if not caught(talk, false)]


def test_what_is_true_passes_every_gate() -> None:
    for talk in recordings():
        grounded = ground(talk.items, talk.segments)
        assert not grounded.dropped and not grounded.mended
        assert [item.text for item in grounded.items] == [item.text for item in talk.items]
        vetting = Vetting(talk.segments, grounded.items, "Talk")
        text = "\n".join(f"- {item.text} [{item.id}]" for item in grounded.items)
        assert vetting.section(text, grounded.items) == (text, [])


@pytest.mark.parametrize("error", ERRORS)
def test_every_seeded_error_is_caught(error: str) -> None:
    through = missed(error)
    print(f"{error}: {DOCUMENTS - len(through)} of {DOCUMENTS} caught")
    assert through == []


@pytest.mark.parametrize(("error", "least"), [("wrong number", 990), ("wrong command", 600), ("swapped speaker", 200)])
def test_an_error_in_a_written_section_is_taken_out(error: str, least: int) -> None:
    seeded = 0
    for talk in recordings():
        false = ERRORS[error](talk)
        own = [item for item in talk.items if item.id == false.id]
        if false.text == own[0].text or (error == "wrong command" and own[0].kind != "command"):
            continue  # the error is in the evidence, or the talk has no command
        seeded += 1
        vetting = Vetting(talk.segments, talk.items, "Talk")
        written = f"Run `{false.text}` now. [{false.id}]" if error == "wrong command" else f"{false.text} [{false.id}]"
        assert vetting.section(written, own) == ("", own), false
        assert len(vetting.taken) == 1
    print(f"{error}: {seeded} of {seeded} taken out")
    assert seeded >= least


# --- each gate is what catches its errors: without it they pass ------------------------------------------------------


def without_quotes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grounding, "exact", lambda quote, words: range(min(len(quote), len(words))))


def without_negations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quotes, "_slight", lambda copied, said: True)


def without_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing, "unsaid", lambda text, said: [])


def without_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grounding, "command", lambda text, said: True)
    monkeypatch.setattr(standing, "unsaid", lambda text, said: [])


def without_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grounding, "_windows", lambda cited, count: [range(count)])


def without_speakers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grounding, "speakers", lambda segments: frozenset())


@pytest.mark.parametrize(
    ("error", "mutation"),
    [
        ("invented quote", without_quotes),
        ("invented quote", without_negations),
        ("wrong number", without_numbers),
        ("wrong command", without_commands),
        ("moved id", without_places),
        ("swapped speaker", without_speakers),
    ],
)
def test_without_its_gate_an_error_passes(
    error: str, mutation: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutation(monkeypatch)
    assert len(missed(error)) > DOCUMENTS / 20


def test_reasons_name_the_gate() -> None:
    talk = recordings()[0]
    item = next(item for item in talk.items if item.kind == "symptom")

    def told(false: Item) -> Grounded:
        return ground([false], talk.segments)

    assert [each.reason for each in told(falsified(item, quote="nobody ever said so")).dropped] == [
        "its quote is not in the cited segments"
    ]
    assert told(falsified(item, text="It was 99999.")).mended == {UNSAID: 1}
    other = next(each.speaker for each in talk.segments if each.speaker != item.evidence.speaker)
    assert told(falsified(item, speaker=other)).mended == {MISATTRIBUTED: 1}
    assert claims.unsaid("It was 99999.", claims.Said([talk.near(item, 1)])) == ["99999"]
