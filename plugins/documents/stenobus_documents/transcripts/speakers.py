"""Speaker labels written at the head of a line, told apart from "Error: connection refused"."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

_LABEL = re.compile(r"\s*(?:>>\s*|-\s+)?\[?(?P<name>[^\W\d_][^:\[\]\n]{0,39}?)\]?\s*:\s+(?P<text>\S.*)", re.DOTALL)
_NUMBERED = re.compile(r"(speaker|spk|ch|falante|hablante|locutor|participant)[ _-]?\d{1,3}", re.IGNORECASE)
_NOT_A_NAME = re.compile(
    r"(?i)(fatal|error|warning|warn|info|debug|trace|note|nota|erro|aviso|exception|caution|tip|example|step|passo|paso"
    r"|question|answer|problem|solution|cause|fix|symptom|status|result|output|https?|localhost|summary)s?\b"
)


def split_speakers(texts: Sequence[str]) -> list[tuple[str | None, str]]:
    """Take the labels off the texts.

    ``Speaker 1:`` is always a label. A name is one when at least two different names recur, none of them a word that
    logs and notes put before a colon; otherwise the text stays as it is.
    """
    matches = [_LABEL.match(text) for text in texts]
    counts = Counter(match["name"] for match in matches if match and _is_name(match["name"]))
    recurring = {name for name, count in counts.items() if count > 1}
    names = set(counts) if len(recurring) > 1 else set()
    return [
        (match["name"].strip(), match["text"])
        if match and (_NUMBERED.fullmatch(match["name"].strip()) or match["name"] in names)
        else (None, text)
        for match, text in zip(matches, texts, strict=True)
    ]


def _is_name(label: str) -> bool:
    return label[0].isupper() and len(label.split()) <= 4 and not _NOT_A_NAME.match(label)
