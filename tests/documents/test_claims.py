"""What a document may say: the numbers, names and commands of the recording, written or spoken."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stenobus_documents.claims import command, setting, unsaid
from stenobus_documents.numerals import groups, readings
from stenobus_documents.said import Said, words


@pytest.mark.parametrize(
    ("spoken", "number"),
    [
        ("twelve", "12"),
        ("five oh two", "502"),
        ("eighty eighty", "8080"),
        ("one hundred and five", "105"),
        ("two thousand and five", "2005"),
        ("twenty twenty six", "2026"),
        ("forty thousand", "40000"),
        ("ninety eight point six", "98.6"),
        ("three dot eleven", "3.11"),
        ("one point twenty eight point three", "1.28.3"),
        ("one ninety two dot one sixty eight dot zero dot one", "192.168.0.1"),
        ("5 million", "5000000"),
        ("cento e vinte e cinco", "125"),
        ("dois mil e vinte e seis", "2026"),
        ("três ponto onze", "3.11"),
        ("ciento veinte", "120"),
        ("treinta y cinco", "35"),
        ("quinientos", "500"),
    ],
)
def test_spoken_numbers_are_read(spoken: str, number: str) -> None:
    assert number in readings(spoken.split())
    assert Said([f"it was {spoken} then"]).number(number)


def test_parts_of_a_decimal_are_no_numbers() -> None:
    assert readings(["three", "dot", "eleven"]) == {"3.11"}
    assert groups(["two", "three"]) == ["2", "3"]


TALK = Said(
    [
        "On node two the disk was ninety eight point six percent full at twelve thirty, on the second day.",
        "Run the command d f dash h and then system control restart engine x on port eighty eighty.",
        "Set max connections to two hundred in slash etc slash postgres dot conf, with version three dot eleven.",
        "A null pointer exception with code five oh two and 48 gigabytes.",
        "Then journalctl --vacuum-size=500M | less, and five million rows were gone after 1,200 ms.",
        "Ejecute el comando guion guion force once veces.",
    ]
)


@pytest.mark.parametrize(
    "text",
    [
        "The disk was 98.6% full at 12:30 [I012] [00:01:23].",
        "The disk was ninety-eight point six percent full",
        "Run `df -h` on port 8080, then `systemctl restart nginx`.",
        "Set `max_connections` to 200 in /etc/postgres.conf (version 3.11, v3.11).",
        r"Set max\_connections to **200**.",
        "`NullPointerException` (502): NullPointerException after 1200 ms, 1,200ms or 1.200 ms",
        "48 GB were used, 48GB; `500M` and 500M; 11 times; on day 2, the 2nd.",
        "`journalctl --vacuum-size=500M | less` of PostgreSQL",
        "5 million rows, 5,000,000 rows or 5000000 rows",
        "1. One of them\n2. read/write, e.g. this, at 12:30 p.m.",
        "Step 2: `df -h` on <host>, `systemctl restart <service>`",
        "See [00:00:12](file:///talk-7.mp4#t=12) and [I001, I002].",
    ],
)
def test_what_was_said_may_be_written(text: str) -> None:
    assert unsaid(text, TALK) == []


@pytest.mark.parametrize(
    ("text", "claim"),
    [
        ("The disk was 98.5% full", "98.5%"),
        ("The disk was 98 % full", "98"),
        ("at 12:31", "12:31"),
        ("version 31.1", "31.1"),
        ("version 3.12", "3.12"),
        ("port 808", "808"),
        ("port 18080", "18080"),
        ("node three failed", "three"),
        ("trezentos", "trezentos"),
        ("two hundred and five", "two hundred and five"),
        ("6 million rows", "6"),
        ("`df -i`", "df -i"),
        ("`rm -rf /`", "rm -rf /"),
        ("`journalctl --vacuum-size=500M > x`", "journalctl --vacuum-size=500M > x"),
        ("`df -h; reboot`", "df -h; reboot"),
        ("IllegalStateException", "IllegalStateException"),
        ("in /etc/mysql.conf", "/etc/mysql.conf"),
        ("set max_workers", "max_workers"),
        ("UTF-8", "UTF-8"),
        ("10.0.0.1", "10.0.0.1"),
        ("node-3", "node-3"),
        ("a --dry-run", "--dry-run"),
        ("https://example.com/x", "https://example.com/x"),
    ],
)
def test_what_was_not_said_is_found(text: str, claim: str) -> None:
    assert unsaid(text, TALK) == [claim]


def test_names_in_a_script_without_spaces() -> None:
    said = Said(["请运行df -h命令,磁盘使用率为98%。"])
    assert unsaid("`df -h` 98%", said) == []
    assert unsaid("`df -i` 97%", said) == ["df -i", "97%"]


def test_digits_of_other_scripts() -> None:
    assert Said(["القرص ممتلئ ٩٨ بالمئة"]).number("98")
    assert not Said(["القرص ممتلئ ٩٨ بالمئة"]).number("97")


def test_an_article_is_no_number_in_another_language() -> None:
    assert not Said(["A causa dos erros foi o disco da máquina."]).number("2")
    assert not Said(["We did it once."]).number("11")
    assert Said(["Reinicie el servicio dos veces."]).number("2")


def test_settings_and_commands() -> None:
    assert setting("max_connections: 200", TALK) and setting("max_connections = 200", TALK)
    assert not setting("max_connections: 201", TALK) and not setting("max_workers: 200", TALK)
    assert command("nginx", TALK) and not command("apache", TALK)
    assert not setting("200", TALK)


SPOKEN = "run df -h 98.6% 12:30 /var/log A_B=1 x.y foo() two point five É 磁 v1.2 NullPointer 'a' ٣ -"
TALKED = st.lists(
    st.sampled_from(SPOKEN.split()),
    min_size=1,
    max_size=12,
)


@settings(max_examples=300, deadline=None)
@given(TALKED)
def test_the_words_of_the_recording_always_stand(talked: list[str]) -> None:
    text = " ".join(talked)
    assert unsaid(text, Said([text])) == []


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200), st.text(max_size=200))
def test_any_text_can_be_looked_at(text: str, talk: str) -> None:
    assert isinstance(unsaid(text, Said([talk])), list)
    assert all(words(talk)) or words(talk) == []
