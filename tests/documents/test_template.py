"""A company's template: what is taken from it, what is left, and what is refused."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable

import docx
import pytest
from docx.opc.constants import CONTENT_TYPE as CT
from docx.opc.constants import RELATIONSHIP_TYPE as RT
from docx.shared import Cm
from hypothesis import given, settings
from hypothesis import strategies as st

from stenobus_documents.manuscript import Manuscript
from stenobus_documents.word import Backend, Look, TemplateError, pandoc, render
from stenobus_documents.word.template import PACKED, check, lacking
from stenobus_documents.word.validate import problems

from .features import FRONT, File, company

BACKENDS: dict[str, Backend] = {"python-docx": render, "pandoc": pandoc.render}


def made(change: Callable[[docx.document.Document], object]) -> bytes:
    document = docx.Document()
    change(document)
    data = io.BytesIO()
    document.save(data)
    return data.getvalue()


def rewritten(data: bytes, change: Callable[[str, bytes], bytes | None], **more: bytes) -> bytes:
    """A package with its files changed; None drops one."""
    new = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(new, "w", zipfile.ZIP_DEFLATED) as package:
        for name in old.namelist():
            content = change(name, old.read(name))
            if content is not None:
                package.writestr(name, content)
        for name, content in more.items():
            package.writestr(name.replace("__", "/").replace("_DOT_", "."), content)
    return new.getvalue()


def related(kind: str, target: str) -> bytes:
    return made(lambda document: document.part.relate_to(target, kind, is_external=True))


@pytest.mark.parametrize("backend", BACKENDS)
def test_its_page_and_styles_are_those_of_the_document(backend: str) -> None:
    def narrow(document: docx.document.Document) -> None:
        document.sections[0].page_width, document.sections[0].right_margin = Cm(14), Cm(3)
        document.styles["Quote"].font.size = 254000

    template = made(narrow)
    text = FRONT + "> said\n\n| a | b |\n|---|---|\n| " + "long words " * 40 + "| c |\n"
    rendered = BACKENDS[backend](Manuscript.read(text), Look(template=template))
    document = docx.Document(io.BytesIO(rendered.docx))
    section = document.sections[0]
    assert round(section.page_width.cm) == 14 and round(section.right_margin.cm) == 3
    [quote] = [each for each in document.paragraphs if each.text == "said"]
    assert [quote.style.font.size, quote.style.base_style and quote.style.base_style.font.size].count(254000) == 1
    assert list(problems(rendered.docx)) == []
    if backend == "python-docx":
        room = section.page_width - section.left_margin - section.right_margin
        assert sum(column.width for column in document.tables[0].columns) <= room


def test_what_it_lacks_is_named_and_ours_stand_in() -> None:
    missing = check(made(lambda document: None))
    assert "Code Block" in missing and "Document Table" in missing
    assert "heading 1" not in missing and "Quote" not in missing
    rendered = render(Manuscript.read("```\nx\n```"), Look(template=company()))
    assert list(rendered.missing) == missing
    assert File(rendered.docx).styled("Code Block") == ["x"]
    assert lacking(missing).startswith("the template has no style Cover Fact, ")
    assert lacking([]) == ""


def test_a_document_of_ours_is_a_template_that_lacks_nothing() -> None:
    assert check(render(Manuscript.read("x"), Look()).docx) == []


def test_a_style_is_found_by_its_name_whatever_its_id() -> None:
    german = rewritten(
        company(), lambda name, data: data.replace(b'"Heading1"', b'"berschrift1"') if name.endswith(".xml") else data
    )
    file = File(render(Manuscript.read("# a"), Look(template=german)).docx)
    assert file.styled("heading 1") == ["a"]
    assert "berschrift1" in file.find("//w:pStyle/@w:val")


def test_an_id_that_a_template_uses_for_another_style_is_left_to_it() -> None:
    template = made(lambda document: document.styles.add_style("CodeBlock", 2))  # a character style of this id
    file = File(render(Manuscript.read("```\nx\n```"), Look(template=template)).docx)
    assert file.styled("Code Block") == ["x"]
    ids = file.find("//w:style/@w:styleId", "word/styles.xml")
    assert len(ids) == len(set(ids))


def test_dotx_is_one_too() -> None:
    kind = CT.WML_DOCUMENT_MAIN.encode()
    template = rewritten(
        company(), lambda name, data: data.replace(kind, kind.replace(b"document.main", b"template.main"))
    )
    assert b"template.main" in zipfile.ZipFile(io.BytesIO(template)).read("[Content_Types].xml")
    file = File(render(Manuscript.read("# a"), Look(template=template)).docx)
    assert "ACME Corporation" in file.find("//w:p", "word/header")


def test_nothing_of_its_text_is_left() -> None:
    def written(document: docx.document.Document) -> None:
        document.core_properties.author, document.core_properties.comments = "A Person", "secret"
        document.add_comment(document.add_paragraph("internal").runs, text="do not publish", author="A Person")

    data = render(Manuscript.read("x"), Look(template=made(written))).docx
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        everything = b"".join(package.read(name) for name in package.namelist())
    for word in (b"A Person", b"secret", b"internal", b"do not publish"):
        assert word not in everything, word


def test_the_template_that_it_was_made_from_is_forgotten() -> None:
    path = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/attachedTemplate"
    data = render(Manuscript.read("x"), Look(template=related(path, "file://server/share/x.dotm"))).docx
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        assert not any(b"x.dotm" in package.read(name) for name in package.namelist())


W = b'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
ENTITY = b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
HEADER = ENTITY + b"<w:hdr " + W + b"><w:p><w:r><w:t>&a;</w:t></w:r></w:p></w:hdr>"
ENDLESS = rewritten(company(), lambda name, data: data, word__x_DOT_xml=bytes(201 * 1024 * 1024))
REFUSED = {
    "no DOCX": (b"%PDF-1.7", "is no DOCX or DOTX file"),
    "nothing": (b"", "is no DOCX or DOTX file"),
    "a zip of something": (rewritten(company(), lambda name, data: None, hello=b"x"), "is no DOCX or DOTX file"),
    "no styles": (rewritten(company(), lambda name, data: b"<x/>" if name == "word/styles.xml" else data), "no styles"),
    "broken XML": (
        rewritten(company(), lambda name, data: b"<w:doc" if name == "word/document.xml" else data),
        "that can be read",
    ),
    "broken theme": (rewritten(company(), lambda name, data: b"<a:" if "theme" in name else data), "no well-formed"),
    "a header with an entity": (
        rewritten(company(), lambda name, data: HEADER if name == "word/header1.xml" else data),
        "header1.xml has a document type",
    ),
    "a theme with an entity": (
        rewritten(company(), lambda name, data: ENTITY + b"<x/>" if "theme" in name else data),
        "theme1.xml has a document type",
    ),
    "macros": (rewritten(company(), lambda name, data: data, word__vbaProject_DOT_bin=b"x"), "has macros"),
    "fetches an image": (related(RT.IMAGE, "https://x.org/a.png"), "fetches its image from https://x.org/a.png"),
    "fetches an object": (related(RT.OLE_OBJECT, "https://x.org/a"), "fetches its oleObject from https://x.org/a"),
    "a bomb": (ENDLESS, "too large when unpacked"),
    "too many files": (
        rewritten(company(), lambda name, data: data, **{f"x{n}": b"" for n in range(2001)}),
        "too large when unpacked",
    ),
    "too long": (company() + bytes(PACKED), "are allowed"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_template_is_refused_with_a_reason(what: str) -> None:
    data, reason = REFUSED[what]
    with pytest.raises(TemplateError, match=reason):
        check(data)


def test_a_header_that_is_not_there_is_none() -> None:
    rels = "word/_rels/document.xml.rels"
    template = rewritten(
        company(), lambda name, data: re.sub(rb"<Relationship [^>]*header1[^>]*>", b"", data) if name == rels else data
    )
    assert template != company()
    file = File(render(Manuscript.read(FRONT + "x"), Look(template=template)).docx)
    assert "The title" in file.find("//w:p", "word/header")


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_damaged_template_is_refused_or_used_never_more(data: st.DataObject) -> None:
    whole = bytearray(company())
    for _ in range(data.draw(st.integers(1, 20))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        rendered = render(Manuscript.read("# a\n\n```\nx\n```"), Look(template=bytes(whole)))
    except TemplateError:
        return
    assert list(problems(rendered.docx)) == []
