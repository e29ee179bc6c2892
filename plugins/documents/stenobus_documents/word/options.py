"""Settings of the document itself, each at its place in the schema: elsewhere Word calls the file damaged."""

from __future__ import annotations

from typing import Final

from docx.oxml.ns import qn

from .xml import Element, element, parsed

_AFTER_FOOTNOTES: Final = ("w:endnotePr", "w:compat", "w:docVars", "w:rsids", "m:mathPr", "w:attachedSchema",
    "w:themeFontLang", "w:clrSchemeMapping", "w:doNotIncludeSubdocsInStats", "w:doNotAutoCompressPictures",
    "w:forceUpgrade", "w:captions", "w:readModeInkLockDown", "w:smartTagType", "w:schemaLibrary", "w:shapeDefaults",
    "w:doNotEmbedSmartTags", "w:decimalSymbol", "w:listSeparator")  # fmt: skip


def update_fields(settings: Element) -> None:
    """Let Word compute the page numbers of the contents when it opens the file; it asks its user first."""
    _put(settings, element("w:updateFields", val="true"), "w:hdrShapeDefaults", "w:footnotePr", *_AFTER_FOOTNOTES)


def footnote_separators(settings: Element) -> None:
    """Name the two separators of the footnotes, as Word itself does."""
    _put(settings, parsed("w:footnotePr", '<w:footnote w:id="-1"/><w:footnote w:id="0"/>'), *_AFTER_FOOTNOTES)


def current_mode(settings: Element) -> None:
    """Have the file opened as one of today's, not in Word's compatibility mode."""
    for mode in settings.iter(qn("w:compatSetting")):
        if mode.get(qn("w:name")) == "compatibilityMode":
            mode.set(qn("w:val"), "15")


def detach(settings: Element) -> None:
    """Forget the template that the file was once made from: Word would look for it wherever that says."""
    for old in settings.findall(qn("w:attachedTemplate")):
        settings.remove(old)


def _put(settings: Element, made: Element, *successors: str) -> None:
    for old in settings.findall(made.tag):
        settings.remove(old)
    known = {qn(tag) for tag in successors}
    following = next((child for child in settings if child.tag in known), None)
    if following is None:
        settings.append(made)
    else:
        following.addprevious(made)
