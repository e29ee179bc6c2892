"""The other backend: pandoc writes the DOCX, in the same styles. It comes with ``stenobus-documents[pandoc]``."""

from __future__ import annotations

import io
import json
import subprocess
import tempfile
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import docx
from docx.document import Document
from docx.oxml.ns import qn

from ..images import Image
from ..manuscript import Manuscript
from . import ast, contents, cover, styles
from .look import Look, Rendered
from .render import begun, finished
from .xml import Element, element, paragraph, parsed

#: Seconds a conversion may take.
_PATIENCE: Final = 180
#: What pandoc calls its styles, and which of ours each follows.
_FOLLOW: Final = {
    "Body Text": "Normal", "First Paragraph": "Normal", "Compact": "ListParagraph", "Block Text": "Quote",
    "Source Code": "CodeBlock", "Verbatim Char": "InlineCode", "Captioned Figure": "Figure", "Image Caption": "Caption",
    "Footnote Block Text": "FootnoteText",
}  # fmt: skip
_ID: Final = qn("w:id")
_PAGE: Final = '<w:p><w:pPr><w:pStyle w:val="{}"/></w:pPr><w:r><w:br w:type="page"/></w:r></w:p>'


class NoPandoc(RuntimeError):
    """Pandoc is not there, or failed; the message says what to do."""


def program() -> str:
    """Path of the pandoc that came with the extra.

    Raises:
        NoPandoc: it is not installed.
    """
    if find_spec("pypandoc") is None:
        raise NoPandoc("pandoc is not installed; `pip install stenobus-documents[pandoc]` brings it.")
    import pypandoc

    return str(pypandoc.get_pandoc_path())


@cache
def version() -> str:
    """Such as ``pandoc 3.9``. Raises NoPandoc."""
    return _run("--version").decode().partition("\n")[0]


def render(manuscript: Manuscript, look: Look) -> Rendered:
    """Render a document as :func:`stenobus_documents.word.render` does.

    pandoc gets our tree, never the Markdown, and reads no file but the pictures that it is given.

    Raises:
        TemplateError: the template cannot be used.
        InvalidDocument: what was made breaks a rule of the format.
        NoPandoc: pandoc is not installed, failed or took too long.
    """
    reference, names, missing = begun(manuscript, look)
    _follow(reference, names)
    with tempfile.TemporaryDirectory(prefix="stenobus-pandoc-") as name:
        folder = Path(name)
        reference.save(str(folder / "reference.docx"))
        files = _files(folder, look)
        tree = ast.Tree(manuscript, files, look.pictures, _languages(), names, styles.room(reference)[0])
        end = ast.raw(paragraph(names["Spacer"]))  # a document cannot end with a table
        blocks = [*_front(manuscript, names), *tree.blocks(manuscript.tree.children), end]
        source = {"pandoc-api-version": ast.VERSION, "meta": {}, "blocks": blocks}
        made = _run(
            "--from=json", "--to=docx", "--reference-doc=reference.docx", "--output=-",
            stdin=json.dumps(source).encode(), folder=folder,
        )  # fmt: skip
    document = docx.Document(io.BytesIO(made))
    _mend(document, names)
    return finished(manuscript, look, document, names, tree.lost, missing)


def _front(manuscript: Manuscript, names: Mapping[str, str]) -> list[ast.Node]:
    facts = manuscript.facts
    if "title" not in facts:
        return []
    made = [ast.styled("Title", [ast.text(facts["title"])])]
    for name, value, target in cover.told(facts):
        content = [ast.text(name, "Fact Name"), {"t": "RawInline", "c": ["openxml", "<w:r><w:tab/></w:r>"]}]
        made.append(ast.styled("Cover Fact", [*content, ast.text(value, target=target)]))
    made.append(ast.raw("".join(contents.contents(names, facts, manuscript.headings))))
    return [*made, ast.raw(_PAGE.format(names["Spacer"]))]


def _files(folder: Path, look: Look) -> dict[str, str]:
    """The pictures as files, named by number: pandoc sees no foreign name."""
    files = {}
    for number, (address, picture) in enumerate(look.pictures.items()):
        if isinstance(picture, Image):
            files[address] = f"{number}.{picture.content_type.partition('/')[2]}"
            (folder / files[address]).write_bytes(picture.data)
    return files


def _follow(reference: Document, names: Mapping[str, str]) -> None:
    """Give pandoc's styles the look of ours."""
    kinds = {style.id: style.kind for style in styles.STYLES}
    root = reference.styles.element
    known = {style.find(qn("w:name")).get(qn("w:val")).lower(): style for style in root.findall(qn("w:style"))}
    for name, ours in _FOLLOW.items():
        made = parsed("w:style", f'<w:name w:val="{name}"/><w:basedOn w:val="{names[ours]}"/>')
        made.set(qn("w:type"), kinds[ours])
        made.set(qn("w:customStyle"), "1")
        made.set(qn("w:styleId"), name.replace(" ", ""))
        old = known.get(name.lower())
        if old is None:
            root.append(made)
        else:
            made.set(qn("w:styleId"), old.get(qn("w:styleId")))
            root.replace(old, made)


def _mend(document: Document, names: Mapping[str, str]) -> None:
    """What pandoc does otherwise: bookmarks before paragraphs, their names without ``_``, tables of its own style."""
    for mark in document.element.body.iter(qn("w:bookmarkStart"), qn("w:hyperlink")):
        attribute = qn("w:name") if mark.tag == qn("w:bookmarkStart") else qn("w:anchor")
        if (name := mark.get(attribute, "")).startswith("heading_"):
            mark.set(attribute, f"_{name}")
    for mark in document.element.body.findall(qn("w:bookmarkStart")):
        _into_paragraph(mark)
    for table in document.element.body.iter(qn("w:tbl")):
        table.tblPr.style = names["DocumentTable"]
        for row in table.iter(qn("w:tr")):
            properties = row.get_or_add_trPr()
            if properties.find(qn("w:cantSplit")) is None:
                properties.insert(0, element("w:cantSplit"))
            head = properties.find(qn("w:tblHeader")) is not None
            for inside in row.iter(qn("w:p")):
                inside.style = names["TableHead" if head else "TableText"]


def _into_paragraph(mark: Element) -> None:
    """Let a bookmark enclose the text of the heading behind it: LibreOffice drops it where a table is before it."""
    heading = next(mark.itersiblings(qn("w:p")), None)
    end = next(
        (end for end in mark.itersiblings() if end.tag == qn("w:bookmarkEnd") and end.get(_ID) == mark.get(_ID)), None
    )
    if heading is not None and end is not None:
        heading.insert(int(heading.pPr is not None), mark)
        heading.append(end)


def _run(*arguments: str, stdin: bytes = b"", folder: Path | None = None) -> bytes:
    try:
        done = subprocess.run(
            [program(), *arguments], input=stdin, capture_output=True, timeout=_PATIENCE, cwd=folder, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise NoPandoc(f"pandoc took more than {_PATIENCE} s.") from error
    if done.returncode != 0:
        said = " ".join(done.stderr.decode(errors="replace").split())[-300:]
        raise NoPandoc(f"pandoc failed ({said or done.returncode}).")
    return done.stdout


@cache
def _languages() -> set[str]:
    return set(_run("--list-highlight-languages").decode().split())
