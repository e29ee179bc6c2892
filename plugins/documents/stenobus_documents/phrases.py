"""The words that this package itself writes into a document, in the languages a document can be asked for in."""

from __future__ import annotations

from dataclasses import dataclass

from stenobus_contracts import DocumentSource


@dataclass(frozen=True, slots=True)
class Page:
    """The words of the page of provenance."""

    heading: str
    recording: str
    transcript: str
    #: Whose transcript nobody here made.
    brought: str
    method: str
    cost: str
    unknown: str
    no_price: str
    rest: str
    coverage: str
    covered: str
    stages: tuple[str, ...]
    parts: tuple[str, ...]
    missing: str
    reasons: tuple[str, ...]
    small_talk: str
    noise: str
    doubts: str


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
    page: Page


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
        page=Page(
            heading="Provenance",
            recording="Recording",
            transcript="Transcript",
            brought="brought by the producer",
            method="Method",
            cost="Cost",
            unknown="unknown",
            no_price="no price is known for",
            rest="; the rest took {usd}",
            coverage="Coverage",
            covered="{statements} statements from {cited} of {speech} segments of speech; {small_talk} of small talk "
            "and {noise} of noise were left out",
            stages=(
                "Stage",
                "Method",
                "Provider and model",
                "Prompt",
                "Requests",
                "Tokens in",
                "Tokens out",
                "Cost",
            ),
            parts=("Part", "Segments of speech", "Cited", "Statements"),
            missing="What is not in it",
            reasons=("Dropped or left out, and why", "How many", "Where"),
            small_talk="segments of small talk",
            noise="segments of noise or repeats",
            doubts="What is in doubt",
        ),
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
        page=Page(
            heading="Procedência",
            recording="Gravação",
            transcript="Transcrição",
            brought="trazida pelo produtor",
            method="Método",
            cost="Custo",
            unknown="desconhecido",
            no_price="não há preço conhecido para",
            rest="; o resto custou {usd}",
            coverage="Cobertura",
            covered="{statements} afirmações de {cited} de {speech} segmentos de fala; {small_talk} de conversa e "
            "{noise} de ruído ficaram de fora",
            stages=(
                "Etapa",
                "Método",
                "Provedor e modelo",
                "Prompt",
                "Pedidos",
                "Tokens de entrada",
                "Tokens de saída",
                "Custo",
            ),
            parts=("Parte", "Segmentos de fala", "Citados", "Afirmações"),
            missing="O que não está nele",
            reasons=("Descartado ou deixado de fora, e por quê", "Quantos", "Onde"),
            small_talk="segmentos de conversa",
            noise="segmentos de ruído ou repetições",
            doubts="O que está em dúvida",
        ),
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
        page=Page(
            heading="Procedencia",
            recording="Grabación",
            transcript="Transcripción",
            brought="traída por el productor",
            method="Método",
            cost="Costo",
            unknown="desconocido",
            no_price="no se conoce precio para",
            rest="; el resto costó {usd}",
            coverage="Cobertura",
            covered="{statements} afirmaciones de {cited} de {speech} segmentos de habla; {small_talk} de charla y "
            "{noise} de ruido quedaron fuera",
            stages=(
                "Etapa",
                "Método",
                "Proveedor y modelo",
                "Prompt",
                "Solicitudes",
                "Tokens de entrada",
                "Tokens de salida",
                "Costo",
            ),
            parts=("Parte", "Segmentos de habla", "Citados", "Afirmaciones"),
            missing="Lo que no está en él",
            reasons=("Descartado o dejado fuera, y por qué", "Cuántos", "Dónde"),
            small_talk="segmentos de charla",
            noise="segmentos de ruido o repeticiones",
            doubts="Lo que está en duda",
        ),
    ),
}

#: Headings of the page of provenance, in every language.
PROVENANCE = tuple(each.page.heading for each in _PHRASES.values())


def phrases(source: DocumentSource) -> Phrases:
    """The words of a document: in the language it was asked for in, else in that of its recording, else in English."""
    return _PHRASES.get(source.document_language or spoken(source), _PHRASES["en"])


def spoken(source: DocumentSource) -> str:
    """ISO 639 code of the recording's language; empty where nobody knows it."""
    return (source.language or "").replace("_", "-").partition("-")[0].lower()
