"""The six document stages, one event each, and the tasks they ask of a language model."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from pydantic import Field, JsonValue

from .blob import BlobRef, Media
from .event import Event, Model
from .llm import TokenUsage
from .media import DocumentLanguage, ExtraFormat, OutputOptions
from .speech import Recognition, Segment

Method = Literal["local", "extractive", "model"]


class StageUsage(Model):
    """What one stage took to produce its result, kept with the result so that a cached stage reports the same."""

    stage: str
    method: Method = Field(
        description="local: code alone; extractive: sentences of the transcript; model: a language model"
    )
    provider: str | None = Field(default=None, description="who answered, as the router names it")
    model: str | None = None
    prompt: str | None = Field(default=None, description="name and version of the prompt, such as extract@1")
    tokens: TokenUsage = TokenUsage()
    cost_usd: Decimal | None = Field(default=None, description="None when a price is not known; 0 for code alone")
    calls: int = Field(default=0, ge=0, description="completions asked for")
    warnings: tuple[str, ...] = Field(default=(), description="what was dropped or is in doubt, a sentence each")


class DocumentSource(Model):
    """Where a document comes from."""

    title: str
    media: Media | None = None
    transcript: BlobRef | Media = Field(description="the transcript as it came in")
    recognition: Recognition | None = None
    language: str | None = Field(default=None, description="spoken language, BCP 47")
    document_language: DocumentLanguage | None = Field(
        default=None, description="language the document was asked for in; that of the recording if absent"
    )
    output: OutputOptions | None = None
    duration_seconds: float | None = Field(default=None, ge=0)
    metadata: dict[str, JsonValue] = Field(default_factory=dict)


class DocumentEvent(Event):
    """What every stage hands on: the source, the cleaned transcript, and what the stages so far took."""

    source: DocumentSource
    transcript: BlobRef = Field(description="the cleaned Transcript as JSON")
    stages: tuple[StageUsage, ...] = ()


class DocCleaned(DocumentEvent, subject="doc.cleaned"):
    """Stage 1: the transcript is in the internal form, noise and small talk marked."""


class DocExtracted(DocumentEvent, subject="doc.extracted"):
    """Stage 2: the facts are found, each with its evidence."""

    extraction: BlobRef = Field(description="an Extraction as JSON")
    chunks_processed: int = Field(ge=0)


class DocMapped(DocExtracted, subject="doc.mapped"):
    """Stage 3: problems are matched with diagnoses, solutions and prevention."""

    matrix: BlobRef = Field(description="a ProblemMatrix as JSON")


class DocOutlined(DocMapped, subject="doc.outlined"):
    """Stage 4: the document has its sections."""

    outline: BlobRef = Field(description="an Outline as JSON")


class DocDrafted(DocOutlined, subject="doc.drafted"):
    """Stage 5: the Markdown is written."""

    draft: BlobRef = Field(description="the document as Markdown")


OutputFormat = Literal["docx"] | ExtraFormat


class NotCarried(Model):
    """Something of a document's Markdown that an output has not, or has in a poorer form."""

    output: OutputFormat
    feature: str = Field(description="what it is: image, link, table row, …; document when there is no such output")
    count: int = Field(ge=1)
    reason: str = Field(description="why, and what stands in its place")


class DocReady(Event, subject="doc.ready"):
    """Stage 6: Markdown and DOCX are stored. Enough for anyone to index, notify or deliver the document."""

    title: str
    source: DocumentSource
    markdown: BlobRef
    docx: BlobRef
    html: BlobRef | None = Field(default=None, description="one self-contained page, when it was asked for")
    pdf: BlobRef | None = Field(default=None, description="when it was asked for and could be made")
    not_carried: tuple[NotCarried, ...] = Field(default=(), description="what outputs could not take over")
    transcript: BlobRef
    quality: BlobRef | None = Field(default=None, description="checks, coverage and what was left out, as JSON")
    method: Method = Field(description="model when any stage used a language model, else extractive")
    stages: tuple[StageUsage, ...] = ()
    chunks_processed: int = Field(default=0, ge=0)
    warnings: tuple[str, ...] = ()

    @property
    def tokens_used(self) -> TokenUsage:
        """Tokens of all stages together."""
        return sum((stage.tokens for stage in self.stages), TokenUsage())

    @property
    def cost_usd(self) -> Decimal | None:
        """Cost of all stages in US dollars; None as soon as one price is not known."""
        total = Decimal(0)
        for stage in self.stages:
            if stage.cost_usd is None:
                return None
            total += stage.cost_usd
        return total


# --- what the stages store, which is also what they ask a language model for ---------------------------------------

ItemKind = Literal[
    "symptom", "diagnosis", "cause", "solution", "command", "prevention", "risk", "rule", "configuration", "fact"
]


class Evidence(Model):
    """Where the recording says so."""

    segments: tuple[str, ...] = Field(min_length=1, description="ids of the segments that hold the quote")
    quote: str = Field(min_length=1, description="verbatim words of those segments")
    start: float | None = Field(default=None, description="seconds; derived from the segments, never from a model")
    speaker: str | None = Field(default=None, description="who says it, as the first of the segments has it")


class Item(Model):
    """One fact found in the recording."""

    id: str = Field(pattern=r"^I\d{3,}$")
    kind: ItemKind
    text: str = Field(min_length=1)
    evidence: Evidence


class Extraction(Model):
    """Result of documents.extract."""

    items: tuple[Item, ...] = ()


class ProblemRow(Model):
    """One problem and what belongs to it, by item id."""

    problem: str = Field(description="id of a symptom")
    diagnosis: tuple[str, ...] = Field(default=(), description="how it was found: diagnoses and causes")
    debugging: tuple[str, ...] = Field(default=(), description="the steps that show it, in the order they are taken")
    solution: tuple[str, ...] = Field(default=(), description="what mended it: solutions and commands")
    prevention: tuple[str, ...] = Field(default=(), description="what keeps it from coming back")


class ProblemMatrix(Model):
    """Result of documents.map."""

    rows: tuple[ProblemRow, ...] = ()


class OutlineSection(Model):
    """A section to be written."""

    heading: str = Field(min_length=1, max_length=200)
    items: tuple[str, ...] = Field(default=(), description="ids of the items it covers")


class Outline(Model):
    """Result of documents.outline."""

    title: str = Field(min_length=1, max_length=300)
    sections: tuple[OutlineSection, ...] = ()


class SectionText(Model):
    """Result of documents.write."""

    markdown: str


class ExtractInputs(Model):
    """Inputs of documents.extract: one chunk of the cleaned transcript."""

    title: str
    language: str | None = None
    document_language: DocumentLanguage | None = None
    segments: tuple[Segment, ...]


class MapInputs(Model):
    """Inputs of documents.map."""

    title: str
    language: str | None = None
    document_language: DocumentLanguage | None = None
    items: tuple[Item, ...]


class OutlineInputs(MapInputs):
    """Inputs of documents.outline."""

    rows: tuple[ProblemRow, ...] = ()


class WriteInputs(OutlineInputs):
    """Inputs of documents.write: one section, its own items, and the rows of the matrix that name them."""

    heading: str


class Task(Model):
    """A question the document stages ask: the shape of its inputs and of its answer."""

    name: str
    inputs: type[Model]
    output: type[Model]


EXTRACT = Task(name="documents.extract", inputs=ExtractInputs, output=Extraction)
MAP = Task(name="documents.map", inputs=MapInputs, output=ProblemMatrix)
OUTLINE = Task(name="documents.outline", inputs=OutlineInputs, output=Outline)
WRITE = Task(name="documents.write", inputs=WriteInputs, output=SectionText)
