"""The words that an output puts around a document: cover, contents, footer. In the document's language."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Labels:
    """One language's words."""

    contents: str
    #: With ``{page}`` and ``{pages}``.
    numbers: str
    #: Names of the facts of a front matter; others keep their own.
    facts: Mapping[str, str]
    #: How a document came to be, by the front matter's ``method``.
    methods: Mapping[str, str]


_LABELS: Final = {
    "en": Labels(
        contents="Contents",
        numbers="Page {page} of {pages}",
        facts={"source": "Recording", "transcript": "Transcript by", "generator": "Produced by"},
        methods={
            "extractive": "Extractive: verbatim from the recording, no language model",
            "model": "Written by a language model from verified quotes",
        },
    ),
    "pt": Labels(
        contents="Conteúdo",
        numbers="Página {page} de {pages}",
        facts={"source": "Gravação", "duration": "Duração", "language": "Idioma", "transcript": "Transcrição por",
               "method": "Método", "generator": "Produzido por"},
        methods={
            "extractive": "Extrativo: literal da gravação, sem modelo de linguagem",
            "model": "Escrito por um modelo de linguagem a partir de citações verificadas",
        },
    ),
    "es": Labels(
        contents="Contenido",
        numbers="Página {page} de {pages}",
        facts={"source": "Grabación", "duration": "Duración", "language": "Idioma", "transcript": "Transcripción por",
               "method": "Método", "generator": "Producido por"},
        methods={
            "extractive": "Extractivo: literal de la grabación, sin modelo de lenguaje",
            "model": "Escrito por un modelo de lenguaje a partir de citas verificadas",
        },
    ),
}  # fmt: skip


def labels(facts: Mapping[str, str]) -> Labels:
    """The words for a document with this front matter; English where its language is none of ours."""
    language = facts.get("language", "").replace("_", "-").partition("-")[0].lower()
    return _LABELS.get(language, _LABELS["en"])
