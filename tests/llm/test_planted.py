"""Sessions of half an hour with small talk: what a reader must not miss is found, as what it is, and little else."""

from __future__ import annotations

import pytest

from stenobus_contracts import ExtractInputs, Item, MapInputs, OutlineInputs, Transcript, WriteInputs
from stenobus_documents.noise import mark
from stenobus_llm.providers.extractive.extract import extract
from stenobus_llm.providers.extractive.matrix import problem_matrix
from stenobus_llm.providers.extractive.outline import outline
from stenobus_llm.providers.extractive.write import write

from .planted import LANGUAGES, UNSEEN, Session, score, session

#: By language: words of each problem's symptom, cause, fix and prevention, which belong together.
PROBLEMS = {
    "en": [
        ("502 Bad Gateway", "came up with the old template", "we set the heap to two", "alert for each machine"),
        ("nightly backup of the orders", "archive cleanup had been", "in small batches", "new check that pages"),
        ("certificate has expired", "lost its clock battery", "set the time by hand", "chrony is part of the image"),
    ],
    "pt": [
        ("notas fiscais pararam", "senha do banco tinha sido", "atualizamos o segredo", "fila fica sem consumidores"),
        ("ficou muito lento", "deixa um índice inválido", "apagar o índice inválido", "para no primeiro erro"),
        ("413 Request Entity", "substituiu o arquivo", "coloquei a linha de volta", "instalada pelo Ansible"),
    ],
    "es": [
        ("503 Service Unavailable", "abría una conexión por cada", "volvimos a la versión", "su propio límite"),
        ("correos de confirmación", "contraseña débil", "bloquear la cuenta", "más de doscientos correos"),
        ("dejó de funcionar", "solo el certificado final", "cambiando la ruta", "verifica la cadena completa"),
    ],
}  # fmt: skip
ALL = [(language, heard) for heard in (False, True) for language in LANGUAGES]


def found(known: Session) -> tuple[Item, ...]:
    """What the provider finds in what stage 1 takes for content."""
    marked = mark(Transcript(segments=known.segments)).segments
    speech = tuple(segment for segment in marked if segment.kind == "speech")
    return extract(ExtractInputs(title="Session", language=known.language, segments=speech)).items


def document(known: Session) -> dict[str, str]:
    """The Markdown of each section by its heading."""
    items = found(known)
    rows = problem_matrix(MapInputs(title="Session", language=known.language, items=items)).rows
    plan = outline(OutlineInputs(title="Session", language=known.language, items=items, rows=rows))
    sections = {}
    for section in plan.sections:
        own = tuple(item for item in items if item.id in section.items)
        inputs = WriteInputs(title="Session", language=known.language, heading=section.heading, items=own, rows=rows)
        sections[section.heading] = write(inputs).markdown
    return sections


@pytest.mark.parametrize(("language", "heard"), ALL)
def test_what_is_planted_is_found_as_what_it_is(language: str, heard: bool) -> None:
    result = score(session(language, heard=heard), found(session(language, heard=heard)))
    assert result.recall >= 0.92, result.missed
    assert result.placing >= 0.9, result.misplaced
    assert result.precision >= 0.92, result.wrong
    assert result.chatter <= 1


@pytest.mark.parametrize("name", UNSEEN)
def test_most_of_what_nobody_has_words_for_is_told_as_a_note_and_nothing_as_what_it_is_not(name: str) -> None:
    known = session(name)
    result = score(known, found(known))
    assert result.told / result.planted >= 0.8
    assert result.precision == 1 and result.chatter <= 1


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_command_is_found_letter_by_letter(language: str) -> None:
    known = session(language)
    result = score(known, found(known))
    assert result.commands == result.commands_found >= 9


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_problem_has_a_row_with_its_own_cause_fix_and_prevention(language: str) -> None:
    known = session(language)
    items = found(known)
    texts = {item.id: item.text for item in items}
    rows = problem_matrix(MapInputs(title="Session", language=language, items=items)).rows
    assert len(rows) == 3
    for row, (symptom, cause, fix, prevention) in zip(rows, PROBLEMS[language], strict=True):
        assert symptom in texts[row.problem]
        for words, column in ((cause, row.diagnosis), (fix, row.solution), (prevention, row.prevention)):
            assert any(words in texts[each] for each in column), words


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_problem_is_a_section_with_all_that_belongs_to_it_and_nothing_of_the_others(language: str) -> None:
    sections = document(session(language))
    numbered = {heading: text for heading, text in sections.items() if heading[0].isdigit()}
    assert [heading[:3] for heading in numbered] == ["1. ", "2. ", "3. "]
    for number, text in enumerate(numbered.values()):
        assert text.count("### ") >= 7, "symptoms, diagnosis, cause, fix, prevention, risks, rules, configuration"
        for other, words in enumerate(PROBLEMS[language]):
            assert [each in text for each in words] == [other == number] * 4
        lines = [line for line in text.splitlines() if line.startswith("- ")]
        assert len(lines) == len(set(lines)), "a sentence is told once"


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_summary_says_what_the_session_was_about(language: str) -> None:
    known = session(language)
    summary = next(iter(document(known).values()))
    topics = {"en": ("three incidents", "to summarize"), "pt": ("três incidentes", "Em resumo"),
              "es": ("tres incidentes", "En resumen")}[language]  # fmt: skip
    assert all(words in summary for words in topics)


def test_a_talk_about_one_problem_has_its_sections_by_kind() -> None:
    known = session("en")
    half = len(known.segments) // 3
    alone = Session("en", known.segments[:half], known.labels, known.commands)
    assert not any(heading[0].isdigit() for heading in document(alone))
