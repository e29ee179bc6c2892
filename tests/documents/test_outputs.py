"""Stage 6: what is made of a draft, in which formats, with which template, and what it says it could not do."""

from __future__ import annotations

import asyncio
import hashlib
import io
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import docx
import pytest

from stenobus_contracts import BlobRef, Media, OutputOptions
from stenobus_core import Check, PermanentError, PluginError
from stenobus_documents import images, output, pdf
from stenobus_documents.formats import Wanted, make
from stenobus_documents.images import Image, checked, may_read
from stenobus_documents.manuscript import Manuscript
from stenobus_documents.markdown import parse
from stenobus_documents.word import Look, pandoc, render
from stenobus_documents.word.contents import counted
from stenobus_documents.word.validate import problems

from .conftest import StartBench
from .features import FRONT, File, company
from .pictures import png

OUTPUT = "STENOBUS_DOCUMENTS_OUTPUT_"
needs_office = pytest.mark.skipif(pdf.program() is None or shutil.which("pdftotext") is None, reason="no LibreOffice")


def options(template: Media | None = None, *formats: Any) -> OutputOptions:
    return OutputOptions(template=template, formats=formats or None)


async def test_html_comes_with_it_and_pdf_only_when_it_is_wanted(start: StartBench) -> None:
    bench = await start()
    ready = await bench.document()
    assert ready.pdf is None and ready.html
    assert (await bench.read(ready.html)).startswith(b"<!DOCTYPE html>")
    assert ready.not_carried == ()


async def test_a_job_may_want_no_html(start: StartBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{OUTPUT}FORMATS", "")
    bench = await start()
    assert (await bench.document()).html is None
    assert (await bench.document(output=options(None, "html"))).html


@needs_office
@pytest.mark.parametrize("renderer", ["python-docx", "pandoc"])
async def test_the_contents_of_a_pdf_name_the_pages(
    start: StartBench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, renderer: str
) -> None:
    monkeypatch.setenv(f"{OUTPUT}RENDERER", renderer)
    bench = await start()
    ready = await bench.document(output=options(None, "pdf"))
    assert ready.pdf and ready.pdf.content_type == "application/pdf"
    (tmp_path / "made.pdf").write_bytes(await bench.read(ready.pdf))
    shown = subprocess.run(["pdftotext", "-layout", "made.pdf", "-"], cwd=tmp_path, check=True, capture_output=True)
    pages = shown.stdout.decode().split("\f")
    listed = dict(re.findall(r"^\s*(\S.*?)\s?\.{5,}\s*(\d+)$", pages[0], re.MULTILINE))
    assert {"Problems and solutions", "Solution", "Provenance"} <= set(listed)
    headings = Manuscript.read(await bench.markdown(ready)).headings
    assert set(listed) == {heading.text for heading in headings if heading and heading.level <= 2}
    for heading, number in listed.items():
        assert re.search(rf"^\s*{heading}$", pages[int(number) - 1], re.MULTILINE), heading


async def test_without_libreoffice_the_document_is_ready_and_says_so(
    start: StartBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pdf, "program", lambda: None)
    ready = await (await start()).document(output=options(None, "pdf"))
    assert ready.pdf is None
    assert [(lost.output, lost.feature) for lost in ready.not_carried] == [("pdf", "document")]
    assert ready.warnings == ("output: no PDF: LibreOffice (soffice) is not installed",)


async def test_a_libreoffice_that_hangs_is_ended_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    office = tmp_path / "soffice"
    office.write_text(f"#!/bin/sh\nsleep 600 & echo $! > {tmp_path}/child; wait\n")
    office.chmod(0o700)
    monkeypatch.setattr(pdf, "program", lambda: str(office))
    monkeypatch.setattr(pdf, "_PATIENCE", 0.5)
    with pytest.raises(pdf.NoPdf, match="took more than"):
        await pdf.convert(b"")
    child = Path("/proc", (tmp_path / "child").read_text().strip(), "stat")
    assert not child.exists() or child.read_text().split()[2] == "Z"


async def test_a_libreoffice_that_makes_nothing_is_named_with_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    office = tmp_path / "soffice"
    office.write_text("#!/bin/sh\necho 'source file could not be loaded'\n")
    office.chmod(0o700)
    monkeypatch.setattr(pdf, "program", lambda: str(office))
    with pytest.raises(pdf.NoPdf, match="source file could not be loaded"):
        await pdf.convert(b"")


def test_only_the_contents_are_changed_for_libreoffice() -> None:
    text = FRONT + "## a\n\n## b\n\n### c\n\n[to](#c)[^1]\n\n[^1]: note"
    data = render(Manuscript.read(text), Look()).docx
    file = File(counted(data))
    assert [each for each in file.find("//w:instrText") if "REF" in each or "TOC" in each] == [
        f" PAGEREF _heading_{n} \\h " for n in range(3)
    ]
    assert file.styled("toc 1") == ["a1", "b1"]
    assert list(problems(counted(data))) == []
    assert File(data).find("//w:p")[-4:] == file.find("//w:p")[-4:]
    bare = render(Manuscript.read("x"), Look()).docx
    assert counted(bare) == bare


@pytest.mark.parametrize("renderer", ["python-docx", "pandoc"])
async def test_a_template_of_the_job_goes_before_that_of_the_settings(
    start: StartBench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, renderer: str
) -> None:
    plain = io.BytesIO()
    docx.Document().save(plain)
    (tmp_path / "plain.docx").write_bytes(plain.getvalue())
    monkeypatch.setenv(f"{OUTPUT}TEMPLATE", str(tmp_path / "plain.docx"))
    monkeypatch.setenv(f"{OUTPUT}RENDERER", renderer)
    bench = await start()
    by_settings = await bench.document()
    template = Media(uri=(await bench.store(company())).uri, name="company.docx")
    by_job = await bench.document(output=options(template))
    assert "C00020" not in colors(await bench.read(by_settings.docx))
    assert "C00020" in colors(await bench.read(by_job.docx))
    assert any("the template has no style Cover Fact" in warning for warning in by_job.warnings)
    assert [(lost.output, lost.feature) for lost in by_job.not_carried] == [("html", "template")]


def colors(data: bytes) -> list[str]:
    return File(data).find("//w:style[w:name/@w:val='heading 1']//w:color/@w:val", "word/styles.xml")


async def test_a_template_that_is_none_ends_the_job_with_its_reason(start: StartBench) -> None:
    bench = await start()
    template = Media(uri=(await bench.store("no template")).uri, name="company.docx")
    dead = await bench.failure(output=options(template))
    assert "The template is no DOCX or DOTX file." in dead.message


async def test_a_template_that_is_none_keeps_the_stage_from_starting(tmp_path: Path) -> None:
    (tmp_path / "x.docx").write_bytes(b"x")
    with pytest.raises(PluginError, match=r"x\.docx: The template is no DOCX"):
        await anext(output.ready(output.Settings(template=tmp_path / "x.docx")))


def test_the_doctor_looks_at_everything_that_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "company.docx").write_bytes(company())
    settings = output.Settings(template=tmp_path / "company.docx", formats=("pdf",), renderer="pandoc")
    checks = {check.name: check for check in output.doctor(settings)}
    assert checks["renderer"].ok and "pandoc 3" in checks["renderer"].detail
    assert checks["template"].ok and "Code Block" in checks["template"].detail
    monkeypatch.setattr(pdf, "program", lambda: None)
    gone = output.Settings(template=tmp_path / "gone.docx", formats=("pdf",))
    checks = {check.name: check for check in output.doctor(gone)}
    assert [checks[name].ok for name in ("renderer", "template", "PDF")] == [True, False, False]
    assert isinstance(checks["PDF"], Check) and "not installed" in checks["PDF"].detail


def test_without_pandoc_its_backend_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pandoc, "find_spec", lambda name: None)
    with pytest.raises(pandoc.NoPandoc, match=r"pip install stenobus-documents\[pandoc\]"):
        pandoc.render(Manuscript.read("x"), Look())


class Store:
    """Content in memory."""

    def __init__(self, **content: bytes) -> None:
        self.content = {f"nats://own/{name}": data for name, data in content.items()}

    def ref(self, uri: str, content_type: str) -> BlobRef:
        data = self.content[uri]
        return BlobRef(uri=uri, sha256=hashlib.sha256(data).hexdigest(), size=len(data), content_type=content_type)

    async def read(self, ref: BlobRef | Media, limit: int = 10**9) -> bytes:
        if ref.uri not in self.content:
            raise PermanentError(f"{ref.uri} is not there.")
        return self.content[ref.uri][: limit + 1]

    async def store(self, data: bytes, content_type: str) -> BlobRef:
        uri = f"nats://own/made/{len(self.content)}"
        self.content[uri] = data
        return self.ref(uri, content_type)


async def test_a_picture_that_lies_beside_the_draft_is_in_every_output() -> None:
    store = Store(
        draft=b"![seen](nats://own/seen)\n\n![gone](nats://own/gone)\n\n![far](https://example.org/x.png)", seen=png()
    )
    made = await make(store.ref("nats://own/draft", "text/markdown"), Wanted(), store)
    assert len(File(store.content[made.docx.uri]).media) == 1
    assert made.html and store.content[made.html.uri].count(b"<img ") == 1
    assert [(lost.output, lost.count, lost.reason) for lost in made.not_carried] == [
        (output, 1, f"{reason}; its description is there")
        for output in ("docx", "html")
        for reason in (
            "it could not be used (nats://own/gone is not there)",
            "its address is on no list of addresses that may be read",
        )
    ]


@pytest.mark.parametrize(("draft", "reason"), [(b" \n", "is empty"), (b"x" * 101, "has 101 characters")])
async def test_a_draft_that_is_none_or_too_long_is_refused(draft: bytes, reason: str) -> None:
    store = Store(draft=draft)
    with pytest.raises(PermanentError, match=reason):
        await make(store.ref("nats://own/draft", "text/markdown"), Wanted(longest=100), store)


@pytest.mark.parametrize(
    ("address", "may"),
    [
        ("nats://stenobus/a.png", True),
        ("nats://stenobus/deep/a.png", True),
        ("nats://other/a.png", False),
        ("nats://stenobus/../other/a.png", False),
        ("nats://stenobus/%2e%2e/other/a.png", False),
        ("nats://stenobus/..\\other", False),
        ("nats://stenobus/a.png?x=1", False),
        ("nats://stenobus.evil/a.png", False),
        ("file:///etc/passwd", False),
    ],
)
def test_addresses_are_read_from_the_list_alone(address: str, may: bool) -> None:
    assert may_read(address, ("nats://stenobus/",)) == may


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no PNG, JPEG or GIF"),
        (b"GIF89a", "no PNG, JPEG or GIF"),
        (png()[:20], "no PNG, JPEG or GIF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no PNG, JPEG or GIF"),
        (b"BM" + bytes(100), "no PNG, JPEG or GIF"),
        (png(0, 10), "0 × 10 pixels"),
        (png(8, 8).replace((8).to_bytes(4, "big") * 2, (60_000).to_bytes(4, "big") * 2), "60000 × 60000 pixels"),
    ],
)
def test_what_is_no_image_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        checked(data)


async def test_pictures_end_at_their_count_and_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "_COUNT", 2)
    monkeypatch.setattr(images, "_ALL", len(png()) + 5)
    limits = []

    async def read(media: Media, limit: int) -> bytes:
        await asyncio.sleep(0)
        limits.append(limit)
        if limit < len(png()):
            raise PermanentError("It is too long.")
        return png()

    tree = parse("![](nats://a/1) ![](nats://a/1) ![](nats://a/2) ![](nats://a/3)")
    found = await images.load(tree, read, ("nats://a/",))
    assert isinstance(found["nats://a/1"], Image)
    assert found["nats://a/2"] == "it could not be used (It is too long)"
    assert found["nats://a/3"] == "the document has more than 2 images"
    assert limits == [len(png()) + 5, 5]
