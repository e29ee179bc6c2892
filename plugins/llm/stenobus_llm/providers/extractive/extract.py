"""documents.extract without a model: which sentences matter, and as what."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from stenobus_contracts import ExtractInputs, Extraction, Item, ItemKind

from . import commands
from .centrality import Vectors
from .language import START, Language, choose
from .sentences import Sentence, sentences

#: The score from which a sentence is an item of a kind: one strong cue, or two weak ones.
ENOUGH = 2
STRONG = 3
#: Further cues beyond this tell nothing more.
MOST = 6
#: Sentences after an announcement ("Now the fix.") that are likely of its kind.
REACH = 3
#: What a sentence inherits from an announcement before it, or from a sentence that it continues.
INHERITED = 2
#: Kinds that a sentence declares by its first words, whatever it goes on to say: "Be careful", "Never", "To prevent".
OPENING: frozenset[ItemKind] = frozenset({"risk", "rule", "prevention"})
#: Words an announcement has at most.
BRIEF = 8
#: Among equal scores the more specific kind wins.
PRECEDENCE: tuple[ItemKind, ...] = (
    "cause", "prevention", "risk", "solution", "symptom", "rule", "configuration", "diagnosis",
)  # fmt: skip
#: Sentences of one kind that are this similar say the same.
SAME = 0.8

_ERROR = re.compile(
    r"\b[A-Z]\w*(?:Error|Exception)\b|\bE[A-Z]{5,}\b"
    r"|\b[45]\d\ds\b|\b(?:[Ee]rror|[Ss]tatus|HTTP|http|[Cc]ode|[Ee]rro|código)\s+[45]\d\d\b|\b[45]\d\d\s+errors?\b"
)
_SETTING = re.compile(r"\b\w+\.(?:conf|cfg|ini|ya?ml|toml|env|properties)\b|\b[A-Z][A-Z0-9]*_[A-Z0-9_]+\b|\b\w+=\w")


@dataclass(frozen=True, slots=True)
class Finding:
    """A sentence, or the command in it, taken as an item of a kind."""

    index: int
    kind: ItemKind
    text: str
    score: float


def extract(inputs: ExtractInputs) -> Extraction:
    """The items of a chunk in order of time, each verbatim.

    A chunk with any speech gives at least one item. Long chunks are condensed to their strongest sentences: 32 and one
    more for every ten; commands are all kept.
    """
    language = choose(inputs.language, (segment.text for segment in inputs.segments))
    found = sentences(inputs.segments, language)
    vectors = Vectors([sentence.words for sentence in found], language)
    centrality = vectors.centrality()
    findings = _distinct(_classified(found, language), vectors)
    findings = _strongest(findings, centrality, room=32 + len(found) // 10)
    findings += _facts(found, findings, centrality, language)
    findings.sort(key=lambda finding: finding.index)
    return Extraction(
        items=tuple(
            Item(id=f"I{number:03d}", kind=finding.kind, text=finding.text, evidence=found[finding.index].evidence)
            for number, finding in enumerate(findings, start=1)
        )
    )


def _classified(found: Sequence[Sentence], language: Language) -> list[Finding]:
    """Sentences with a kind. What a talk announces ("So what was the cause?") colours the sentences after it."""
    findings: list[Finding] = []
    announced: ItemKind | None = None
    reach = 0
    previous: ItemKind | None = None
    for index, sentence in enumerate(found):
        spans = commands.find(sentence.text, language)
        findings += [Finding(index, "command", sentence.text[span.start : span.end], MOST) for span in spans]
        if not spans and language.chatter.occur(sentence.words):
            previous = None
            continue
        if language.topics.occur(sentence.words):
            findings.append(Finding(index, "fact", sentence.text, MOST))
            continue
        if not spans and (announcement := _announcement(sentence, language)):
            announced, reach, previous = announcement, REACH, announcement
            continue
        scores = _scores(sentence, language)
        inherited = announced if reach else previous if _continues(sentence, language) else None
        kind = max(PRECEDENCE, key=lambda kind: scores[kind])
        # What a sentence says itself, in clear words, outweighs what was announced.
        if inherited is not None and (kind == inherited or scores[kind] < STRONG):
            scores[inherited] += INHERITED
            kind = max(PRECEDENCE, key=lambda kind: scores[kind])
        reach = reach - 1 if reach and (kind == announced or scores[kind] < STRONG) else 0
        # A sentence that is little more than its command is shown with it, unless it is a step of something.
        enough = STRONG if spans and kind != inherited else ENOUGH
        if scores[kind] >= enough and not sentence.asks:
            findings.append(Finding(index, kind, sentence.text, min(scores[kind], MOST)))
            previous = kind if kind != "symptom" else None  # "then" after a symptom tells what was done about it
            if kind == "cause" or _names(sentence, kind, language):
                announced, reach = kind, REACH - 1  # "The root cause was a cleaning job." What follows explains it.
        elif not spans:
            previous = None
    return findings


def _names(sentence: Sentence, kind: ItemKind, language: Language) -> bool:
    return any(match.value == kind for match in language.announcements.find(sentence.words))


def _announcement(sentence: Sentence, language: Language) -> ItemKind | None:
    """The kind that a short sentence, or a question, says will follow; None when it says more than that."""
    matches = list(language.announcements.find(sentence.words))
    if not matches:
        return None
    used = {position for match in matches for position in range(match.start, match.end)}
    rest = sum(word not in language.stopwords for position, word in enumerate(sentence.words) if position not in used)
    return matches[0].value if sentence.asks or (rest <= 1 and len(sentence.words) <= BRIEF) else None


def _scores(sentence: Sentence, language: Language) -> defaultdict[ItemKind, int]:
    """Points for each kind. A weak cue inside a strong one of the same kind adds nothing."""
    scores: defaultdict[ItemKind, int] = defaultdict(int)
    covered: defaultdict[ItemKind, set[int]] = defaultdict(set)
    for match in sorted(language.cues.find((START, *sentence.words)), key=lambda match: -abs(match.value[1])):
        kind, weight = match.value
        positions = set(range(match.start, match.end))
        if weight > 0 and positions <= covered[kind]:
            continue
        covered[kind] |= positions
        scores[kind] += weight
        if weight >= STRONG and match.start <= 1:
            scores[kind] += STRONG if kind in OPENING else 1
    if _ERROR.search(sentence.text):
        scores["symptom"] += STRONG
    if _SETTING.search(sentence.text):
        scores["configuration"] += ENOUGH
    return scores


def _continues(sentence: Sentence, language: Language) -> bool:
    return bool(sentence.words) and any(True for _ in language.continues.at(sentence.words, 0))


def _facts(
    found: Sequence[Sentence], findings: Sequence[Finding], centrality: Sequence[float], language: Language
) -> list[Finding]:
    """The most central sentences that have no kind: one in twelve, and more where a talk has little else."""
    taken = {finding.index for finding in findings}
    free = [
        index
        for index, sentence in enumerate(found)
        if index not in taken
        and len(sentence.words) >= 6
        and sum(word not in language.stopwords for word in sentence.words) >= 3
        and not sentence.asks
        and not language.chatter.occur(sentence.words)
        and _announcement(sentence, language) is None
    ]
    if not free and not findings:
        free = list(range(len(found)))
    free.sort(key=lambda index: (language.leans(found[index].words), -centrality[index], index))
    wanted = max(2, len(found) // 12, 5 + len(found) // 6 - len(findings))
    return [Finding(index, "fact", found[index].text, 0) for index in free[:wanted]]


def _strongest(findings: Sequence[Finding], centrality: Sequence[float], room: int) -> list[Finding]:
    """Every command, and the sentences with the highest scores; of equals, the most central."""
    kept = [finding for finding in findings if finding.kind == "command"]
    others = [finding for finding in findings if finding.kind != "command"]
    others.sort(key=lambda finding: (-finding.score - 2 * centrality[finding.index], finding.index))
    return kept + others[:room]


def _distinct(findings: Sequence[Finding], vectors: Vectors) -> list[Finding]:
    """Without what was said before in almost the same words."""
    kept: defaultdict[ItemKind, list[Finding]] = defaultdict(list)
    for finding in findings:
        others = kept[finding.kind]
        if finding.kind == "command":
            repeated = any(finding.text.casefold() == other.text.casefold() for other in others)
        else:
            repeated = any(vectors.similarity(finding.index, other.index) > SAME for other in others)
        if not repeated:
            others.append(finding)
    return [finding for same in kept.values() for finding in same]
