"""Markdown as this package writes and reads it: CommonMark with tables, strikethrough, tasks, footnotes, front matter.

Raw HTML is off everywhere, with one exception that tables need: ``<br>`` inside a cell is a line break.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from urllib.parse import quote, urlsplit

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode
from mdit_py_plugins.deflist import deflist_plugin
from mdit_py_plugins.footnote import footnote_plugin
from mdit_py_plugins.front_matter import front_matter_plugin
from mdit_py_plugins.tasklists import tasklists_plugin

from .bounds import BLOCKS, inline
from .text import one_line

#: Schemes a link of a document may have.
LINK_SCHEMES = frozenset({"http", "https", "mailto", "file"})
#: Schemes that only an image may have: they are read from a store, and no reader of a document could follow them.
IMAGE_SCHEMES = frozenset({"nats", "s3"})

_SPECIAL = re.compile(r"[\\`*\[\]<>|~]|(?<!\w)_|_(?!\w)|^(?=[#+-])|&(?=#?\w+;)|!(?=\[)")
_NUMBERED = re.compile(r"^(\d+)([.)])")
_CODE_OR_TAG = re.compile(r"(?s)(`+)(?!`).+?(?<!`)\1(?!`)|<(?=[A-Za-z/!?])")
_IMAGE = re.compile(r"!\[([^\]]*)\](?:\([^)]*\)|\[[^\]]*\])")
_HEADING = re.compile(r"(\s{0,3})(#{1,6})(?=\s|$)")
_PAIR = re.compile(r"([A-Za-z][\w-]*):[ \t]*(.*)")


@cache
def parser() -> MarkdownIt:
    """The one grammar for everything that is read here."""
    grammar = (
        MarkdownIt("commonmark", {"html": False, "maxNesting": BLOCKS})
        .enable(["table", "strikethrough"])
        .use(front_matter_plugin)
        .use(footnote_plugin, inline=True)
        .use(tasklists_plugin)
        .use(deflist_plugin)
    )
    grammar.core.ruler.at("inline", inline)
    grammar.validateLink = _may_name  # type: ignore[method-assign, assignment]  # its own rule refuses file://
    return grammar


def link_target(address: str) -> str | None:
    """The address with what is illegal in it encoded, None when nothing may link to it."""
    target = parser().normalizeLink(address)
    return target if may_link(target) else None


def may_link(target: str) -> bool:
    """True for an anchor and for an address of :data:`LINK_SCHEMES`."""
    return target.startswith("#") or _scheme(target) in LINK_SCHEMES


def _may_name(target: str) -> bool:
    return may_link(target) or _scheme(target) in IMAGE_SCHEMES


def _scheme(target: str) -> str:
    try:
        return urlsplit(target).scheme.lower()
    except ValueError:
        return ""


def parse(text: str) -> SyntaxTreeNode:
    """The document as a tree."""
    return SyntaxTreeNode(parser().parse(text))


def escape(text: str) -> str:
    """Foreign words as Markdown that shows exactly these words, in a paragraph or a table's cell."""
    return _NUMBERED.sub(r"\1\\\2", _SPECIAL.sub(lambda match: f"\\{match[0]}", text))


def code(text: str) -> str:
    """Foreign words as inline code, in a table's cell too; words with backticks stay ordinary text."""
    return escape(text) if "`" in text else f"`{text.replace('|', chr(92) + '|')}`"


def time_link(label: str, uri: str | None, seconds: float) -> str:
    """``[00:01:23](file:///talk.mp4#t=83)``; the time alone where nothing can open the address."""
    if uri is None or urlsplit(uri).scheme not in {"file", "http", "https"}:
        return rf"\[{label}\]"
    return f"[{label}]({quote(uri, safe=':/?&=%~@+,;$!*')}#t={int(seconds)})"


def front_matter(fields: Mapping[str, str]) -> str:
    """A YAML front matter of flat strings, in the given order."""
    lines = (f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in fields.items())
    return "\n".join(("---", *lines, "---", ""))


def read_front_matter(content: str) -> dict[str, str]:
    """The flat pairs of a front matter; nested values are none of a cover's business and are passed over."""
    pairs: dict[str, str] = {}
    for match in filter(None, map(_PAIR.fullmatch, content.splitlines())):
        value = match[2].strip()
        try:
            read = json.loads(value) if value.startswith('"') else value.strip("'")
        except ValueError:
            read = value
        if read:
            pairs[match[1].lower()] = one_line(str(read))
    return pairs


def outside_code(text: str, change: Callable[[str], str]) -> str:
    """The text with ``change`` made to every line that is not in a code block."""
    lines = text.split("\n")
    code = {number for fence, body in code_blocks(text) for number in (*fence, *body)}
    return "\n".join(line if number in code else change(line) for number, line in enumerate(lines))


def code_blocks(text: str) -> list[tuple[tuple[int, ...], range]]:
    """Numbers of the lines that open and close each code block, and of those between them."""
    found: list[tuple[tuple[int, ...], range]] = []
    for token in parser().parse(text):
        if token.map is None or token.type not in {"fence", "code_block"}:
            continue
        first, last = token.map
        body = range(first, last)
        if token.type == "fence":
            body = range(first + 1, first + 1 + len(token.content.splitlines()))
        found.append((tuple(number for number in range(first, last) if number not in body), body))
    return found


def tame(text: str, level: int) -> str:
    """A foreign section made safe to stand in a document.

    Raw HTML is escaped, images become their descriptions, headings begin at ``level``, an open code fence is closed.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").strip("\n")
    text = _closed(text)
    text = outside_code(text, lambda line: _IMAGE.sub(lambda match: match[1], line))
    text = _without_html(text)
    levels = [len(match[2]) for match in map(_HEADING.match, _prose(text)) if match]
    shift = max(0, level - min(levels, default=level))
    return outside_code(
        text, lambda line: _HEADING.sub(lambda m: m[1] + "#" * min(6, len(m[2]) + shift), line, count=1)
    )


def _prose(text: str) -> list[str]:
    found: list[str] = []
    outside_code(text, lambda line: found.append(line) or line)  # type: ignore[func-returns-value]
    return found


def _closed(text: str) -> str:
    """Close a code fence that runs to the end, lest it swallows what follows in the document."""
    tokens = parser().parse(text)
    last = tokens[-1] if tokens else None
    if last is None or last.type != "fence" or last.map is None:
        return text
    probe = parser().parse(f"{text}\n\nprobe")
    return text if probe[-1].type == "paragraph_close" else f"{text}\n{last.markup}"


def _without_html(text: str) -> str:
    escaped = outside_code(text, lambda line: _CODE_OR_TAG.sub(lambda m: m[0] if m[1] else "&lt;", line))
    return escaped if not _has_html(escaped) else outside_code(text, lambda line: line.replace("<", "&lt;"))


def _has_html(text: str) -> bool:
    strict = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)
    return any(
        token.type == "html_block" or any(child.type == "html_inline" for child in token.children or ())
        for token in strict
    )
