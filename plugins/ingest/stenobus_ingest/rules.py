"""Facts about a document by rule: what it calls itself, its central sentences, and what has a fixed shape."""

from __future__ import annotations

import re
from collections import Counter
from typing import Final
from urllib.parse import unquote

from stenobus_contracts import DocumentFacts, DocumentType, FoundDate, FoundEntity

from . import dates
from .reader import Reading

_HEADING: Final = re.compile(r"^#{1,3}\s+(.+?)\s*#*$", re.MULTILINE)
_SENTENCE: Final = re.compile(r"(?<=[.!?…])\s+(?=[^\W\d_]|[¿¡\"“«(\d])")
_WORD: Final = re.compile(r"[^\W\d_]{4,}")
_MARKS: Final = re.compile(r"^\s*(#{1,6}\s+|[-*+]\s+|\d+[.)]\s+|>\s+)|\*\*|__|`+", re.MULTILINE)
_LINK: Final = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
#: What our own extractors put above pages and slides.
_NUMBERED: Final = re.compile(r"(Page|Slide|Sheet\d*) ?\d*|Notes|Attachments")

#: Above the text of an e-mail.
_LETTERHEAD: Final = re.compile(r"(From|To|Cc|Date): ")

#: Characters that rules look at, and of them those that a summary is made of.
_LOOKED_AT: Final = 200_000
_SUMMED_UP: Final = 60_000
_SENTENCES: Final = 3
_SUMMARY: Final = 900
_MOST_DATES, _MOST_ENTITIES = 50, 100

_CURRENCY: Final = "€|£|USD|EUR|GBP|CLP|BRL|MXN"
_NUMBER: Final = r"\d{1,3}(?:[.,\u00a0 ]?\d{3})*(?:[.,]\d{1,2})?"
_SHAPES: Final = (
    ("email", re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,4}[A-Za-z]{2,24}\b")),
    ("url", re.compile(r"\bhttps?://[^\s<>()\[\]\"'|]{3,280}[^\s<>()\[\]\"'|.,;:!?]")),
    (
        "amount",
        re.compile(
            rf"(?<![\w.,])(?:(?:US|CLP|R|MX|A)?\$|UF|{_CURRENCY})\s?{_NUMBER}(?!\d)"
            rf"|(?<![\w.,]){_NUMBER}\s?(?:{_CURRENCY})(?!\w)"
        ),
    ),
    ("phone", re.compile(r"(?<![\w+.,/-])\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{1,4}(?:[ .-]?\d{2,4}){2,4}(?![\w-])")),
)

#: Words that tell a type, in English, Spanish and Portuguese; in the title they count five times.
_WORDS: Final[dict[DocumentType, str]] = {
    "invoice": r"invoice|factura|boleta|fatura|nota fiscal|amount due|total a pagar|iva|vat|vencimiento",
    "contract": r"contract|agreement|contrato|convenio|acuerdo|acordo|cl[aá]usula|hereby|parties|las partes",
    "minutes": r"minutes|attendees|acta|asistentes|ata|participantes|action items|acuerdos|agenda",
    "manual": r"manual|guide|gu[ií]a|guia|instructions|instrucciones|instru[cç][oõ]es|step \d|paso \d|passo \d",
    "policy": r"policy|pol[ií]tica|reglamento|regulamento|terms|t[eé]rminos|termos|must not|prohibido|proibido",
    "report": r"report|informe|reporte|relat[oó]rio|findings|resultados|conclusions?|conclusiones|conclus[oõ]es",
}
_CUES: Final = {name: re.compile(rf"\b(?:{words})\b", re.IGNORECASE) for name, words in _WORDS.items()}
#: Cues that a text must have before its type is told.
_ENOUGH: Final = 3


def facts(reading: Reading, name: str, title: str | None = None) -> DocumentFacts:
    """What rules find.

    Args:
        name: of the file, the last resort for a title.
        title: what the producer says it is.
    """
    text = reading.markdown[:_LOOKED_AT]
    plain = _plain(text)
    called = title or reading.title or _heading(text) or _from_name(name) or "Untitled document"
    called = " ".join(called.split())[:300] or "Untitled document"
    return DocumentFacts(
        title=called,
        summary=summary(plain[:_SUMMED_UP]),
        document_type=_type(reading.format, called, plain),
        dates=tuple(FoundDate(date=date, quote=quote) for date, quote in dates.find(plain, _MOST_DATES)),
        entities=entities(plain),
    )


def summary(text: str) -> str:
    """The sentences that share most words with the others, in their own order and in their own words."""
    blocks = [block for block in text.split("\n\n") if not _LETTERHEAD.match(block)]
    sentences = [" ".join(part.split()) for block in blocks for part in _SENTENCE.split(block)]
    sentences = [sentence for sentence in sentences if 30 <= len(sentence) <= 500 and "|" not in sentence][:1000]
    if not sentences:
        return " ".join(re.sub(r"[|]|-{3}", " ", text).split())[:300]
    bags = [set(_WORD.findall(sentence.lower())) for sentence in sentences]
    common = Counter(word for bag in bags for word in bag)

    def weight(number: int) -> float:
        bag = bags[number]
        shared = sum(common[word] - 1 for word in bag) / (len(bag) + 5)
        return shared + (1.0 if number == 0 else 0.0)  # what comes first mostly says what it is about

    best = sorted(sorted(range(len(sentences)), key=weight, reverse=True)[:_SENTENCES])
    return " ".join(sentences[number] for number in best)[:_SUMMARY]


def entities(text: str) -> tuple[FoundEntity, ...]:
    """Addresses, amounts and numbers: what has a shape. Names of people take a language model."""
    found: dict[tuple[str, str], FoundEntity] = {}
    for kind, shape in _SHAPES:
        for match in shape.finditer(text):
            entity = FoundEntity.model_validate({"kind": kind, "name": " ".join(match[0].split())})
            found.setdefault((kind, entity.name), entity)
            if len(found) >= _MOST_ENTITIES:
                return tuple(found.values())
    return tuple(found.values())


def grounded(facts: DocumentFacts, text: str) -> tuple[DocumentFacts, int]:
    """The facts without dates and names that the document does not have, and how many those were."""
    plain = _folded(_plain(text))
    kept_dates = tuple(each for each in facts.dates if _folded(each.quote) in plain)
    kept = tuple(each for each in facts.entities if _folded(each.name) in plain)
    dropped = len(facts.dates) - len(kept_dates) + len(facts.entities) - len(kept)
    return facts.model_copy(update={"dates": kept_dates, "entities": kept}), dropped


def _type(form: str, title: str, text: str) -> DocumentType:
    given: dict[str, DocumentType] = {"eml": "correspondence", "pptx": "presentation", "csv": "table", "xlsx": "table"}
    if form in given:
        return given[form]
    scores = {
        name: len({match.lower() for match in cue.findall(text)}) + 5 * len(cue.findall(title))
        for name, cue in _CUES.items()
    }
    best = max(scores, key=lambda name: scores[name])
    return best if scores[best] >= _ENOUGH else "article" if form == "html" else "other"


def _heading(text: str) -> str | None:
    for match in _HEADING.finditer(text[:20_000]):
        if not _NUMBERED.fullmatch(match[1]):
            return _plain(match[1])
    first = next((line for line in _plain(text[:5000]).splitlines() if line.strip()), "")
    return first if 3 <= len(first) <= 120 and not first.startswith("|") and not _NUMBERED.fullmatch(first) else None


def _from_name(name: str) -> str | None:
    stem = re.sub(r"\.[A-Za-z0-9]{1,8}$", "", unquote(name).rpartition("/")[2])
    words = re.sub(r"[_\s]+|(?<=\w)-(?=\w)", " ", stem).strip()
    if not any(letter.isalpha() for letter in words) or re.fullmatch(r"[0-9a-f]{32,}", words):
        return None
    return words[0].upper() + words[1:]


def _plain(text: str) -> str:
    return _MARKS.sub("", _LINK.sub(r"\1", text))


def _folded(text: str) -> str:
    return " ".join(text.split()).casefold()
