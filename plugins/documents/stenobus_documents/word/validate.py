"""Rules that Word holds a file to, checked before it is stored: a file that does not open is worth nothing."""

from __future__ import annotations

import io
import posixpath
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote

from lxml import etree  # type: ignore[import-untyped]

_W: Final = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_R: Final = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_NS: Final = {"w": _W, "r": _R}
_PARTS: Final = ("document", "footnotes", "endnotes", "header", "footer", "comments")
#: Follows nothing that a file names.
PARSER: Final = etree.XMLParser(resolve_entities=False, no_network=True)

_CELLS: Final = etree.XPath("//w:tc[not(*[last()][self::w:p])]", namespaces=_NS)
_TABLES: Final = etree.XPath("//w:tbl[count(w:tblGrid/w:gridCol) > 63]", namespaces=_NS)
_ENDS: Final = etree.XPath("//w:body/*[not(self::w:sectPr)][last()][self::w:tbl]", namespaces=_NS)
_RELATIONS: Final = etree.XPath("//@r:id | //@r:embed | //@r:link", namespaces=_NS)
_NUMBERS: Final = etree.XPath("//w:numPr/w:numId/@w:val", namespaces=_NS)
_STYLES: Final = etree.XPath("//w:pStyle/@w:val | //w:rStyle/@w:val | //w:tblStyle/@w:val", namespaces=_NS)
_NOTES: Final = etree.XPath("//w:footnoteReference/@w:id", namespaces=_NS)
_ANCHORS: Final = etree.XPath("//w:hyperlink/@w:anchor", namespaces=_NS)
_BOOKMARKS: Final = etree.XPath("//w:bookmarkStart/@w:id", namespaces=_NS)
_BOOKMARK_NAMES: Final = etree.XPath("//w:bookmarkStart/@w:name", namespaces=_NS)
_FIELDS: Final = etree.XPath("count(//w:fldChar[@w:fldCharType=$kind])", namespaces=_NS)


class InvalidDocument(RuntimeError):
    """The file breaks rules of the format; the message names them."""


def check(docx: bytes) -> None:
    """Make sure that a DOCX holds together.

    Raises:
        InvalidDocument: it does not.
    """
    if findings := list(problems(docx)):
        raise InvalidDocument(f"The DOCX is invalid: {'; '.join(findings[:5])}.")


def problems(docx: bytes) -> Iterator[str]:
    """What is wrong with a DOCX, a sentence each without a full stop."""
    try:
        with zipfile.ZipFile(io.BytesIO(docx)) as package:
            files = {name: package.read(name) for name in package.namelist()}
    except zipfile.BadZipFile:
        yield "it is no zip file"
        return
    trees: dict[str, Any] = {}
    for name, content in files.items():
        if name.endswith((".xml", ".rels")):
            try:
                trees[name] = etree.fromstring(content, PARSER)
            except etree.XMLSyntaxError as error:
                yield f"{name} is no well-formed XML ({error.msg})"
    if "word/document.xml" not in trees:
        yield "word/document.xml is missing"
        return
    yield from _untyped(trees, files)
    known = {
        "numId": _values(trees.get("word/numbering.xml"), "//w:num/@w:numId") | {"0"},
        "style": _values(trees.get("word/styles.xml"), "//w:style/@w:styleId"),
        "footnote": _values(trees.get("word/footnotes.xml"), "//w:footnote/@w:id"),
        "bookmark": {*_BOOKMARK_NAMES(trees["word/document.xml"]), "_top"},
    }
    abstracts = _values(trees.get("word/numbering.xml"), "//w:abstractNum/@w:abstractNumId")
    yield from _unresolved("numbering", "abstractNumId", abstracts, _used_abstracts(trees.get("word/numbering.xml")))
    for name, tree in trees.items():
        if not (name.startswith("word/") and name.removeprefix("word/").startswith(_PARTS)):
            continue
        if cells := _CELLS(tree):
            yield f"{name} has {len(cells)} cells that do not end with a paragraph"
        if _TABLES(tree):
            yield f"{name} has a table of more than 63 columns"
        if _ENDS(tree):
            yield f"{name} ends with a table"
        if _FIELDS(tree, kind="begin") != _FIELDS(tree, kind="end"):
            yield f"{name} has a field that does not end"
        marks = _BOOKMARKS(tree)
        if len(marks) != len(set(marks)):
            yield f"{name} has bookmarks with the same id"
        relations = _relations(name, trees)
        yield from _unresolved(name, "relationship", set(relations), _RELATIONS(tree))
        yield from _unresolved(name, "numId", known["numId"], _NUMBERS(tree))
        yield from _unresolved(name, "style", known["style"], _STYLES(tree))
        yield from _unresolved(name, "footnote", known["footnote"], _NOTES(tree))
        yield from _unresolved(name, "bookmark", known["bookmark"], _ANCHORS(tree))
    for name in trees:
        if name.endswith(".rels"):
            folder = posixpath.dirname(posixpath.dirname(name))
            for target in _targets(trees[name]):
                path = posixpath.normpath(posixpath.join("/" + folder, unquote(target))).lstrip("/")
                if path not in files:
                    yield f"{name} points at {path}, which is not there"


def _untyped(trees: Mapping[str, Any], files: Mapping[str, bytes]) -> Iterator[str]:
    types = trees.get("[Content_Types].xml")
    if types is None:
        yield "[Content_Types].xml is missing"
        return
    extensions = {child.get("Extension", "").lower() for child in types if child.get("Extension")}
    parts = {child.get("PartName", "").lstrip("/") for child in types if child.get("PartName")}
    for name in files:
        if name not in parts and name.rpartition(".")[2].lower() not in extensions and name != "[Content_Types].xml":
            yield f"{name} has no content type"


def _relations(name: str, trees: Mapping[str, Any]) -> list[str]:
    folder, _, base = name.rpartition("/")
    tree = trees.get(f"{folder}/_rels/{base}.rels")
    return [] if tree is None else [child.get("Id") for child in tree]


def _targets(tree: Any) -> list[str]:
    return [child.get("Target").partition("#")[0] for child in tree if child.get("TargetMode") != "External"]


def _used_abstracts(tree: Any) -> list[str]:
    return [] if tree is None else list(tree.xpath("//w:num/w:abstractNumId/@w:val", namespaces=_NS))


def _values(tree: Any, path: str) -> set[str]:
    return set() if tree is None else set(tree.xpath(path, namespaces=_NS))


def _unresolved(name: str, what: str, known: set[str], used: Any) -> Iterator[str]:
    if lost := sorted({*used} - known):
        yield f"{name} names {what} {', '.join(map(str, lost[:3]))}, which is not there"
