"""The look: every style the renderer names, defined in one place."""

from __future__ import annotations

from typing import Final

from docx.document import Document
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls, qn

from .xml import element

BODY_FONT: Final = "Calibri"
CODE_FONT: Final = "Consolas"
INK: Final = "1F2937"
ACCENT: Final = "1F4E79"
GREY: Final = "6B7280"
RULE: Final = "C9D3DF"
SHADE: Final = "F3F6FA"

_SHADED = f'<w:shd w:val="clear" w:color="auto" w:fill="{SHADE}"/>'


def _fonts(name: str) -> str:
    return "<w:rFonts " + " ".join(f'w:{script}="{name}"' for script in ("ascii", "hAnsi", "eastAsia", "cs")) + "/>"


_TEXT = _fonts(BODY_FONT)
_MONO = _fonts(CODE_FONT)


def _style(
    kind: str, style: str, name: str, based_on: str | None, body: str, *, next_style: str = "", default: bool = False
) -> str:
    links = f'<w:basedOn w:val="{based_on}"/>' if based_on else ""
    links += f'<w:next w:val="{next_style}"/>' if next_style else ""
    first = 'w:default="1" ' if default else ""
    head = f'<w:style w:type="{kind}" {first}w:styleId="{style}"><w:name w:val="{name}"/>'
    return f"{head}{links}<w:qFormat/>{body}</w:style>"


def _paragraph(
    style: str, name: str, properties: str, run: str = "", based_on: str = "Normal", following: str = ""
) -> str:
    body = (f"<w:pPr>{properties}</w:pPr>" if properties else "") + (f"<w:rPr>{run}</w:rPr>" if run else "")
    return _style("paragraph", style, name, based_on, body, next_style=following)


def _heading(level: int, size: int, before: int, color: str) -> str:
    return _paragraph(
        f"Heading{level}",
        f"heading {level}",
        f'<w:keepNext/><w:keepLines/><w:spacing w:before="{before}" w:after="{80 if level > 1 else 120}" w:line="240"'
        f' w:lineRule="auto"/><w:outlineLvl w:val="{level - 1}"/>',
        f'{_TEXT}<w:b/><w:color w:val="{color}"/><w:sz w:val="{size}"/><w:szCs w:val="{size}"/>',
        following="Normal",
    )


def _character(style: str, name: str, run: str) -> str:
    return _style("character", style, name, "DefaultParagraphFont", f"<w:rPr>{run}</w:rPr>")


def _border(side: str, color: str, size: int = 4, space: int = 0) -> str:
    return f'<w:{side} w:val="single" w:sz="{size}" w:space="{space}" w:color="{color}"/>'


_TABLE = (
    '<w:tblPr><w:tblStyleRowBandSize w:val="1"/><w:tblBorders>'
    + "".join(_border(side, RULE) for side in ("top", "left", "bottom", "right", "insideH", "insideV"))
    + '</w:tblBorders><w:tblCellMar><w:top w:w="50" w:type="dxa"/><w:left w:w="100" w:type="dxa"/>'
    '<w:bottom w:w="50" w:type="dxa"/><w:right w:w="100" w:type="dxa"/></w:tblCellMar></w:tblPr>'
    '<w:tblStylePr w:type="firstRow"><w:rPr><w:b/><w:color w:val="FFFFFF"/></w:rPr>'
    f'<w:tcPr><w:shd w:val="clear" w:color="auto" w:fill="{ACCENT}"/></w:tcPr></w:tblStylePr>'
    f'<w:tblStylePr w:type="band2Horz"><w:tcPr>{_SHADED}</w:tcPr></w:tblStylePr>'
)

#: Style ids by what they are for. A document template has to have all of them.
STYLES: Final = (
    _style(
        "paragraph",
        "Normal",
        "Normal",
        None,
        '<w:pPr><w:spacing w:after="120" w:line="269" w:lineRule="auto"/></w:pPr>'
        f'<w:rPr>{_TEXT}<w:color w:val="{INK}"/><w:sz w:val="21"/><w:szCs w:val="21"/></w:rPr>',
        default=True,
    ),
    _heading(1, 32, 360, ACCENT),
    _heading(2, 26, 280, ACCENT),
    _heading(3, 23, 220, INK),
    _heading(4, 21, 180, INK),
    _heading(5, 21, 160, GREY),
    _heading(6, 20, 160, GREY),
    _paragraph(
        "Title",
        "Title",
        f'<w:keepNext/><w:pBdr>{_border("bottom", ACCENT, 18, 10)}</w:pBdr>'
        '<w:spacing w:before="1800" w:after="280" w:line="228" w:lineRule="auto"/>',
        f'{_TEXT}<w:b/><w:color w:val="{ACCENT}"/><w:sz w:val="56"/><w:szCs w:val="56"/>',
    ),
    _paragraph("CoverFact", "Cover Fact", '<w:tabs><w:tab w:val="left" w:pos="1701"/></w:tabs><w:spacing w:after="40"/>'
               '<w:ind w:left="1701" w:hanging="1701"/>'),
    _paragraph("ContentsHeading", "Contents Heading", '<w:keepNext/><w:spacing w:before="560" w:after="120"/>',
               f'<w:b/><w:color w:val="{ACCENT}"/><w:sz w:val="26"/><w:szCs w:val="26"/>'),
    _paragraph("TOC1", "toc 1", '<w:spacing w:after="40"/>'),
    _paragraph("TOC2", "toc 2", '<w:spacing w:after="20"/><w:ind w:left="340"/>', f'<w:color w:val="{GREY}"/>'),
    _paragraph("ListParagraph", "List Paragraph", '<w:spacing w:after="100"/><w:contextualSpacing/>'),
    _paragraph(
        "Quote",
        "Quote",
        f"<w:pBdr>{_border('left', ACCENT, 24, 10)}</w:pBdr>"
        f'{_SHADED}<w:spacing w:before="60" w:after="120"/><w:ind w:left="284" w:right="170"/>',
        f'<w:color w:val="{INK}"/>',
    ),
    _paragraph(
        "CodeBlock",
        "Code Block",
        "<w:pBdr>" + "".join(_border(side, RULE, 4, 5) for side in ("top", "left", "bottom", "right")) + "</w:pBdr>"
        f'{_SHADED}<w:spacing w:before="120" w:after="180" w:line="245" w:lineRule="auto"/>'
        '<w:ind w:left="113" w:right="113"/>',
        f'{_MONO}<w:noProof/><w:sz w:val="18"/><w:szCs w:val="18"/>',
    ),
    _paragraph("TableText", "Table Text", '<w:spacing w:after="50" w:line="252" w:lineRule="auto"/>',
               '<w:sz w:val="19"/><w:szCs w:val="19"/>'),
    _paragraph("TableHead", "Table Head", '<w:keepNext/>', '<w:b/><w:color w:val="FFFFFF"/>', based_on="TableText"),
    _paragraph("Spacer", "Spacer", '<w:spacing w:before="0" w:after="0" w:line="160" w:lineRule="exact"/>',
               '<w:sz w:val="8"/>'),
    _paragraph("DefinitionTerm", "Definition Term", '<w:keepNext/><w:spacing w:after="0"/>', "<w:b/>"),
    _paragraph("Definition", "Definition", '<w:ind w:left="454"/>'),
    _paragraph("Rule", "Rule",
               f'<w:pBdr>{_border("bottom", RULE, 6, 1)}</w:pBdr><w:spacing w:before="120" w:after="240"/>'),
    _paragraph("FootnoteText", "footnote text", '<w:spacing w:after="0" w:line="240" w:lineRule="auto"/>',
               '<w:sz w:val="18"/><w:szCs w:val="18"/>'),
    _paragraph("Header", "header",
               f'<w:pBdr>{_border("bottom", RULE, 4, 4)}</w:pBdr><w:spacing w:after="0"/><w:jc w:val="right"/>',
               f'<w:color w:val="{GREY}"/><w:sz w:val="17"/><w:szCs w:val="17"/>'),
    _paragraph("Footer", "footer", '<w:spacing w:after="0"/>',
               f'<w:color w:val="{GREY}"/><w:sz w:val="17"/><w:szCs w:val="17"/>'),
    _character("InlineCode", "Inline Code", f'{_MONO}<w:noProof/><w:sz w:val="18"/><w:szCs w:val="18"/>'
               '<w:shd w:val="clear" w:color="auto" w:fill="EDF1F6"/>'),
    _character("Hyperlink", "Hyperlink", '<w:color w:val="1D5FA8"/><w:u w:val="single"/>'),
    _character("FootnoteReference", "footnote reference", '<w:vertAlign w:val="superscript"/>'),
    _character("TaskBox", "Task Box", _fonts("Segoe UI Symbol")),
    _character("FactName", "Fact Name", f'<w:color w:val="{GREY}"/>'),
    _style("table", "DocumentTable", "Document Table", "TableNormal", _TABLE),
)  # fmt: skip


def install(document: Document, language: str) -> None:
    """Put the styles into a document, in place of those with the same id, and drop the template's table styles."""
    root = document.styles.element
    known = {style.get(qn("w:styleId")): style for style in root.findall(qn("w:style"))}
    for name, style in known.items():
        if style.get(qn("w:type")) == "table" and name not in {"TableNormal", "TableGrid"}:
            root.remove(style)
    for xml in STYLES:
        style = parse_xml(xml.replace("<w:style ", f"<w:style {nsdecls('w')} ", 1))
        old = known.get(style.get(qn("w:styleId")))
        if old is None:
            root.append(style)
        else:
            root.replace(old, style)
    lang = root.find(f"{qn('w:docDefaults')}/{qn('w:rPrDefault')}/{qn('w:rPr')}/{qn('w:lang')}")
    if lang is not None and language:
        lang.set(qn("w:val"), language)


def page(document: Document, size: str) -> int:
    """Set paper and margins; the width of the text in twentieths of a point."""
    section = document.sections[0]._sectPr
    width, height = {"A4": (11906, 16838), "Letter": (12240, 15840)}[size]
    margin = 1134
    for tag in ("w:pgSz", "w:pgMar"):
        for old in section.findall(qn(tag)):
            section.remove(old)
    section.insert(0, element("w:pgSz", w=width, h=height))
    section.insert(
        1, element("w:pgMar", top=1304, right=margin, bottom=1134, left=margin, header=624, footer=567, gutter=0)
    )
    return width - 2 * margin
