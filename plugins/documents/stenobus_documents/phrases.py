"""The words that this package itself writes into a document, in the languages a document can be asked for in."""

from __future__ import annotations

from dataclasses import dataclass

from stenobus_contracts import DocumentSource


@dataclass(frozen=True, slots=True)
class Phrases:
    """One language's words; ``{…}`` is filled in."""

    #: Heading of the section for items that no other section asked for: a document leaves nothing out silently.
    other: str
    problems: str
    problem: str
    diagnosis: str
    debugging: str
    solution: str
    prevention: str
    sources: str
    #: Heard by an engine.
    heard: str
    extractive: str
    written: str
    nothing: str


_PHRASES: dict[str, Phrases] = {
    "en": Phrases(
        other="Other findings",
        problems="Problems and solutions",
        problem="Problem",
        diagnosis="Diagnosis",
        debugging="Debugging steps",
        solution="Solution",
        prevention="Prevention",
        sources="Sources",
        heard=" as {engine} heard it",
        extractive="**Extractive document.** No language model was used; every sentence is verbatim from the "
        "recording{heard}.",
        written="**Written by a language model:** {who}. Every finding cites words of the recording{heard}; the times "
        "link to them, and the wording around them is the model's.",
        nothing="Nothing was found in it that this document could state.",
    ),
    "pt": Phrases(
        other="Outras constatações",
        problems="Problemas e soluções",
        problem="Problema",
        diagnosis="Diagnóstico",
        debugging="Passos de depuração",
        solution="Solução",
        prevention="Prevenção",
        sources="Fontes",
        heard=", tal como {engine} a ouviu",
        extractive="**Documento extrativo.** Nenhum modelo de linguagem foi usado; cada frase é literal da "
        "gravação{heard}.",
        written="**Escrito por um modelo de linguagem:** {who}. Cada constatação cita palavras da gravação{heard}; os "
        "tempos levam a elas, e a redação em volta é do modelo.",
        nothing="Nada foi encontrado nela que este documento pudesse afirmar.",
    ),
    "es": Phrases(
        other="Otros hallazgos",
        problems="Problemas y soluciones",
        problem="Problema",
        diagnosis="Diagnóstico",
        debugging="Pasos de depuración",
        solution="Solución",
        prevention="Prevención",
        sources="Fuentes",
        heard=", tal como la oyó {engine}",
        extractive="**Documento extractivo.** No se usó ningún modelo de lenguaje; cada frase es literal de la "
        "grabación{heard}.",
        written="**Escrito por un modelo de lenguaje:** {who}. Cada hallazgo cita palabras de la grabación{heard}; los "
        "tiempos enlazan con ellas, y la redacción que las rodea es del modelo.",
        nothing="No se encontró en ella nada que este documento pudiera afirmar.",
    ),
}


def phrases(source: DocumentSource) -> Phrases:
    """The words of a document: in the language it was asked for in, else in that of its recording, else in English."""
    return _PHRASES.get(source.document_language or spoken(source), _PHRASES["en"])


def spoken(source: DocumentSource) -> str:
    """ISO 639 code of the recording's language; empty where nobody knows it."""
    return (source.language or "").replace("_", "-").partition("-")[0].lower()
