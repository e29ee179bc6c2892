"""A company's own template: its styles, page, header and footer; nothing of its text."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Sequence
from typing import Final

import docx
from docx.document import Document
from docx.opc.constants import CONTENT_TYPE as CT
from docx.opc.constants import RELATIONSHIP_TYPE as RT
from docx.opc.exceptions import OpcError
from docx.opc.packuri import PackURI
from docx.opc.part import Part, XmlPart
from docx.oxml.ns import qn
from lxml import etree  # type: ignore[import-untyped]

from . import options, styles
from .validate import PARSER
from .xml import parsed

#: Bytes of a template, packed and unpacked, and files in it.
PACKED: Final = 20 * 1024 * 1024
_UNPACKED: Final = 200 * 1024 * 1024
_FILES: Final = 2_000
#: What zipfile raises over a damaged, encrypted or foreign file.
_UNREADABLE: Final = (
    zipfile.BadZipFile, zlib.error, EOFError, OSError, LookupError, ValueError, NotImplementedError, RuntimeError
)  # fmt: skip
_TEMPLATE_TYPE: Final = "application/vnd.openxmlformats-officedocument.wordprocessingml.template.main+xml"
_ATTACHED: Final = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/attachedTemplate"
#: What may point out of a document: opening it must not fetch anything.
_MAY_POINT_OUT: Final = frozenset({RT.HYPERLINK})


class TemplateError(ValueError):
    """The file is no template; the message says why."""


def check(data: bytes) -> list[str]:
    """Names of the styles that a template lacks; a rendering brings its own for them.

    Raises:
        TemplateError: it cannot be used.
    """
    document = load(data)
    _, missing = styles.install(document, "", styles.room(document)[0], keep=True)
    return missing


def lacking(missing: Sequence[str]) -> str:
    """What a template lacks, in a sentence; empty when that is nothing."""
    return f"the template has no style {', '.join(missing)}; Stenobus's own stand in for them" if missing else ""


def load(data: bytes) -> Document:
    """The template as an empty document with its styles, numbering, page, header and footer.

    Raises:
        TemplateError: it is no DOCX or DOTX, has macros, fetches from outside, or is too large.
    """
    document = _opened(_as_document(data))
    for part in document.part.package.iter_parts():
        _well_formed(part)
        for key, rel in list(part.rels.items()):
            if rel.reltype == _ATTACHED:
                del part.rels[key]
            elif rel.is_external and rel.reltype not in _MAY_POINT_OUT:
                raise TemplateError(
                    f"The template fetches its {rel.reltype.rpartition('/')[2]} from {rel.target_ref[:100]}; embed it."
                )
    body = document.element.body
    for child in list(body):
        if child.tag != qn("w:sectPr"):
            body.remove(child)
    if body.sectPr is None:
        body.append(parsed("w:sectPr", ""))
    _without_text(document)
    options.detach(document.settings.element)
    _numbering(document)
    return document


def _as_document(data: bytes) -> bytes:
    """The file with the type of a document, where it is a template; python-docx opens nothing else."""
    if len(data) > PACKED:
        raise TemplateError(f"The template has {len(data)} bytes; {PACKED} are allowed.")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as package:
            entries = package.infolist()
            if len(entries) > _FILES or sum(entry.file_size for entry in entries) > _UNPACKED:
                raise TemplateError("The template is too large when unpacked.")
            names = {entry.filename for entry in entries}
            if any(name.lower().endswith("vbaproject.bin") for name in names):
                raise TemplateError("The template has macros; save it as DOCX or DOTX without them.")
            types = package.read("[Content_Types].xml").decode()
            if _TEMPLATE_TYPE not in types:
                return data
            rewritten = io.BytesIO()
            with zipfile.ZipFile(rewritten, "w", zipfile.ZIP_DEFLATED) as new:
                for entry in entries:
                    content = package.read(entry)
                    if entry.filename == "[Content_Types].xml":
                        content = types.replace(_TEMPLATE_TYPE, CT.WML_DOCUMENT_MAIN).encode()
                    new.writestr(entry.filename, content)
            return rewritten.getvalue()
    except TemplateError:
        raise
    except _UNREADABLE as error:
        raise TemplateError("The template is no DOCX or DOTX file.") from error


def _opened(data: bytes) -> Document:
    try:
        document = docx.Document(io.BytesIO(data))
        for name, root in (("styles", document.styles.element), ("settings", document.settings.element)):
            if root.tag != qn(f"w:{name}"):
                raise TemplateError(f"The template has no {name}.")
        if not hasattr(document.element.body, "sectPr"):
            raise TemplateError("The template has no body.")
    except TemplateError:
        raise
    except (*_UNREADABLE, OpcError, AttributeError, TypeError, etree.LxmlError) as error:
        raise TemplateError("The template is no DOCX or DOTX file that can be read.") from error
    return document


def _well_formed(part: Part) -> None:
    """Word opens no file with a part that is broken, or that declares entities."""
    if not part.partname.endswith(".xml"):
        return
    try:
        tree = part.element if isinstance(part, XmlPart) else etree.fromstring(part.blob, PARSER)
    except etree.XMLSyntaxError as error:
        raise TemplateError(f"The template's {part.partname} is no well-formed XML.") from error
    if tree.getroottree().docinfo.doctype:
        raise TemplateError(f"The template's {part.partname} has a document type declaration.")


def _without_text(document: Document) -> None:
    """Drop what only the template's own text referred to: its comments, notes, embedded files and pictures."""
    kept = {RT.STYLES, RT.SETTINGS, RT.NUMBERING, RT.THEME, RT.FONT_TABLE, RT.WEB_SETTINGS, RT.HEADER, RT.FOOTER}
    rels = document.part.rels
    for reference in document.element.body.xpath("w:sectPr/w:headerReference | w:sectPr/w:footerReference"):
        if reference.get(qn("r:id")) not in rels:
            reference.getparent().remove(reference)
    used = set(document.element.body.xpath("w:sectPr//@r:id"))
    for key, rel in list(rels.items()):
        if rel.reltype not in kept or (rel.reltype in {RT.HEADER, RT.FOOTER} and key not in used):
            del rels[key]


def _numbering(document: Document) -> None:
    """A template may have no numbering at all."""
    if any(rel.reltype == RT.NUMBERING for rel in document.part.rels.values()):
        return
    package = document.part.package
    part: Part = XmlPart(PackURI("/word/numbering.xml"), CT.WML_NUMBERING, parsed("w:numbering", ""), package)
    document.part.relate_to(part, RT.NUMBERING)
