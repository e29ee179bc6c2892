"""The features of a document, each with the least Markdown that has it and how a finished file shows it."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass

import docx
from docx.shared import RGBColor
from lxml import etree, html  # type: ignore[import-untyped]

from stenobus_documents.images import checked
from stenobus_documents.word import Look

from .pictures import png

W = {
    "w": "http://schemas.openxmlformats.org/wordprocessingml/2006/main",
    "r": "http://schemas.openxmlformats.org/officeDocument/2006/relationships",
    "wp": "http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing",
}
PICTURE = "nats://b/x"
LOOK = Look(author="Ops", pictures={PICTURE: checked(png())})
FRONT = '---\ntitle: "The title"\nsource: "file:///a%20b.mp4"\nlanguage: "pt-BR"\nmethod: "extractive"\n---\n\n'


def company() -> bytes:
    """A template with a colour, a header and a text of its own."""
    document = docx.Document()
    document.styles["Heading 1"].font.color.rgb = RGBColor(0xC0, 0, 0x20)
    document.sections[0].header.paragraphs[0].text = "ACME Corporation"
    document.add_paragraph("How to use this template")
    made = io.BytesIO()
    document.save(made)
    return made.getvalue()


class File:
    """A DOCX, asked by XPath."""

    def __init__(self, data: bytes) -> None:
        with zipfile.ZipFile(io.BytesIO(data)) as package:
            self._trees = {
                name: etree.fromstring(package.read(name))
                for name in package.namelist()
                if name.endswith((".xml", ".rels"))
            }
            self.media = [name for name in package.namelist() if name.startswith("word/media/")]

    def find(self, path: str, part: str = "word/document.xml") -> list[str]:
        """Words or attributes that a path finds in the parts whose name begins so."""
        trees = [tree for name, tree in self._trees.items() if name.startswith(part)]
        found = [each for tree in trees for each in tree.xpath(path, namespaces=W)]
        return [each if isinstance(each, str) else words(each) for each in found]

    def text(self) -> str:
        """What a reader sees."""
        return "\n".join(self.find("//w:p"))

    def styled(self, *names: str) -> list[str]:
        """Texts of the paragraphs of styles, by the styles' names."""
        kinds = " or ".join(f"w:name/@w:val='{name}'" for name in names)
        styles = self.find(f"//w:style[{kinds}]/@w:styleId", "word/styles.xml")
        return [text for style in styles for text in self.find(f"//w:p[w:pPr/w:pStyle/@w:val='{style}']")]

    def start(self, text: str) -> tuple[int, str]:
        """First number and format of the list that an item is in."""
        [num], [level] = self.num(text), self.find(f"//w:p[contains(., '{text}')]/w:pPr/w:numPr/w:ilvl/@w:val")
        over = f"//w:num[@w:numId='{num}']/w:lvlOverride[@w:ilvl='{level}']//w:startOverride/@w:val"
        [first, *_] = [*self.find(over, _NUMBERING), *self._level(num, level, "start"), "1"]
        return int(first), self._level(num, level, "numFmt")[0]

    def sign(self, text: str) -> str:
        """What stands before an item, empty when it is in no list."""
        num = self.num(text)
        return "".join(self._level(num[0], "0", "lvlText")) if num else ""

    def num(self, text: str) -> list[str]:
        return self.find(f"//w:p[contains(., '{text}')]/w:pPr/w:numPr/w:numId/@w:val")

    def _level(self, num: str, level: str, tag: str) -> list[str]:
        [abstract] = self.find(f"//w:num[@w:numId='{num}']/w:abstractNumId/@w:val", _NUMBERING)
        return self.find(
            f"//w:abstractNum[@w:abstractNumId='{abstract}']/w:lvl[@w:ilvl='{level}']/w:{tag}/@w:val", _NUMBERING
        )


_NUMBERING = "word/numbering.xml"


def words(element: etree._Element) -> str:
    """What a reader sees of an element."""
    if element.tag.endswith(("}t", "}instrText")) or not len(element):
        return element.text or ""
    return "".join(element.xpath(".//w:t/text()", namespaces=W))


class Page:
    """An HTML page, asked by XPath."""

    def __init__(self, text: str) -> None:
        self.source = text
        self._tree = html.fromstring(text)

    def find(self, path: str) -> list[str]:
        return [each if isinstance(each, str) else each.text_content() for each in self._tree.xpath(path)]

    def text(self) -> str:
        """What a reader sees."""
        return "\n".join(self.find("//body"))


@dataclass(frozen=True)
class Feature:
    """One feature.

    Args:
        markdown: has it.
        file: whether a DOCX has it; ``page`` the same of an HTML page.
        template: the document is made with it.
    """

    markdown: str
    file: Callable[[File], bool]
    page: Callable[[Page], bool]
    template: bytes | None = None


def _run(mark: str, tag: str) -> tuple[Callable[[File], bool], Callable[[Page], bool]]:
    return lambda f: f.find(f"//w:r[w:rPr/w:{mark}]") == ["y"], lambda p: p.find(f"//{tag}") == ["y"]


FEATURES = {
    "headings": Feature(
        "# a\n\n## b\n\n###### c",
        lambda f: f.styled("heading 1") == ["a"] and f.styled("heading 6") == ["c"],
        lambda p: p.find("//h1") == ["a"] and p.find("//h6") == ["c"],
    ),
    "bold": Feature("x **y**", *_run("b", "strong")),
    "italic": Feature("x *y*", *_run("i", "em")),
    "strike": Feature("x ~~y~~", *_run("strike", "s")),
    "inline code": Feature(
        "x `y  z`",
        lambda f: "y  z" in f.find("//w:r[w:rPr/w:rStyle]"),
        lambda p: p.find("//p/code") == ["y  z"],
    ),
    "hard break": Feature(
        "a\\\nb",
        lambda f: len(f.find("//w:p[contains(., 'a')]//w:br")) == 1,
        lambda p: len(p.find("//p/br")) == 1,
    ),
    "list starts": Feature(
        "7. seven", lambda f: f.start("seven") == (7, "decimal"), lambda p: p.find("//ol/@start") == ["7"]
    ),
    "lists restart": Feature(
        "1. aa\n\nx\n\n1. bb",
        lambda f: f.num("aa") != f.num("bb") and f.start("aa") == f.start("bb") == (1, "decimal"),
        lambda p: [each.strip() for each in p.find("//ol[not(@start)]")] == ["aa", "bb"],
    ),
    "lists nest": Feature(
        "1. aa\n    - bb\n        1. cc\n",
        lambda f: f.find("//w:numPr/w:ilvl/@w:val") == ["0", "1", "2"] and f.start("bb")[1] == "bullet",
        lambda p: [each.strip() for each in p.find("//ol/li/ul/li/ol/li")] == ["cc"],
    ),
    "tasks": Feature(
        "- [x] aa\n- [ ] bb",
        lambda f: (
            "\u2610" in "".join([*f.find("//w:p[contains(., 'bb')]"), f.sign("bb")])
            and any(box in "".join([*f.find("//w:p[contains(., 'aa')]"), f.sign("aa")]) for box in "\u2611\u2612")
        ),
        lambda p: len(p.find("//input[@type='checkbox']")) == 2 and len(p.find("//input[@checked]")) == 1,
    ),
    "table": Feature(
        "| a | b |\n|---|---|\n| c | d |",
        lambda f: f.find("//w:tc") == ["a", "b", "c", "d"],
        lambda p: p.find("//th | //td") == ["a", "b", "c", "d"],
    ),
    "line in a cell": Feature(
        "| a |\n|---|\n| c<br>d |",
        lambda f: len(f.find("//w:tr[last()]//w:p | //w:tr[last()]//w:br")) == 2,
        lambda p: len(p.find("//td/br")) == 1,
    ),
    "alignment": Feature(
        "| a | b |\n|:-:|--:|\n| c | d |",
        lambda f: f.find("//w:tr[last()]//w:jc/@w:val") == ["center", "right"],
        lambda p: p.find("//td/@style") == ["text-align:center", "text-align:right"],
    ),
    "header row": Feature(
        "| a |\n|---|\n| b |",
        lambda f: f.find("//w:tr[.//w:tblHeader]") == ["a"],
        lambda p: p.find("//thead//th") == ["a"] and "thead { display: table-header-group; }" in p.source,
    ),
    "code": Feature(
        "```\na  b\nc\n```",
        lambda f: f.styled("Code Block", "Source Code") == ["a  bc"],
        lambda p: p.find("//pre/code") == ["a  b\nc\n"],
    ),
    "code colour": Feature(
        "```python\ndef f(): return 'x'\n```",
        lambda f: bool(f.find("//w:p[contains(., 'def')]/w:r[starts-with(., 'def')]/w:rPr/*")),
        lambda p: p.find("//pre/code/span[.='def']/@class") == ["k"] and ".code .k {" in p.source,
    ),
    "quote": Feature(
        "> said",
        lambda f: f.styled("Quote", "Block Text") == ["said"],
        lambda p: p.find("//blockquote/p") == ["said"],
    ),
    "quote depth": Feature(
        "> said\n>\n> > deeper",
        lambda f: bool(f.find("//w:p[.='deeper']/w:pPr/w:ind/@w:left")),
        lambda p: p.find("//blockquote/blockquote/p") == ["deeper"],
    ),
    "link": Feature(
        "[there](https://x.org/?a=1&b=2)",
        lambda f: (
            f.find("//w:hyperlink[@r:id]") == ["there"]
            and "https://x.org/?a=1&b=2" in f.find("//@Target", "word/_rels/document.xml.rels")
        ),
        lambda p: p.find("//a[.='there']/@href") == ["https://x.org/?a=1&b=2"],
    ),
    "link inside": Feature(
        "## A place\n\n[to it](#a-place)",
        lambda f: bool({*f.find("//w:hyperlink/@w:anchor")} & {*f.find("//w:bookmarkStart/@w:name")}),
        lambda p: p.find("//a/@href") == ["#a-place"] and p.find("//h2/@id") == ["a-place"],
    ),
    "image": Feature(
        f"![what it shows]({PICTURE})\n",
        lambda f: len(f.media) == 1 and "what it shows" in f.find("//wp:docPr/@descr"),
        lambda p: (
            p.find("//img/@alt") == ["what it shows"] and p.find("//img/@src")[0].startswith("data:image/png;base64,")
        ),
    ),
    "caption": Feature(
        f'![alt]({PICTURE} "Told below")',
        lambda f: f.styled("caption", "Image Caption") == ["Told below"],
        lambda p: p.find("//*[@class='figure']/span") == ["Told below"],
    ),
    "footnote": Feature(
        "a[^1] b^[*two*]\n\n[^1]: one",
        lambda f: (
            [text.strip() for text in f.find("//w:footnote[not(@w:type)]", "word/footnotes.xml")] == ["one", "two"]
        ),
        lambda p: (
            [text.strip(" \n↩︎") for text in p.find("//li[@class='footnote-item']")] == ["one", "two"]
            and p.find("//sup/a/@href") == ["#fn1", "#fn2"]
            and p.find("//li/@id") == ["fn1", "fn2"]
        ),
    ),
    "definitions": Feature(
        "Term\n: Meaning",
        lambda f: f.styled("Definition Term") == ["Term"] and f.styled("Definition") == ["Meaning"],
        lambda p: p.find("//main//dt") == ["Term"] and [each.strip() for each in p.find("//main//dd")] == ["Meaning"],
    ),
    "rule": Feature(
        "a\n\n---\n\nb",
        lambda f: f.styled("Rule") == [""] or bool(f.find("//w:pict | //w:p[w:pPr/w:pBdr]")),
        lambda p: len(p.find("//main/hr")) == 1,
    ),
    "html as text": Feature(
        "a <b>c</b>\n\n<script>x</script>",
        lambda f: "a <b>c</b>" in f.find("//w:p") and "<script>x</script>" in f.text(),
        lambda p: "a <b>c</b>" in p.text() and "<script>x</script>" in p.text() and not p.find("//script | //b"),
    ),
    "cover": Feature(
        FRONT + "# The title\n\nx",
        lambda f: f.styled("Title") == ["The title"] and "a b.mp4" in f.text() and f.styled("heading 1") == [],
        lambda p: p.find("//header/h1") == ["The title"] == p.find("//h1") and p.find("//header//a") == ["a b.mp4"],
    ),
    "contents": Feature(
        FRONT + "## a\n\n## b\n\n### c",
        lambda f: f.styled("toc 1") == ["a", "b"] and f.styled("toc 2") == ["c"],
        lambda p: p.find("//nav//a/@href") == ["#a", "#b", "#c"],
    ),
    "running title": Feature(
        FRONT + "x",
        lambda f: "The title" in f.find("//w:p", "word/header"),
        lambda p: bool(re.search(r'@top-right \{ content: "The title"; \}', p.source)),
    ),
    "footer": Feature(
        FRONT + "x",
        lambda f: any(text.startswith("Extrativo: literal") for text in f.find("//w:p", "word/footer")),
        lambda p: p.find("//footer")[0].startswith("Extrativo: literal"),
    ),
    "page numbers": Feature(
        "x",
        lambda f: {" PAGE ", " NUMPAGES "} <= {*f.find("//w:instrText", "word/footer")},
        lambda p: bool(re.search(r"@bottom-right \{[^}]*counter\(page\)[^}]*counter\(pages\)", p.source)),
    ),
    "properties": Feature(
        FRONT + "x",
        lambda f: {"The title", "Ops", "pt-BR"} <= {*f.find("//text()", "docProps/core.xml")},
        lambda p: (
            [*p.find("//title"), *p.find("//meta[@name='author']/@content"), *p.find("/html/@lang")]
            == ["The title", "Ops", "pt-BR"]
        ),
    ),
    "template": Feature(
        FRONT + "## a",
        lambda f: (
            f.find("//w:style[w:name/@w:val='heading 1']//w:color/@w:val", "word/styles.xml") == ["C00020"]
            and "ACME Corporation" in f.find("//w:p", "word/header")
            and "How to use" not in f.text()
        ),
        lambda p: "c00020" in p.source.lower(),
        company(),
    ),
    "control characters": Feature("a\x00b\x0bc\ufffe", lambda f: "abc" in f.find("//w:p"), lambda p: "abc" in p.text()),
}
