"""The extractive provider on talks as people give them, and as recognisers hear them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stenobus_contracts import (
    ExtractInputs,
    Extraction,
    Item,
    ItemKind,
    MapInputs,
    OutlineInputs,
    ProblemMatrix,
    Segment,
    WriteInputs,
)
from stenobus_llm.providers.extractive.extract import extract
from stenobus_llm.providers.extractive.matrix import problem_matrix
from stenobus_llm.providers.extractive.outline import outline
from stenobus_llm.providers.extractive.write import write

TALKS = Path(__file__).with_name("talks")


def talk(name: str) -> tuple[Segment, ...]:
    """A talk, one utterance per line as ``seconds|text``."""
    lines = [line.split("|", 1) for line in (TALKS / f"{name}.txt").read_text(encoding="utf-8").splitlines()]
    ends = [float(start) - 0.4 for start, _ in lines[1:]] + [float(lines[-1][0]) + 4]
    return tuple(
        Segment(id=f"S{number:04d}", text=text, start=float(start), end=end)
        for number, ((start, text), end) in enumerate(zip(lines, ends, strict=True), start=1)
    )


def spoken(*texts: str, **fields: object) -> tuple[Segment, ...]:
    """Segments of four seconds each."""
    return tuple(
        Segment.model_validate({"id": f"S{n:04d}", "text": text, "start": n * 5.0, "end": n * 5.0 + 4, **fields})
        for n, text in enumerate(texts, start=1)
    )


def found(segments: Sequence[Segment], language: str | None = None) -> tuple[Item, ...]:
    return extract(ExtractInputs(title="Talk", language=language, segments=tuple(segments))).items


def texts(items: Sequence[Item], kind: ItemKind) -> list[str]:
    return [item.text for item in items if item.kind == kind]


def document(items: Sequence[Item], language: str | None = None) -> dict[str, list[str]]:
    """Bullets by heading, as the stages after the extraction make them."""
    plan = outline(OutlineInputs(title="Talk", language=language, items=tuple(items)))
    sections = {}
    for section in plan.sections:
        own = tuple(item for item in items if item.id in section.items)
        inputs = WriteInputs(title="Talk", language=language, heading=section.heading, items=own)
        sections[section.heading] = [line.removeprefix("- ") for line in write(inputs).markdown.splitlines()]
    return sections


# --- a talk with punctuation -----------------------------------------------------------------------------------------


def test_a_written_talk_becomes_a_troubleshooting_document() -> None:
    sections = document(found(talk("written")))

    assert list(sections) == [
        "Summary", "Symptoms", "Diagnosis", "Root cause", "Fix", "Commands", "Prevention", "Risks", "Rules",
        "Configuration", "Other notes",
    ]  # fmt: skip
    assert "At around nine o'clock users reported that they could not pay. [00:00:20]" in sections["Symptoms"]
    assert sections["Root cause"] == [
        "Somebody had set `LOG_LEVEL` to debug two weeks ago to investigate another problem, and it was never set "
        "back. [00:01:23]",
        "On top of that log rotation was never configured for this directory. [00:01:31]",
    ]
    assert "After that restart the service with `systemctl restart checkout`. [00:02:02]" in sections["Fix"]
    assert sections["Summary"][-1].startswith("In short: a forgotten debug setting filled the disk")
    assert [heading for heading, lines in sections.items() for line in lines if "interrupts payments" in line] == [
        "Risks"
    ]


def test_commands_are_found_as_they_were_written() -> None:
    assert texts(found(talk("written")), "command") == [
        "systemctl status checkout",
        'journalctl -u checkout --since "1 hour ago"',
        "df -h",
        "du -sh /var/log/*",
        "truncate -s 0 /var/log/checkout/debug.log",
        "systemctl restart checkout",
        "curl -s http://localhost:8080/health",
    ]


def test_a_sentence_that_a_recogniser_broke_in_two_is_one_quote_of_two_segments() -> None:
    [item] = [item for item in found(talk("written")) if "Connection refused" in item.text]

    assert item.evidence.segments == ("S0005", "S0006")
    assert item.evidence.quote.startswith("The browser showed a 502 Bad Gateway")
    assert item.evidence.start == 24.8


def test_greetings_and_questions_are_no_items() -> None:
    quotes = " ".join(item.evidence.quote for item in found(talk("written")))

    assert not any(words in quotes for words in ("Hello", "hear me", "thanks for watching", "what was the root cause?"))


def test_one_problem_is_one_row_with_what_belongs_to_it() -> None:
    items = found(talk("written"))
    by_id = {item.id: item for item in items}

    [row] = problem_matrix(MapInputs(title="Talk", items=items)).rows

    assert "502 Bad Gateway" in by_id[row.problem].text
    assert {"cause", "diagnosis"} <= {by_id[each].kind for each in row.diagnosis} <= {"cause", "diagnosis", "command"}
    assert {by_id[each].text for each in row.solution} >= {"systemctl restart checkout"}
    assert {by_id[each].text for each in row.diagnosis} >= {"df -h", "systemctl status checkout"}
    assert {by_id[each].kind for each in row.prevention} == {"prevention"}


def test_the_next_problem_is_a_row_of_its_own() -> None:
    items = found(
        spoken(
            "Users reported that the login page times out.",
            "The root cause was an expired certificate on the proxy.",
            "To fix it we renewed the certificate.",
            "The second problem was that backups failed with permission denied on the storage volume.",
            "The reason was a wrong owner of the storage volume.",
            "We fixed the owner, and the backups worked again.",
            "To prevent an expired certificate in the future, we added an alert for the certificate.",
        )
    )
    by_id = {item.id: item.text for item in items}

    login, backups = problem_matrix(MapInputs(title="Talk", items=items)).rows

    assert "login page" in by_id[login.problem] and "backups failed" in by_id[backups.problem]
    assert [by_id[each] for each in login.prevention] == [
        "To prevent an expired certificate in the future, we added an alert for the certificate."
    ]
    assert [by_id[each] for each in backups.diagnosis] == ["The reason was a wrong owner of the storage volume."]


# --- a talk as a recogniser without punctuation hears it -------------------------------------------------------------


def test_a_heard_talk_becomes_a_troubleshooting_document() -> None:
    sections = document(found(talk("heard")))

    assert list(sections) == [
        "Summary", "Symptoms", "Diagnosis", "Root cause", "Fix", "Commands", "Prevention", "Risks", "Rules",
        "Configuration",
    ]  # fmt: skip
    assert sections["Root cause"][0] == (
        "the reason is that log rotation was turned off during the last upgrade [00:00:50]"
    )
    assert sections["Commands"] == [
        "run the command `d f dash h` to see how much space is left on the disk [00:00:26]",
        "type `d u dash s h slash var slash log` [00:00:40]",
        "then we run the command `system control restart engine x` [00:01:05]",
    ]
    assert "so let's look at the logs of the web server first [00:00:22]" in sections["Diagnosis"]


@pytest.mark.parametrize(
    ("name", "headings", "cause"),
    [
        ("portuguese", ["Resumo", "Sintomas", "Diagnóstico", "Causa raiz", "Solução", "Comandos", "Prevenção", "Riscos",
                        "Regras", "Configuração"], "A causa raiz foi um relatório novo que não fechava as conexões."),
        ("spanish", ["Síntomas", "Diagnóstico", "Causa raíz", "Solución", "Comandos", "Prevención", "Riesgos"],
         "la causa fue que el certificado caduco el domingo y nadie lo habia renovado"),
    ],
)  # fmt: skip
def test_other_languages_are_recognised_by_their_words(name: str, headings: list[str], cause: str) -> None:
    items = found(talk(name))

    assert list(document(items)) == headings
    assert texts(items, "cause") == [cause]


def test_a_language_that_nobody_described_is_read_as_the_closest_one() -> None:
    assert found(spoken("Der Server antwortet nicht mehr.", "Wir starten ihn neu."), "de")


# --- commands --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sentence", "command"),
    [
        ("Run systemctl restart nginx.", "systemctl restart nginx"),
        ("you need to run the command d f dash h", "d f dash h"),
        ("To do the same, run the command, d, f, minus, h.", "d, f, minus, h"),
        ("you can check it with the command show vlan brief", "show vlan brief"),
        ("i typed show interface status and the port was in half duplex", "show interface status"),
        ("Please execute kubectl get pods -n shop, and wait.", "kubectl get pods -n shop"),
        ("then type l s minus a l and look", "l s minus a l"),
        ("we ran docker compose up again", "docker compose up"),
        ("Use `tail -f /var/log/syslog` for that.", "tail -f /var/log/syslog"),
        ("run journal control dash u engine x to see the log", "journal control dash u engine x"),
        ("Run ./deploy.sh --force on the master.", "./deploy.sh --force"),
        ('Type grep "out of memory" app.log and look.', 'grep "out of memory" app.log'),
        ("ps aux | grep java will not do, so execute ps aux | grep java again", "ps aux | grep java"),
        ("execute o comando df -h para ver o disco", "df -h"),
        ("ejecute el comando d f guion h para ver el disco", "d f guion h"),
    ],
)
def test_a_command_ends_where_the_sentence_goes_on(sentence: str, command: str) -> None:
    assert command in texts(found(spoken(sentence)), "command")


@pytest.mark.parametrize(
    "sentence",
    [
        "We run nginx on all of the servers.",
        "The command failed with an error.",
        "Please run the tests before you deploy.",
        "This type of error is not an issue.",
        "Run it again when the service is up.",
        "Docker is slow on this machine, and that is the problem.",
        "We make a backup and find the cause.",
    ],
)
def test_prose_is_no_command(sentence: str) -> None:
    assert texts(found(spoken(sentence)), "command") == []


# --- hostile and odd input -------------------------------------------------------------------------------------------


def test_markup_in_speech_stays_text() -> None:
    items = found(spoken("The error is <script>alert(1)</script> in *bold* [link](http://x) #1 and $x$ | y."))

    [[line]] = [lines for heading, lines in document(items).items() if heading == "Symptoms"]

    assert line == (
        r"The error is \<script\>alert(1)\</script\> in \*bold\* \[link\](http://x) \#1 and \$x\$ \| y. [00:00:05]"
    )


def test_a_sentence_that_begins_like_a_list_stays_a_sentence() -> None:
    items = found(spoken("1) The error was a timeout of the database."))

    assert document(items)["Symptoms"] == [r"1\) The error was a timeout of the database. [00:00:05]"]


def test_a_backtick_in_a_command_does_not_end_the_code() -> None:
    items = found(spoken("Run the command echo a`b now, the error is gone."))

    assert "``echo a`b``" in "".join(line for lines in document(items).values() for line in lines)


def test_without_times_there_are_no_time_marks() -> None:
    items = found([Segment(id="S0001", text="The root cause was a full disk.")])

    assert document(items) == {"Root cause": ["The root cause was a full disk."]}


def test_noise_and_small_talk_are_left_out() -> None:
    assert found(spoken("The root cause was a full disk.", kind="small_talk")) == ()
    assert found(spoken("the error", kind="noise")) == ()
    assert found([]) == ()


def test_any_speech_gives_at_least_one_item() -> None:
    assert texts(found(spoken("ask not what your country can do for you")), "fact")
    assert found(spoken("hello"))


def test_nothing_that_was_found_gives_an_outline_without_sections() -> None:
    assert outline(OutlineInputs(title="Talk", items=())).sections == ()
    assert problem_matrix(MapInputs(title="Talk", items=())) == ProblemMatrix()


VOCABULARY = """the a error disk full run systemctl restart nginx because fix to prevent we must never d f dash h
. , ? ! : " ` é ção 日本 /var/log x=1 A_B 1. - # * [S0001] <b> it's don’t problema causa solución 502"""
WORDS = st.sampled_from([*VOCABULARY.split(), "", "\u00a0", "\u2028"])
SEGMENTS = st.lists(
    st.one_of(st.lists(WORDS, max_size=60).map(" ".join), st.text(max_size=80)), max_size=12
).map(lambda lines: spoken(*lines))  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(segments=SEGMENTS, language=st.sampled_from([None, "en", "pt-BR", "es-CL", "xx"]))
def test_every_quote_stands_in_its_segments_and_everything_is_the_same_again(
    segments: tuple[Segment, ...], language: str | None
) -> None:
    items = found(segments, language)

    by_id = {segment.id: segment for segment in segments}
    for item in items:
        cited = [by_id[each] for each in item.evidence.segments]
        assert item.evidence.quote in " ".join(segment.text.strip() for segment in cited)
        assert item.text in item.evidence.quote
        assert item.evidence.start == cited[0].start
    assert [item.id for item in items] == [f"I{number:03d}" for number in range(1, len(items) + 1)]
    assert found(segments, language) == items

    rows = problem_matrix(MapInputs(title="Talk", language=language, items=items)).rows
    named = [each for row in rows for each in (row.problem, *row.diagnosis, *row.solution, *row.prevention)]
    assert len(named) == len(set(named)) and set(named) <= {item.id for item in items}

    plan = outline(OutlineInputs(title="Talk", language=language, items=items, rows=rows))
    assert sorted(each for section in plan.sections for each in section.items) == [item.id for item in items]
    for lines in document(items, language).values():
        assert all(line.strip() for line in lines)


def test_of_three_hours_a_document_can_be_read() -> None:
    chance = random.Random(7)
    known = [segment.text for name in ("written", "heard") for segment in talk(name)]
    vocabulary = [word for text in known for word in text.split()] + [f"term{number}" for number in range(3000)]
    lines: list[str] = []
    while sum(len(line.split()) for line in lines[-2500:]) < 27_000:
        prose = " ".join(chance.choices(vocabulary, k=chance.randint(5, 25))) + chance.choice([".", "", "?"])
        lines.append(chance.choice([prose, chance.choice(known)]))
    segments = spoken(*lines)

    extraction: Extraction = extract(ExtractInputs(title="Talk", segments=segments))
    problem_matrix(MapInputs(title="Talk", items=extraction.items))
    document(extraction.items)

    assert 100 < len(extraction.items) < 500
