"""What is made of a finished draft: DOCX always, HTML and PDF when they are asked for."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from stenobus_contracts import BlobRef, Media, Model, NotCarried
from stenobus_core import PermanentError, PluginError

from . import images, pdf
from .manuscript import Manuscript
from .web import page
from .word import Backend, Look, TemplateError, contents, render
from .word.pandoc import NoPandoc
from .word.pandoc import render as render_by_pandoc
from .word.pandoc import version as pandoc_version
from .word.template import lacking

DOCX_TYPE = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"

BackendName = Literal["python-docx", "pandoc"]


class Content(Protocol):
    """Where content is read from and stored, such as a handler's context."""

    async def read(self, ref: BlobRef | Media, limit: int = ...) -> bytes:
        """The content behind a reference. Raises PermanentError."""
        ...

    async def store(self, data: bytes, content_type: str) -> BlobRef:
        """Store content."""
        ...


class Renderings(Model):
    """Everything that follows from one draft alone, stored."""

    title: str
    docx: BlobRef
    html: BlobRef | None = None
    not_carried: tuple[NotCarried, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a draft is to be made into."""

    look: Look = field(default_factory=Look)
    backend: BackendName = "python-docx"
    html: bool = True
    #: Beginnings of addresses that images may be read from, beside the store that the draft lies in.
    image_sources: tuple[str, ...] = ()
    #: Characters that a draft may have.
    longest: int = 5_000_000


def backend(name: BackendName) -> tuple[Backend, str]:
    """What makes the DOCX, and its name with its version.

    Raises:
        PluginError: it is not installed.
    """
    if name == "python-docx":
        return render, name
    try:
        return render_by_pandoc, pandoc_version()
    except NoPandoc as error:
        raise PluginError(str(error)) from error


async def make(draft: BlobRef, wanted: Wanted, content: Content) -> Renderings:
    """Make and store DOCX and HTML.

    Raises:
        PermanentError: the draft is empty, too long or gone, or the template cannot be used.
    """
    text = (await content.read(draft)).decode(errors="replace")
    if not text.strip():
        raise PermanentError("The draft is empty; look at what the write stage answered.")
    if len(text) > wanted.longest:
        raise PermanentError(f"The draft has {len(text)} characters; STENOBUS_DOCUMENTS_OUTPUT_MAX_CHARACTERS allows "
                             f"{wanted.longest}.")  # fmt: skip
    manuscript = await asyncio.to_thread(Manuscript.read, text)
    own = draft.uri[: draft.uri.rindex("/") + 1]
    pictures = await images.load(manuscript.tree, content.read, (own, *wanted.image_sources))
    renderer, _ = backend(wanted.backend)
    look = replace(wanted.look, pictures=pictures)
    try:
        done = await asyncio.to_thread(renderer, manuscript, look)
    except TemplateError as error:
        raise PermanentError(str(error)) from error
    lost, html = done.not_carried, None
    if wanted.html:
        shown, losses = await asyncio.to_thread(page, manuscript, look)
        html, lost = await content.store(shown.encode(), "text/html"), (*lost, *losses)
    return Renderings(
        title=manuscript.title,
        docx=await content.store(done.docx, DOCX_TYPE),
        html=html,
        not_carried=lost,
        notes=tuple(filter(None, [lacking(done.missing)])),
    )


async def make_pdf(docx: BlobRef, content: Content) -> BlobRef:
    """Make and store the PDF of a stored DOCX.

    Raises:
        NoPdf: LibreOffice is not there, or failed.
    """
    counted = await asyncio.to_thread(contents.counted, await content.read(docx))
    return await content.store(await pdf.convert(counted), "application/pdf")


def sentence(loss: NotCarried) -> str:
    """What was not carried, for people."""
    output = loss.output.upper()
    amount = f"no {output}" if loss.feature == "document" else f"{loss.count} × {loss.feature} in the {output}"
    return f"{amount}: {loss.reason}"
