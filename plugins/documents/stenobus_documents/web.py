"""One self-contained HTML page: no script, nothing fetched, readable on a phone and on paper."""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any, Final
from urllib.parse import unquote

from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from pygments import highlight
from pygments.formatters.html import HtmlFormatter

from stenobus_contracts import NotCarried

from .headings import Heading
from .images import Image
from .labels import labels
from .manuscript import Manuscript
from .markdown import parser
from .word.code import STYLE, lexer
from .word.contents import listed
from .word.cover import FIELD, method, told
from .word.look import Look, losses

_BREAK: Final = re.compile(r"&lt;br\s*/?&gt;", re.IGNORECASE)
_UNSAFE: Final = re.compile(r"[^\w .,:-]|[\n\r]")
#: Nothing but what the page itself holds, whatever stands in it.
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


def page(manuscript: Manuscript, look: Look) -> tuple[str, tuple[NotCarried, ...]]:
    """The document as a page, and what of it could not be carried. Equal arguments give an equal page."""
    writer = _Writer(manuscript, look)
    content = writer.render(manuscript.tree.to_tokens(), parser().options, {})
    facts, title = manuscript.facts, manuscript.title or "Document"
    parts = [
        "<!DOCTYPE html>",
        f'<html lang="{escape(facts.get("language", "en"))}">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="referrer" content="no-referrer">',
        '<meta name="generator" content="Stenobus">',
        f'<meta name="author" content="{escape(look.author)}">',
        f"<title>{escape(title)}</title>",
        f"<style>\n{_css()}{_paper(manuscript, look)}</style>",
        "</head>",
        "<body>",
        *(_cover(manuscript) if "title" in facts else []),
        "<main>",
        content.rstrip("\n"),
        "</main>",
        *([f"<footer>{escape(method(facts))}</footer>"] if method(facts) else []),
        "</body>",
        "</html>",
        "",
    ]
    return "\n".join(parts), losses("html", writer.lost + manuscript.lost)


def _cover(manuscript: Manuscript) -> Iterator[str]:
    yield f"<header>\n<h1>{escape(manuscript.facts['title'])}</h1>\n<dl>"
    for name, value, target in told(manuscript.facts):
        shown = f'<a href="{escape(target)}" rel="noopener noreferrer">{escape(value)}</a>' if target else escape(value)
        yield f"<div><dt>{escape(name)}</dt><dd>{shown}</dd></div>"
    yield "</dl>\n</header>"
    if entries := listed(manuscript.headings):
        name = escape(labels(manuscript.facts).contents)
        yield f'<nav aria-label="{name}">\n<h2>{name}</h2>\n<ol>'
        for heading in entries:
            anchor, level = escape(heading.anchor), heading.level
            yield f'<li class="level-{level}"><a href="#{anchor}">{escape(heading.text)}</a></li>'
        yield "</ol>\n</nav>"


@cache
def _css() -> str:
    colours = HtmlFormatter(style=STYLE, nobackground=True).get_style_defs(".code")
    own = files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    return f"{own}{colours}\n"


def _paper(manuscript: Manuscript, look: Look) -> str:
    """What a print shows around the text: the title above and the page number below, neither on a cover."""
    numbers = " ".join(
        {"{page}": "counter(page)", "{pages}": "counter(pages)"}.get(part) or _string(part)
        for part in FIELD.split(labels(manuscript.facts).numbers)
        if part
    )
    bare = (
        "@page :first { @top-right { content: none; } @bottom-right { content: none; } }\n"
        if "title" in manuscript.facts
        else ""
    )
    return (
        f"@page {{ size: {look.page}; margin: 22mm 20mm; font: 8.5pt Calibri, Carlito, sans-serif; color: #6b7280;\n"
        f"  @top-right {{ content: {_string(manuscript.title)}; }}\n"
        f"  @bottom-right {{ content: {numbers}; }} }}\n{bare}"
    )


def _string(text: str) -> str:
    """A CSS string; whatever could end it, or the style it stands in, is named by its number."""
    return '"' + _UNSAFE.sub(lambda match: f"\\{ord(match[0]):x} ", text) + '"'


class _Writer(RendererHTML):
    """markdown-it's own renderer, with headings that can be linked, coloured code, and images inside the page."""

    def __init__(self, manuscript: Manuscript, look: Look) -> None:
        super().__init__()
        self.rules = {**parser().renderer.rules, **self.rules}  # type: ignore[attr-defined]
        self._headings: Sequence[Heading | None] = manuscript.headings
        self._anchors = {heading.anchor for heading in manuscript.headings if heading}
        self._pictures, self._shift = look.pictures, int("title" in manuscript.facts)
        self._number, self._hidden, self._cell, self._dead = 0, False, False, False
        self.lost: Counter[tuple[str, str]] = Counter()
        if look.template:
            self.lost["template", "it is one of Word's; the page has its own look"] += 1

    def render(self, tokens: Sequence[Token], options: Any, env: Any) -> str:
        """The content; a heading that the cover shows is left out."""
        made = []
        for number, token in enumerate(tokens):
            if token.type == "heading_open" and self._headings[self._number] is None:
                self._hidden = True
            if not self._hidden:
                made.append(self._one(tokens, number, options, env))
            elif token.type == "heading_close":
                self._hidden, self._number = False, self._number + 1
        return "".join(made)

    def _one(self, tokens: Sequence[Token], number: int, options: Any, env: Any) -> str:
        token = tokens[number]
        if token.type == "inline":
            return self.renderInline(token.children or [], options, env)
        if token.type in self.rules:
            return str(self.rules[token.type](tokens, number, options, env))
        return self.renderToken(tokens, number, options, env)

    def heading_open(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        heading = self._headings[self._number]
        assert heading is not None
        return f'<h{min(6, heading.level + self._shift)} id="{escape(heading.anchor)}">'

    def heading_close(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        heading = self._headings[self._number]
        self._number += 1
        assert heading is not None
        return f"</h{min(6, heading.level + self._shift)}>\n"

    def front_matter(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        return ""

    def fence(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        code, info = tokens[idx].content, tokens[idx].info
        found = lexer(info, code)
        if found is None:
            return f"<pre><code>{escape(code, quote=False)}</code></pre>\n"
        return f'<pre class="code"><code>{highlight(code, found, HtmlFormatter(nowrap=True))}</code></pre>\n'

    def table_open(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        return '<div class="table"><table>\n'

    def table_close(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        return "</table></div>\n"

    def td_open(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        self._cell = True
        return self.renderToken(tokens, idx, options, env)

    def td_close(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        self._cell = False
        return self.renderToken(tokens, idx, options, env)

    th_open, th_close = td_open, td_close

    def text(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        shown = escape(tokens[idx].content, quote=False)
        return _BREAK.sub("<br>", shown) if self._cell else shown

    def link_open(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        target = str(tokens[idx].attrs.get("href", ""))
        tokens[idx].attrs.pop("rel", None)
        if not target.startswith("#"):
            return f'<a href="{escape(target)}" rel="noopener noreferrer">'
        self._dead = unquote(target[1:]) not in self._anchors
        if self._dead:
            self.lost["link", "it names a place that the document has not; its text is there"] += 1
            return ""
        return f'<a href="{escape(target)}">'

    def link_close(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        dead, self._dead = self._dead, False
        return "" if dead else "</a>"

    def image(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        token = tokens[idx]
        found = self._pictures.get(str(token.attrs.get("src", "")), "it was not loaded")
        if not isinstance(found, Image):
            self.lost["image", f"{found}; its description is there"] += 1
            return f"<em>[image: {escape(token.content or 'no description')}]</em>"
        data = base64.b64encode(found.data).decode()
        size = f'width="{found.width}" height="{found.height}"'
        shown = f'<img src="data:{found.content_type};base64,{data}" alt="{escape(token.content)}" {size}>'
        caption = str(token.attrs.get("title", "")) or token.content
        alone = len(tokens) == 1 and caption
        return f'<span class="figure">{shown}<span>{escape(caption)}</span></span>' if alone else shown
