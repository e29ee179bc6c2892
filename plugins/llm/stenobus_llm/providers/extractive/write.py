"""documents.write without a model: a section as Markdown, one verbatim sentence per bullet."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from stenobus_contracts import Item, SectionText, WriteInputs

from . import commands
from .language import Language, choose
from .matrix import in_time
from .outline import grouped

#: Paths, file names and identifiers, which read better as code.
_CODE = re.compile(
    r"`[^`]+`"
    r"|(?<!\S)~?/[\w.-]+(?:/[\w.-]+)*\b/?"
    r"|(?<!\S)[\w-]+\.(?:conf|cfg|ini|ya?ml|toml|env|log|service)\b"
    r"|\b[A-Za-z0-9]+(?:_[A-Za-z0-9]+)+(?:=[\w.:/-]*\w)?"
)
_MARKUP = re.compile(r"([\\`*_\[\]<>#|~$])")
#: What Markdown would take for a list, a heading or a rule at the start of a line.
_LEADING = re.compile(r"^(\d+)([.)])(?=\s)|^([+=-])")


def write(inputs: WriteInputs) -> SectionText:
    """The section's items in order of time, under a heading for each kind where there are several.

    Items of one sentence share a bullet, with its commands in code style.
    """
    language = choose(inputs.language, (item.evidence.quote for item in inputs.items))
    items = in_time(inputs.items)
    parts = list(grouped(items, language))
    if len(parts) < 2:
        return SectionText(markdown=_bullets(items, items, language))
    return SectionText(
        markdown="\n".join(f"### {heading}\n\n{_bullets(own, items, language)}" for heading, own in parts)
    )


def _bullets(own: Sequence[Item], items: Sequence[Item], language: Language) -> str:
    """A bullet for each sentence of some items, with the commands that any of all items found in it."""
    places = dict.fromkeys((item.evidence.quote, item.evidence.start) for item in own)
    named: defaultdict[str, list[str]] = defaultdict(list)
    for item in items:
        if item.kind == "command":
            named[item.evidence.quote].append(item.text)
    lines = [f"- {_sentence(quote, named[quote], language)}{_time(start)}" for quote, start in places]
    return "\n".join(lines) + "\n"


def _sentence(quote: str, named: list[str], language: Language) -> str:
    """A verbatim sentence as inline Markdown."""
    spans = [(span.start, span.end) for span in commands.find(quote, language)]
    for command in filter(None, named):
        if (at := quote.find(command)) >= 0:
            spans.append((at, at + len(command)))
    spans += [match.span() for match in _CODE.finditer(quote)]
    out, position = [], 0
    for start, end in sorted(spans, key=lambda span: (span[0], -span[1])):
        if start < position:
            continue
        code = quote[start:end]
        out.append(
            _escape(quote[position:start].removesuffix("`") if quote[end : end + 1] == "`" else quote[position:start])
        )
        out.append(_inline_code(code.strip("`")))
        position = end + (quote[end : end + 1] == "`")
    out.append(_escape(quote[position:]))
    text = " ".join("".join(out).split())
    return _LEADING.sub(lambda match: f"{match[1]}\\{match[2]}" if match[1] else f"\\{match[3]}", text)


def _inline_code(code: str) -> str:
    fence = "``" if "`" in code else "`"
    return f"{fence}{code}{fence}"


def _escape(text: str) -> str:
    return _MARKUP.sub(r"\\\1", text)


def _time(start: float | None) -> str:
    """`` [00:01:23]``, or nothing when the transcript has no times."""
    if start is None:
        return ""
    hours, rest = divmod(int(start), 3600)
    return f" [{hours:02d}:{rest // 60:02d}:{rest % 60:02d}]"
