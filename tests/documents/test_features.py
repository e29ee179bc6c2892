"""Every feature of a document, on every backend: it is in the file, or the result says by name that it is not."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import docx
import pytest
from openxml_audit import OpenXmlValidator

from stenobus_contracts import NotCarried
from stenobus_documents.manuscript import Manuscript
from stenobus_documents.web import page
from stenobus_documents.word import Backend, Look, Rendered, pandoc, render
from stenobus_documents.word.validate import problems

from .features import FEATURES, FRONT, LOOK, File, Page
from .long import markdown

DOCX: dict[str, Backend] = {"python-docx": render, "pandoc": pandoc.render}
#: What each backend makes of a document, and what it says it could not carry.
BACKENDS: dict[str, Callable[[Manuscript, Look], tuple[File | Page, tuple[NotCarried, ...]]]] = {
    "python-docx": lambda manuscript, look: shown(render(manuscript, look)),
    "pandoc": lambda manuscript, look: shown(pandoc.render(manuscript, look)),
    "html": lambda manuscript, look: (Page(page(manuscript, look)[0]), page(manuscript, look)[1]),
}
#: What a backend cannot carry, and what the result calls it.
CANNOT = {"python-docx": {}, "pandoc": {"quote depth": "quote"}, "html": {"template": "template"}}


def shown(rendered: Rendered) -> tuple[File, tuple[NotCarried, ...]]:
    return File(rendered.docx), rendered.not_carried


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", FEATURES)
def test_a_feature_is_carried_or_reported(backend: str, name: str) -> None:
    feature = FEATURES[name]
    made, lost = BACKENDS[backend](Manuscript.read(feature.markdown), replace(LOOK, template=feature.template))
    carried = feature.file(made) if isinstance(made, File) else feature.page(made)
    missing = CANNOT[backend].get(name)
    assert carried == (missing is None)
    assert {loss.feature for loss in lost} == ({missing} if missing else set())


#: What breaks a bound, its words that are there all the same, and the backends that have no such bound.
LOST = {
    "image": ("![x](https://example.org/x.png)", "[image: x]", ()),
    "link": ("[x](#nowhere)", "x", ()),
    "table row": ("| a |\n|---|\n" + "| b |\n" * 5001, "a", ("html",)),
    "table": (f"|{'a|' * 70}\n|{'-|' * 70}\n|{'b|' * 70}", "a", ("html",)),
    "nesting": ("> " * 150 + "deep words", "deep words", ()),
    "list": ("\n".join(f"{'  ' * depth}- i{depth}" for depth in range(12)), "i11", ("html",)),
    "paragraph": ("*a* " * 6000, "*a* *a*", ()),
    "footnote": ("a[^1]\n\n[^1]: b ^[c]", "a", ("html",)),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("feature", LOST)
def test_what_breaks_a_bound_is_reported_and_its_words_are_there(backend: str, feature: str) -> None:
    markdown, words, boundless = LOST[feature]
    made, lost = BACKENDS[backend](Manuscript.read(markdown), Look())
    assert (feature in {loss.feature for loss in lost}) == (backend not in boundless)
    assert all(loss.count > 0 and loss.reason for loss in lost)
    assert words in made.text()


def test_html_goes_on_where_word_ends() -> None:
    made, _ = BACKENDS["html"](Manuscript.read(LOST["table row"][0]), Look())
    assert len(made.find("//td")) == 5001
    made, _ = BACKENDS["html"](Manuscript.read(LOST["footnote"][0]), Look())
    assert [text.strip(" \n↩︎") for text in made.find("//li[@class='footnote-item']/p[1]")] == ["b [2]", "c"]


WHOLE = FRONT + "\n\n".join(
    feature.markdown
    for name, feature in FEATURES.items()
    if not feature.markdown.startswith("---") and name != "footnote"
)


@pytest.mark.parametrize("backend", DOCX)
def test_the_whole_holds_together_and_is_the_same_every_time(backend: str) -> None:
    first = DOCX[backend](Manuscript.read(WHOLE), LOOK).docx
    assert list(problems(first)) == []
    assert DOCX[backend](Manuscript.read(WHOLE), LOOK).docx == first
    assert docx.Document(io.BytesIO(first)).paragraphs


def test_code_has_one_shade_whether_it_is_coloured_or_not() -> None:
    text = page(Manuscript.read("```python\nx = 1\n```\n\n```\ny\n```"), Look())[0]
    assert "pre { margin: 1rem 0; padding: .75rem 1rem; overflow-x: auto; background: var(--shade);" in text
    assert not re.search(r"\.code *\{[^}]*background", text)


def test_a_title_cannot_leave_its_style() -> None:
    text = page(Manuscript.read('---\ntitle: "</style>\\"; } body { color: red"\n---\n\nx'), Look())[0]
    assert r'@top-right { content: "\3c \2f style\3e \22 \3b  \7d  body \7b  color: red"; }' in text
    assert text.count("</style") == 1


def test_the_page_is_the_same_every_time() -> None:
    assert page(Manuscript.read(WHOLE), LOOK) == page(Manuscript.read(WHOLE), LOOK)


@pytest.mark.parametrize("backend", DOCX)
@pytest.mark.parametrize("text", [WHOLE, markdown(sections=120)], ids=["all features", "a hundred pages"])
def test_an_auditor_finds_nothing(text: str, backend: str, tmp_path: Path) -> None:
    (tmp_path / "made.docx").write_bytes(DOCX[backend](Manuscript.read(text), LOOK).docx)
    assert audit(tmp_path / "made.docx") == set()


def test_the_auditor_finds_something(tmp_path: Path) -> None:
    data = render(Manuscript.read("a\n\n| b |\n|---|\n| c |"), Look()).docx
    broken = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(broken, "w") as new:
        for name in old.namelist():
            new.writestr(
                name, old.read(name).replace(b"<w:tblGrid>", b"<w:tblNet>").replace(b"</w:tblGrid>", b"</w:tblNet>")
            )
    (tmp_path / "broken.docx").write_bytes(broken.getvalue())
    assert audit(tmp_path / "broken.docx")


def audit(path: Path) -> set[str]:
    return {error.description for error in OpenXmlValidator().validate(str(path)).errors}


@cache
def _programs() -> bool:
    return all(map(shutil.which, ("soffice", "pdftotext")))


@pytest.mark.skipif(not _programs(), reason="LibreOffice and pdftotext are not installed")
@pytest.mark.parametrize("backend", DOCX)
def test_libreoffice_shows_every_word(backend: str, tmp_path: Path) -> None:
    (tmp_path / "made.docx").write_bytes(DOCX[backend](Manuscript.read(WHOLE), LOOK).docx)
    profile = f"-env:UserInstallation=file://{tmp_path}/profile"
    convert = ["soffice", profile, "--headless", "--convert-to", "pdf", "--outdir", str(tmp_path)]
    subprocess.run([*convert, str(tmp_path / "made.docx")], check=True, capture_output=True, timeout=120)
    text = subprocess.run(["pdftotext", "-layout", str(tmp_path / "made.pdf"), "-"], check=True, capture_output=True)
    shown = " ".join(text.stdout.decode().split())
    for words in ("The title", "a b.mp4", "seven", "there", "said", "deeper", "def f(): return 'x'", "Told below",
                  "Meaning", "Extrativo: literal", "Página 2 de"):  # fmt: skip
        assert words in shown, words
