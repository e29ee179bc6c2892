"""Bounds on what hostile Markdown may cost, without losing a word of it.

The parser stops at a depth and drops what is deeper; a tree of emphasis may be as deep as its text is long; brackets
cost the square of their number. All are made flat here, before anything walks the tree.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

#: Levels of lists (two each) and quotes that are parsed, and of marks and links within a line.
BLOCKS: Final = 100
INLINE: Final = 16
#: Characters of a paragraph whose marks are read.
PARAGRAPH: Final = 20_000

_CONTAINERS: Final = frozenset({"blockquote_open", "list_item_open", "dd_open", "footnote_open"})


def bounded(
    parser: MarkdownIt, text: str, may_link: Callable[[str], bool], lost: Counter[tuple[str, str]]
) -> list[Token]:
    """The tokens of a document with what the parser dropped as plain text, and with deep marks taken away.

    Args:
        parser: one with the rule :func:`inline`.
        may_link: whether an address may be a link's; other links are their text.
        lost: takes what was made flat, by feature and reason.
    """
    env: dict[str, int] = {}
    tokens = parser.parse(text, env)
    if long := env.get("long", 0):
        lost["paragraph", f"marks are not read in more than {PARAGRAPH} characters; the text is there"] += long
    lines: list[str] | None = None
    made: list[Token] = []
    for number, token in enumerate(tokens):
        made.append(token)
        if token.children:
            token.children = _flat(token.children, may_link, lost)
        if token.type in _CONTAINERS and token.level >= BLOCKS - 1 and token.map:
            following = tokens[number + 1] if number + 1 < len(tokens) else None
            if following is not None and following.nesting == -1 and following.level == token.level:
                lines = lines or text.split("\n")
                words = " ".join(" ".join(lines[token.map[0] : token.map[1]]).split()).lstrip("> -*+")
                if words:
                    lost["nesting", f"lists and quotes deeper than {BLOCKS} levels stand as plain text"] += 1
                    made += _paragraph(words, token.level + 1)
    return made


def inline(state: StateCore) -> None:
    """The parser's rule for what stands in a line, which leaves paragraphs alone that no person wrote."""
    for token in state.tokens:
        if token.type == "inline":
            token.children = []
            if len(token.content) > PARAGRAPH:
                token.children.append(Token("text", "", 0, content=token.content.replace("\n", " ")))
                state.env["long"] = state.env.get("long", 0) + 1
            else:
                state.md.inline.parse(token.content, state.md, state.env, token.children)


def _flat(tokens: Sequence[Token], may_link: Callable[[str], bool], lost: Counter[tuple[str, str]]) -> list[Token]:
    made: list[Token] = []
    depth, dead = 0, 0
    for token in tokens:
        if token.type == "link_open" and not may_link(str(token.attrs.get("href", ""))):
            dead += 1  # links do not nest: the next end is its own
            lost["link", "nothing can open its address; its text is there"] += 1
            continue
        if token.type == "link_close" and dead:
            dead -= 1
            continue
        if token.nesting == 1:
            depth += 1
        deep = depth > INLINE and token.nesting != 0
        if token.nesting == -1:
            depth -= 1
        if not deep:
            made.append(token)
        elif token.nesting == 1:
            lost["nesting", f"marks within more than {INLINE} others are left out; their text is there"] += 1
    return made


def _paragraph(words: str, level: int) -> list[Token]:
    text = Token("text", "", 0, content=words)
    inline = Token("inline", "", 0, level=level + 1, content=words, children=[text])
    return [
        Token("paragraph_open", "p", 1, level=level, block=True),
        inline,
        Token("paragraph_close", "p", -1, level=level, block=True),
    ]
