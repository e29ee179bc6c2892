"""The look: every style the renderer names, defined in one place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from docx.document import Document
from docx.oxml.ns import qn

from .xml import Element, Xml, element, parsed

BODY_FONT: Final = "Calibri"
CODE_FONT: Final = "Consolas"
INK: Final = "1F2937"
ACCENT: Final = "1F4E79"
GREY: Final = "6B7280"
RULE: Final = "C9D3DF"
SHADE: Final = "F3F6FA"


class Style(NamedTuple):
    """A style: what we call it is its id, unless a template has one of this name. ``body`` may name ``{width}``."""

    kind: str
    id: str
    name: str
    based_on: str | None
    body: Xml
    following: str = ""
    default: bool = False


_SHADED = f'<w:shd w:val="clear" w:color="auto" w:fill="{SHADE}"/>'


def _fonts(name: str) -> str:
    return "<w:rFonts " + " ".join(f'w:{script}="{name}"' for script in ("ascii", "hAnsi", "eastAsia", "cs")) + "/>"


_TEXT = _fonts(BODY_FONT)
_DOTS = '<w:tabs><w:tab w:val="right" w:leader="dot" w:pos="{width}"/></w:tabs>'
_MONO = _fonts(CODE_FONT)


def _paragraph(
    style: str, name: str, properties: str, run: str = "", based_on: str = "Normal", following: str = ""
) -> Style:
    body = (f"<w:pPr>{properties}</w:pPr>" if properties else "") + (f"<w:rPr>{run}</w:rPr>" if run else "")
    return Style("paragraph", style, name, based_on, body, following)


def _heading(level: int, size: int, before: int, color: str) -> Style:
    return _paragraph(
        f"Heading{level}",
        f"heading {level}",
        f'<w:keepNext/><w:keepLines/><w:spacing w:before="{before}" w:after="{80 if level > 1 else 120}" w:line="240"'
        f' w:lineRule="auto"/><w:outlineLvl w:val="{level - 1}"/>',
        f'<w:b/><w:color w:val="{color}"/><w:sz w:val="{size}"/><w:szCs w:val="{size}"/>',
        following="Normal",
    )


def _character(style: str, name: str, run: str) -> Style:
    return Style("character", style, name, "DefaultParagraphFont", f"<w:rPr>{run}</w:rPr>")


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

#: All that a rendering may name.
STYLES: Final[tuple[Style, ...]] = (
    Style(
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
        f'<w:b/><w:color w:val="{ACCENT}"/><w:sz w:val="56"/><w:szCs w:val="56"/>',
    ),
    _paragraph("CoverFact", "Cover Fact", '<w:tabs><w:tab w:val="left" w:pos="1701"/></w:tabs><w:spacing w:after="40"/>'
               '<w:ind w:left="1701" w:hanging="1701"/>'),
    _paragraph("ContentsHeading", "Contents Heading", '<w:keepNext/><w:spacing w:before="560" w:after="120"/>',
               f'<w:b/><w:color w:val="{ACCENT}"/><w:sz w:val="26"/><w:szCs w:val="26"/>'),
    _paragraph("TOC1", "toc 1", f'{_DOTS}<w:spacing w:before="60" w:after="20"/>'),
    _paragraph("TOC2", "toc 2", f'{_DOTS}<w:spacing w:after="10"/><w:ind w:left="340"/>', f'<w:color w:val="{GREY}"/>'),
    _paragraph("ListParagraph", "List Paragraph", '<w:spacing w:after="100"/><w:contextualSpacing/>'),
    _paragraph(
        "Quote",
        "Quote",
        f"<w:pBdr>{_border('left', ACCENT, 24, 10)}</w:pBdr>"
        f'{_SHADED}<w:spacing w:before="60" w:after="120"/><w:ind w:left="284"/>',
        f'<w:color w:val="{INK}"/>',
    ),
    _paragraph(
        "CodeBlock",
        "Code Block",
        "<w:pBdr>" + "".join(_border(side, RULE, 4, 5) for side in ("top", "left", "bottom", "right")) + "</w:pBdr>"
        f'{_SHADED}<w:spacing w:before="80" w:after="140" w:line="245" w:lineRule="auto"/>'
        '<w:ind w:left="113" w:right="113"/>',
        f'{_MONO}<w:noProof/><w:sz w:val="18"/><w:szCs w:val="18"/>',
    ),
    _paragraph("TableText", "Table Text", '<w:spacing w:after="50" w:line="252" w:lineRule="auto"/>',
               '<w:sz w:val="19"/><w:szCs w:val="19"/>'),
    _paragraph("TableHead", "Table Head", '<w:keepNext/>', '<w:b/><w:color w:val="FFFFFF"/>', based_on="TableText"),
    _paragraph("Figure", "Figure", '<w:spacing w:before="120" w:after="80" w:line="240" w:lineRule="auto"/>'
               '<w:jc w:val="center"/>'),
    _paragraph("Caption", "caption", '<w:spacing w:after="200" w:line="240" w:lineRule="auto"/><w:jc w:val="center"/>',
               f'<w:i/><w:color w:val="{GREY}"/><w:sz w:val="18"/><w:szCs w:val="18"/>'),
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
    Style("table", "DocumentTable", "Document Table", "TableNormal", _TABLE),
)  # fmt: skip


def install(document: Document, language: str, width: int, *, keep: bool) -> tuple[Mapping[str, str], list[str]]:
    """Put the styles into a document.

    Args:
        language: BCP 47, empty for the one it has.
        width: of the text, in twentieths of a point.
        keep: the styles that it already has by name are kept; else they are replaced.

    Returns:
        Ids by what we call them, and the names of those that were added to what was kept.
    """
    root = document.styles.element
    known = {(style.get(qn("w:type")), _name(style)): style for style in root.findall(qn("w:style"))}
    taken = {style.get(qn("w:styleId")) for style in known.values()}
    ids = {"DefaultParagraphFont": _id_of(known.get(("character", "default paragraph font")), "DefaultParagraphFont"),
           "TableNormal": _id_of(known.get(("table", "normal table")), "TableNormal")}  # fmt: skip
    added = []
    for style in STYLES:
        old = known.get((style.kind, style.name.lower()))
        ids[style.id] = _id_of(old, style.id if style.id not in taken else f"Stenobus{style.id}")
    for style in STYLES:
        old = known.get((style.kind, style.name.lower()))
        if old is None:
            added.append(style.name)
            root.append(_made(style, ids, width))
        elif not keep:
            root.replace(old, _made(style, ids, width))
    lang = root.find(f"{qn('w:docDefaults')}/{qn('w:rPrDefault')}/{qn('w:rPr')}/{qn('w:lang')}")
    if lang is not None and language:
        lang.set(qn("w:val"), language)
    return ids, added if keep else []


def _made(style: Style, ids: Mapping[str, str], width: int) -> Element:
    links = f'<w:basedOn w:val="{ids[style.based_on]}"/>' if style.based_on else ""
    links += f'<w:next w:val="{ids[style.following]}"/>' if style.following else ""
    body = style.body.replace("{width}", str(width))
    made = parsed("w:style", f'<w:name w:val="{style.name}"/>{links}<w:qFormat/>{body}')
    made.set(qn("w:type"), style.kind)
    if style.default:
        made.set(qn("w:default"), "1")
    made.set(qn("w:styleId"), ids[style.id])
    return made


def _name(style: Element) -> str:
    name = style.find(qn("w:name"))
    return "" if name is None else str(name.get(qn("w:val"))).lower()


def _id_of(style: Element | None, otherwise: str) -> str:
    return otherwise if style is None else str(style.get(qn("w:styleId")))


def drop_table_styles(document: Document) -> None:
    """Leave out python-docx's own table styles, which nothing uses."""
    for style in document.styles.element.findall(qn("w:style")):
        if style.get(qn("w:type")) == "table" and style.get(qn("w:styleId")) not in {"TableNormal", "TableGrid"}:
            document.styles.element.remove(style)


def page(document: Document, size: str) -> None:
    """Set paper and margins."""
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


def room(document: Document) -> tuple[int, int]:
    """Width and height of the text, in twentieths of a point."""
    section = document.sections[-1]
    page_width, page_height = section.page_width or _LETTER[0], section.page_height or _LETTER[1]
    sides = (section.left_margin or 0) + (section.right_margin or 0) + (section.gutter or 0)
    ends = (section.top_margin or 0) + (section.bottom_margin or 0)
    return max(_LEAST, int(page_width - sides) // 635), max(_LEAST, int(page_height - ends) // 635)


#: Word's own page where a template names none, in English Metric Units; and the least room to write on.
_LETTER: Final = (7772400, 10058400)
_LEAST: Final = 2000
