"""What a model wrote is held to the recording, sentence by sentence, before it becomes part of a document."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

from stenobus_contracts import Item, Outline, Segment

from .claims import command, setting, unsaid
from .markdown import code_blocks
from .said import Said
from .standing import Standing, speakers

_IDS = re.compile(r"I\d{3,}")
_CITED = re.compile(r"\[(I\d{3,}(?:\s*[,;]\s*I\d{3,})*)\](?!\()")
#: Between two sentences. Citations belong to the sentence they stand behind.
_BETWEEN = re.compile(
    r"(?:[.!?][\"'”’)*_`]*(?:\s*\[[^\]]*\](?!\())*(?P<gap>\s+)|[。！？](?:\s*\[[^\]]*\](?!\())*(?P<none>\s*))(?=[^\s\[])"
)
_MARKER = re.compile(r"\s*(?:>\s*)*(?:[-*+]\s+(?:\[[ xX]\]\s+)?|\d{1,9}[.)]\s+|#{1,6}\s+)?")
_PROMPT = re.compile(r"^\s*(?:[$>]\s+)?")
_COMMENT = re.compile(r"^\s*(?:#|//|--\s|;)")
#: What only names what follows: "Steps:", "**Before you begin**".
_TITLE = re.compile(r"[^.!?]{1,80}:\s*|\*\*[^*]{1,80}\*\*\s*")
_ITEM = re.compile(r"\s*(?:>\s*)*(?:[-*+]|\d{1,9}[.)])\s")
#: Share of its words that a sentence without a citation has to have from the recording.
OWN_WORDS = 0.5
#: Claims that a warning names.
_NAMED = 10


class Vetting:
    """Checks the sections of one document, and remembers what it took out.

    Args:
        segments: the speech of the cleaned transcript.
        items: all items, grounded.
        title: of the recording, as it was given; its words may be used.
        translated: the document has another language than the recording, so that words cannot be compared.
    """

    def __init__(
        self, segments: Sequence[Segment], items: Iterable[Item], title: str, *, translated: bool = False
    ) -> None:
        self._translated = translated
        self._segments = segments
        self._place = {segment.id: number for number, segment in enumerate(segments)}
        self._items = {item.id: item for item in items}
        self._title = title
        self._everybody = speakers(segments)
        self.taken: list[str] = []
        self._claims: list[str] = []

    @property
    def warnings(self) -> list[str]:
        """What was taken out, in one sentence; nothing when nothing was."""
        if not self.taken:
            return []
        names = list(dict.fromkeys(self._claims))
        shown = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
        what = "1 sentence" if len(self.taken) == 1 else f"{len(self.taken)} sentences"
        return [f"{what} taken out of the text, what they claim was not said there: {shown}"]

    def outline(self, outline: Outline, other: str) -> Outline:
        """The outline with other words where a title or a heading claims what nobody said."""
        sections = tuple(
            section if self._stands(section.heading, self._recording) else section.model_copy(update={"heading": other})
            for section in outline.sections
        )
        title = outline.title if self._stands(outline.title, self._recording) else self._title
        return outline.model_copy(update={"title": title, "sections": sections})

    def section(self, text: str, own: Sequence[Item]) -> tuple[str, list[Item]]:
        """The text without the sentences that do not stand, and the items that nothing is left of.

        Args:
            text: Markdown with citations such as ``[I012]``.
            own: the items of the section; what their segments say, and one segment on either side, is what it may say.
        """
        footing = self._footing(own)
        lines = text.split("\n")
        blocks = code_blocks(text)
        code = {number for _, body in blocks for number in body}
        cited = self._cited_lines(lines)
        kept: list[str | None] = []
        for number, line in enumerate(lines):
            if number not in code:
                kept.append(self._line(line, footing, own, cites=self._translated or number in cited))
            else:
                kept.append(line if self._code_line(line, footing) else None)
        for fence, body in blocks:
            if not any(kept[number] and not _COMMENT.match(lines[number]) for number in body):
                for number in (*fence, *body):
                    kept[number] = None
        vetted = "\n".join(line for line in kept if line is not None)
        if not any(map(str.isalnum, vetted)):
            return vetted, list(own)
        left = set(_cited(vetted))
        return vetted, [item for item in own if item.id in set(_cited(text)) - left]

    def _cited_lines(self, lines: Sequence[str]) -> set[int]:
        """Numbers of the lines whose paragraph, list item or table cites a known item."""
        found: set[int] = set()
        block: list[int] = []
        for number, line in enumerate([*lines, ""]):
            if not line.strip() or _ITEM.match(line):
                if any(each in self._items for at in block for each in _cited(lines[at])):
                    found.update(block)
                block = []
            block.append(number)
        return found

    def _line(self, line: str, footing: Said, own: Sequence[Item], *, cites: bool) -> str | None:
        marker = _MARKER.match(line)
        head = marker[0] if marker else ""
        body = line[len(head) :]
        if body.startswith("|"):
            return line if self._sentence(body, footing, own) else None
        sentences = list(_sentences(body))
        title = head.lstrip().startswith("#") or _TITLE.fullmatch(body) is not None
        kept = [
            sentence
            for sentence in sentences
            if self._sentence(sentence, footing, own) and (cites or title or self._told(sentence, footing))
        ]
        if len(kept) == len(sentences):
            return line
        return head + " ".join(kept) if kept else None

    def _sentence(self, sentence: str, footing: Said, own: Sequence[Item]) -> bool:
        cited = [self._items[each] for each in _cited(sentence) if each in self._items] or own
        who = frozenset(item.evidence.speaker for item in cited if item.evidence.speaker)
        standing = Standing(footing, who, self._everybody)
        if standing.complaint(sentence) is None:
            return True
        self._take(sentence, unsaid(sentence, footing) or sorted(standing.others & standing.named(sentence)))
        return False

    def _told(self, sentence: str, footing: Said) -> bool:
        """Whether a sentence that cites nothing has at least half of its words from the recording."""
        if footing.share(sentence) >= OWN_WORDS:
            return True
        self._take(sentence, [sentence.strip()[:60]])
        return False

    def _code_line(self, line: str, footing: Said) -> bool:
        bare = _PROMPT.sub("", line, count=1).rstrip("\\ ")
        if _COMMENT.match(line) and not unsaid(line, footing):
            return True
        if command(bare, footing) or setting(bare, footing):
            return True
        self._take(line, [bare.strip()])
        return False

    def _stands(self, text: str, said: Said) -> bool:
        claims = unsaid(text, said)
        if claims:
            self._take(text, claims)
        return not claims

    def _take(self, text: str, claims: Iterable[str]) -> None:
        self.taken.append(text.strip())
        self._claims += claims

    def _footing(self, own: Sequence[Item]) -> Said:
        """What the items' segments say, one more on either side, and what the items themselves were found to say."""
        places = {self._place[each] for item in own for each in item.evidence.segments if each in self._place}
        near = sorted({near for place in places for near in (place - 1, place, place + 1)})
        spoken = [self._segments[each].text for each in near if 0 <= each < len(self._segments)]
        return Said([*spoken, *(item.text for item in own), self._title])

    @cached_property
    def _recording(self) -> Said:
        return Said([*(segment.text for segment in self._segments), self._title])


def _cited(text: str) -> list[str]:
    return [each for match in _CITED.finditer(text) for each in _IDS.findall(match[1])]


def _sentences(text: str) -> Iterator[str]:
    first = 0
    for match in _BETWEEN.finditer(text):
        last = match.start("gap") if match["gap"] else match.end()
        yield text[first:last].rstrip()
        first = match.end()
    yield text[first:]
