"""The DOCX, reopened and looked at in its XML."""

from __future__ import annotations

import io
import shutil
import subprocess
import time
import zipfile
from pathlib import Path
from typing import Any

import docx
import pytest
from docx.document import Document
from docx.oxml.ns import qn
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree  # type: ignore[import-untyped]
from pygments.styles import get_style_by_name

from stenobus_documents.manuscript import Manuscript
from stenobus_documents.word import Look, Rendered
from stenobus_documents.word import render as render_manuscript
from stenobus_documents.word.code import STYLE
from stenobus_documents.word.styles import SHADE

FRONT = (
    '---\ntitle: "A title"\nsource: "file:///a%20b.mp4"\nmethod: "extractive"\nlanguage: "pt-BR"\n---\n\n# A title\n\n'
)


def render(markdown: str, **look: Any) -> Rendered:
    return render_manuscript(Manuscript.read(markdown), Look(**look))


def opened(markdown: str) -> Document:
    return docx.Document(io.BytesIO(render(markdown).docx))


def texts(document: Document) -> list[str]:
    return [paragraph.text for paragraph in document.paragraphs]


def numbers(document: Document) -> list[tuple[str, int, int]]:
    """Text, numId and level of every list item."""
    found = []
    for paragraph in document.paragraphs:
        properties = paragraph._p.pPr.numPr if paragraph._p.pPr is not None else None
        if properties is not None:
            found.append((paragraph.text, properties.numId.val, properties.ilvl.val))
    return found


def overrides(document: Document) -> dict[int, list[tuple[int, int]]]:
    root = document.part.numbering_part.element
    return {
        num.numId: [
            (override.ilvl, int(override.find(qn("w:startOverride")).get(qn("w:val"))))
            for override in num.findall(qn("w:lvlOverride"))
        ]
        for num in root.findall(qn("w:num"))
    }


def test_headings_and_the_cover() -> None:
    document = opened(FRONT + "## One\n\ntext\n\n### Deep\n\n## Two\n")
    styles = [(paragraph.text, paragraph.style.name) for paragraph in document.paragraphs if paragraph.style]
    assert ("A title", "Title") in styles
    assert ("One", "Heading 1") in styles and ("Deep", "Heading 2") in styles
    assert ("One", "toc 1") in styles and ("Deep", "toc 2") in styles
    assert sum(text == "A title" for text in texts(document)) == 1
    assert "Gravação\ta b.mp4" in texts(document)
    section = document.sections[0]
    assert section.different_first_page_header_footer
    assert section.header.paragraphs[0].text == "A title"
    fields = [code.text for code in section.footer._element.iter(qn("w:instrText"))]
    assert fields == [" PAGE ", " NUMPAGES "]


def test_without_front_matter_there_is_no_cover() -> None:
    document = opened("# Title\n\ntext")
    assert not document.sections[0].different_first_page_header_footer
    assert [paragraph.style.name for paragraph in document.paragraphs if paragraph.style] == ["Heading 1", "Normal"]


def test_every_ordered_list_begins_anew() -> None:
    document = opened("1. a\n2. b\n\ntext\n\n1. c\n\ntext\n\n7. d\n   1. e\n   2. f\n8. g\n   1. h\n")
    found = {text: (num, level) for text, num, level in numbers(document)}
    start = overrides(document)
    assert found["a"] == found["b"]
    assert len({found[text][0] for text in "acdeh"}) == 5, "each list is a w:num of its own"
    assert found["d"] == found["g"]
    assert start[found["c"][0]] == [(0, 1)]
    assert start[found["d"][0]] == [(0, 7)]
    assert found["e"][1] == 1 and start[found["h"][0]] == [(1, 1)]


def test_abstract_numbering_comes_before_the_lists_that_use_it() -> None:
    root = opened("- a\n\n1. b").part.numbering_part.element
    kinds = [etree.QName(child).localname for child in root]
    assert kinds == ["abstractNum", "abstractNum", "num", "num"]


def test_bullets_nest_and_tasks_have_boxes() -> None:
    document = opened("- a\n  - b\n    - c\n- [ ] open\n- [x] done\n")
    assert [(text, level) for text, _, level in numbers(document)] == [("a", 0), ("b", 1), ("c", 2)]
    assert "☐\topen" in texts(document) and "☑\tdone" in texts(document)


def test_what_follows_in_a_list_item_is_indented() -> None:
    document = opened("1. first\n\n   second\n\n   ```sh\n   ls\n   ```\n")
    second = next(paragraph for paragraph in document.paragraphs if paragraph.text == "second")
    code = next(paragraph for paragraph in document.paragraphs if paragraph.text == "ls")
    assert second.paragraph_format.left_indent and code.paragraph_format.left_indent
    assert code.style and code.style.name == "Code Block"


TABLE = "| a | b | c |\n|:--|:-:|--:|\n| 1<br>2 | `x` | 3 |\n| **b** |  | [l](https://x.org) |\n"


def test_tables_align_and_repeat_their_header() -> None:
    [table] = opened(TABLE).tables
    header, first, second = table.rows
    assert header._tr.trPr.find(qn("w:tblHeader")) is not None
    assert first._tr.trPr.find(qn("w:tblHeader")) is None
    assert [str(cell.paragraphs[0].alignment) for cell in first.cells] == ["None", "CENTER (1)", "RIGHT (2)"]
    assert [cell.text for cell in first.cells] == ["1\n2", "x", "3"]
    assert second.cells[0].paragraphs[0].runs[0].bold
    assert table.style and table.style.name == "Document Table"


def test_every_cell_ends_with_a_paragraph_and_no_table_ends_the_document() -> None:
    document = opened(f"{TABLE}\n{TABLE}")
    for cell in document.element.iter(qn("w:tc")):
        assert cell[-1].tag == qn("w:p")
    body = [etree.QName(child).localname for child in document.element.body]
    assert body == ["tbl", "p", "tbl", "p", "sectPr"]


def test_columns_fill_their_grid() -> None:
    document = opened("| a | b |\n|---|---|\n| " + "long words " * 40 + " | x |\n")
    [table] = document.element.iter(qn("w:tbl"))
    grid = [int(column.get(qn("w:w"))) for column in table.iter(qn("w:gridCol"))]
    assert sum(grid) == 9638
    assert grid[1] < grid[0]


def test_a_column_has_room_for_the_longest_word_of_its_header() -> None:
    document = opened("| Identifier | b |\n|---|---|\n| x | " + "long words " * 40 + "|\n")
    [first, _] = [int(column.get(qn("w:w"))) for column in document.element.iter(qn("w:gridCol"))]
    assert first >= 1500  # ten bold characters of 9.5 points, half an em and more each, and the cell's margins


def test_links_resolve() -> None:
    document = opened(
        "# Här är det!\n\n[web](https://x.org/a?b=1&c=2) [here](#här-är-det) [gone](#nowhere) <me@x.org>\n"
    )
    links = list(document.element.iter(qn("w:hyperlink")))
    targets = [
        document.part.rels[link.get(qn("r:id"))].target_ref if link.get(qn("r:id")) else link.get(qn("w:anchor"))
        for link in links
    ]
    assert targets == ["https://x.org/a?b=1&c=2", "_heading_0", "mailto:me@x.org"]
    bookmarks = [mark.get(qn("w:name")) for mark in document.element.iter(qn("w:bookmarkStart"))]
    assert bookmarks == ["_heading_0"]
    assert "gone" in texts(document)[1]


@pytest.mark.parametrize("target", ["javascript:alert(1)", "data:text/html,x", "vbscript:x", "relative.md", "//x"])
def test_addresses_that_are_none_are_only_text(target: str) -> None:
    document = opened(f"[label]({target})")
    assert list(document.element.iter(qn("w:hyperlink"))) == []
    assert "label" in texts(document)[0]


def test_footnotes_are_real() -> None:
    data = render("One[^a], again[^a], inline^[own *words* with [link](https://x.org)].\n\n[^a]: The note.\n").docx
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        notes = etree.fromstring(package.read("word/footnotes.xml"))
        body = etree.fromstring(package.read("word/document.xml"))
        relations = package.read("word/_rels/footnotes.xml.rels").decode()
    ids = [note.get(qn("w:id")) for note in notes]
    references = [reference.get(qn("w:id")) for reference in body.iter(qn("w:footnoteReference"))]
    assert references == ["1", "2", "3"] == ids[2:]
    assert ["".join(note.itertext()).strip() for note in notes][2:] == ["The note.", "The note.", "own words with link"]
    assert "https://x.org" in relations


def test_code_is_monospaced_coloured_and_whole() -> None:
    code = "def f():\n\treturn 'x'  # why\n"
    document = opened(f"```python\n{code}```\n\n```nosuchlanguage\na  b\n```\n\n    indented\n")
    blocks = [
        paragraph for paragraph in document.paragraphs if paragraph.style and paragraph.style.name == "Code Block"
    ]
    assert [block.text for block in blocks] == [code.rstrip(), "a  b", "indented"]
    assert {run.font.color.rgb for run in blocks[0].runs if run.font.color and run.font.color.rgb}


@pytest.mark.parametrize(("lines", "whole"), [(20, True), (21, False)])
def test_short_code_is_not_torn_apart(lines: int, whole: bool) -> None:
    [block] = [each for each in opened("```\n" + "x\n" * lines + "```").paragraphs if each.text]
    assert bool(block.paragraph_format.keep_together) == whole


@pytest.mark.parametrize(("rows", "kept"), [(8, 9), (9, 0)])
def test_a_small_table_stays_on_one_page(rows: int, kept: int) -> None:
    [table] = opened("| a |\n|---|\n" + "| b |\n" * rows).tables
    paragraphs = [paragraph for row in table.rows for cell in row.cells for paragraph in cell.paragraphs]
    assert sum(bool(each.paragraph_format.keep_with_next) for each in paragraphs) == kept - bool(kept)


def luminance(color: str) -> float:
    """Of a colour as RRGGBB, as WCAG 2 defines it."""
    red, green, blue = (
        part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4
        for part in (b / 255 for b in bytes.fromhex(color))
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_every_colour_of_code_can_be_read_on_its_shade() -> None:
    colors = {look["color"] for _, look in get_style_by_name(STYLE) if look["color"]}
    assert len(colors) > 5
    assert min((luminance(SHADE) + 0.05) / (luminance(color) + 0.05) for color in colors) >= 4.5


def test_long_contents_keep_to_the_chapters() -> None:
    sections = "".join(f"## s{n}\n\n### t{n}\n\n" for n in range(41))
    styles = [each.style.name for each in opened(FRONT + sections).paragraphs if each.style]
    assert (styles.count("toc 1"), styles.count("toc 2")) == (41, 0)
    shorter = sections.replace("### t39\n\n", "").replace("### t40\n\n", "")
    styles = [each.style.name for each in opened(FRONT + shorter).paragraphs if each.style]
    assert (styles.count("toc 1"), styles.count("toc 2")) == (41, 39)


def test_word_is_asked_for_the_pages_of_the_contents() -> None:
    many, few = (opened(FRONT + "## s\n\n" * count).settings.element for count in (3, 2))
    assert [each.get(qn("w:val")) for each in many.findall(qn("w:updateFields"))] == ["true"]
    assert few.find(qn("w:updateFields")) is None


def test_quotes_rules_and_definitions() -> None:
    document = opened("> quoted\n>\n> > deeper\n\n---\n\nTerm\n: Meaning\n")
    styles = {paragraph.text: paragraph.style.name for paragraph in document.paragraphs if paragraph.style}
    assert styles["quoted"] == styles["deeper"] == "Quote"
    assert styles["Term"] == "Definition Term" and styles["Meaning"] == "Definition"
    assert "Rule" in styles.values()


def test_html_is_text_and_images_are_named_as_lost() -> None:
    rendered = render("<script>alert(1)</script>\n\n![a picture](file:///etc/passwd) <b>x</b>\n")
    document = docx.Document(io.BytesIO(rendered.docx))
    assert texts(document) == ["<script>alert(1)</script>", "[image: a picture] <b>x</b>"]
    assert [(loss.feature, loss.count, loss.output) for loss in rendered.not_carried] == [("image", 1, "docx")]


def test_control_characters_do_not_break_the_file() -> None:
    assert texts(opened("a\x00b\x0bc\ud800d\ufffe")) == ["abcd"]


def test_a_front_matter_may_hold_anything() -> None:
    rendered = render(
        '---\ntitle: "a\\u0000b\\u000bc"\nsource: "file:///a b/\\u0001.mp4"\nlanguage: "\\u0002"\n---\n\ntext'
    )
    document = docx.Document(io.BytesIO(rendered.docx))
    assert document.core_properties.title == "ab c"
    [link] = document.element.iter(qn("w:hyperlink"))
    assert document.part.rels[link.get(qn("r:id"))].target_ref == "file:///a%20b/.mp4"


def test_properties_and_language() -> None:
    rendered = render(FRONT + "text", author="Ops")
    document = docx.Document(io.BytesIO(rendered.docx))
    properties = document.core_properties
    assert (properties.title, properties.author, properties.language) == ("A title", "Ops", "pt-BR")
    assert properties.created is None and properties.modified is None


def test_paper() -> None:
    letter = docx.Document(io.BytesIO(render("x", page="Letter").docx)).sections[0]
    assert letter.page_width and round(letter.page_width.inches, 1) == 8.5


def test_the_same_markdown_is_the_same_file_at_any_time(monkeypatch: pytest.MonkeyPatch) -> None:
    markdown = FRONT + TABLE + "\n1. a[^1]\n\n[x](https://x.org)\n\n```python\nx = 1\n```\n\n[^1]: n\n"
    first = render(markdown).docx
    monkeypatch.setattr(time, "time", lambda: 2_000_000_000.0)
    monkeypatch.setattr(time, "localtime", lambda *_: time.gmtime(2_000_000_000))
    assert render(markdown).docx == first
    with zipfile.ZipFile(io.BytesIO(first)) as package:
        assert {entry.date_time for entry in package.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert package.namelist()[0] == "[Content_Types].xml"


MARKUP = st.lists(
    st.sampled_from(
        [
            "# ",
            "## ",
            "- ",
            "1. ",
            "9. ",
            "> ",
            "    ",
            "\n",
            "\n\n",
            "| a | b |\n|---|---|\n",
            "| c |",
            "```",
            "`",
            "*",
            "**",
            "~~",
            "[x](",
            "https://x.org)",
            "[^1]",
            "\n[^1]: n",
            "^[i]",
            "- [ ] ",
            "- [x] ",
            "\nT\n: D",
            "---",
            "<b>",
            "![i](u)",
            "text",
            " ",
            "\\",
            "&amp;",
            "\t",
            "#anchor)",
            "\x01",
            "éß文",
        ]
    ),
    max_size=30,
).map("".join)


@settings(max_examples=200, deadline=None)
@given(MARKUP, st.booleans())
def test_any_markdown_is_a_file_that_holds_together(markdown: str, cover: bool) -> None:
    document = opened((FRONT if cover else "") + markdown)
    nums = set(overrides(document))
    assert {num for _, num, _ in numbers(document)} <= nums
    for link in document.element.iter(qn("w:hyperlink")):
        assert link.get(qn("w:anchor")) or link.get(qn("r:id")) in document.part.rels
    for cell in document.element.iter(qn("w:tc")):
        assert cell[-1].tag == qn("w:p")
    known = {style.style_id for style in document.styles}
    used = {
        mark.get(qn("w:val"))
        for tag in ("w:pStyle", "w:rStyle", "w:tblStyle")
        for mark in document.element.iter(qn(tag))
    }
    assert used <= known
    marks = [mark.get(qn("w:id")) for mark in document.element.iter(qn("w:bookmarkStart"))]
    assert len(marks) == len(set(marks))


@pytest.mark.skipif(shutil.which("soffice") is None, reason="LibreOffice Writer is not installed")
def test_libreoffice_opens_it(tmp_path: Path) -> None:
    (tmp_path / "x.docx").write_bytes(
        render(FRONT + TABLE + "\n1. a[^1]\n\n```python\nx = 1\n```\n\n[^1]: note\n").docx
    )
    profile = f"-env:UserInstallation=file://{tmp_path}/profile"
    command = [
        "soffice",
        profile,
        "--headless",
        "--convert-to",
        "pdf",
        "--outdir",
        str(tmp_path),
        str(tmp_path / "x.docx"),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    assert (tmp_path / "x.pdf").read_bytes().startswith(b"%PDF")
