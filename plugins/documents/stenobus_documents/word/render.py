"""The whole way from Markdown text to the bytes of a DOCX."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import docx
from docx.document import Document

from ..manuscript import Manuscript
from . import contents, cover, options, package, styles, template, validate
from .blocks import Blocks
from .build import Build
from .footnotes import Footnotes
from .look import Look, Rendered, losses
from .numbering import Lists
from .xml import Xml, parsed


def render(manuscript: Manuscript, look: Look) -> Rendered:
    """Render a document.

    A front matter with a title becomes a cover with a table of contents. Raw HTML is shown as the text it is; images
    are those of ``look``, and others become their descriptions: nothing is fetched. Equal arguments give equal bytes.

    Raises:
        TemplateError: the template cannot be used.
        InvalidDocument: what was made breaks a rule of the format, which is an error of this package.
    """
    facts, found = manuscript.facts, manuscript.headings
    document, names, missing = begun(manuscript, look)
    width, height = styles.room(document)
    build = Build(
        document=document,
        styles=names,
        lists=Lists(document),
        footnotes=Footnotes(document, names["FootnoteText"], names["FootnoteReference"]),
        width=width,
        height=height,
        notes={node.meta["id"]: node for node in manuscript.tree.walk() if node.type == "footnote"},
        headings=found,
        anchors={heading.anchor: heading for heading in found if heading},
        pictures=look.pictures,
    )
    front = [*cover.cover(build, facts), *contents.contents(names, facts, found)] if "title" in facts else []
    blocks: list[Xml] = []
    Blocks(build, blocks, page=bool(front)).walk(manuscript.tree.children)
    body = document.element.body
    for child in reversed(list(parsed("w:body", "".join((*front, *blocks))))):
        body.insert(0, child)
    build.lists.finish()
    build.footnotes.finish()
    return finished(manuscript, look, document, names, build.lost, missing)


def finished(
    manuscript: Manuscript,
    look: Look,
    document: Document,
    names: Mapping[str, str],
    lost: Counter[tuple[str, str]],
    missing: Sequence[str],
) -> Rendered:
    """A document with its body, made whole: running titles, options, properties; packed and checked.

    Args:
        names: ids of its styles by what we call them.
        lost: what of the Markdown it has not, by feature and reason.
        missing: names of styles that its template lacks.

    Raises:
        InvalidDocument: it breaks a rule of the format.
    """
    facts = manuscript.facts
    cover.running_titles(document, names, manuscript.title, facts)
    options.current_mode(document.settings.element)
    if "title" in facts and contents.listed(manuscript.headings):
        options.update_fields(document.settings.element)
    package.describe(
        document,
        title=manuscript.title,
        author=look.author,
        subject=facts.get("method", "") and f"method: {facts['method']}",
        language=facts.get("language", ""),
    )
    data = package.pack(document)
    validate.check(data)
    return Rendered(data, losses("docx", lost + manuscript.lost), missing=tuple(missing))


def begun(manuscript: Manuscript, look: Look) -> tuple[Document, Mapping[str, str], list[str]]:
    """An empty document, ids of its styles by what we call them, and names of those its template lacks.

    Raises:
        TemplateError: the template cannot be used.
    """
    document = template.load(look.template) if look.template else _empty(look)
    language = manuscript.facts.get("language", "")
    names, missing = styles.install(document, language, styles.room(document)[0], keep=bool(look.template))
    return document, names, missing


def _empty(look: Look) -> Document:
    """python-docx's own template without what nothing uses."""
    document = docx.Document()
    styles.drop_table_styles(document)
    styles.page(document, look.page)
    for old in list(document.part.numbering_part.element):
        document.part.numbering_part.element.remove(old)
    return document
