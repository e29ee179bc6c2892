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
#: Sentences after which it is forgotten, whoever spoke in between.
FADING = 5
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
#: Words beside its command from which a sentence also tells what came of it.
TELLING = 5
#: Content words from which a sentence may inherit a kind.
SAYING = 2
#: Centrality from which a sentence without a kind is worth a note.
CENTRAL = 0.3
#: Sentences of a short talk that are told in any case, as notes where nothing says what they are, up to two thirds.
NOTES = 40
#: What numbers and names of programs add to centrality.
EXACT = 0.5
#: Sentences of one kind that are this similar say the same.
SAME = 0.8

#: What programs say when they fail.
ERROR = re.compile(
    r"\b[A-Z]\w*(?:Error|Exception)\b|\bE[A-Z]{5,}\b"
    r"|\b[45]\d\ds\b|\b[45]\d\d [A-Z]\w+|\b(?:[Ee]rror|[Ss]tatus|HTTP|http|[Cc]ode|[Ee]rro|código)\s+[45]\d\d\b"
    r"|\b[45]\d\d\s+errors?\b"
)
_TECHNICAL = re.compile(r"\d|\w[_/=@]\w|\b[A-Z]{2,}\b|[a-z][A-Z]|\w\.\w")
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

    A chunk with any speech gives at least one item. Long chunks are condensed to their strongest sentences and all
    their commands.
    """
    language = choose(inputs.language, (segment.text for segment in inputs.segments))
    found = sentences(inputs.segments, language)
    vectors = Vectors([sentence.words for sentence in found], language)
    centrality = vectors.centrality()
    findings = _distinct(_classified(found, language), vectors)
    findings = _strongest(findings, centrality, room=_room(len(found)))
    findings += _facts(found, findings, centrality, language)
    findings.sort(key=lambda finding: finding.index)
    return Extraction(
        items=tuple(
            Item(id=f"I{number:03d}", kind=finding.kind, text=finding.text, evidence=found[finding.index].evidence)
            for number, finding in enumerate(findings, start=1)
        )
    )


def _room(sentences: int) -> int:
    """How many findings a talk is condensed to: half of a short one's sentences, a tenth of a long one's and 32."""
    return max(32 + sentences // 10, min(sentences // 2, 100))


def _classified(found: Sequence[Sentence], language: Language) -> list[Finding]:
    """Sentences with a kind. What a talk announces ("So what was the cause?") colours the sentences after it."""
    findings: list[Finding] = []
    announced: ItemKind | None = None
    reach = last = 0
    teller: str | None = None  # who announced it by telling it: another speaker only comments
    previous: ItemKind | None = None
    step: ItemKind = "diagnosis"  # what a command is for: to look, until a cause is known
    for index, sentence in enumerate(found):
        spans = commands.find(sentence.text, language)
        findings += [Finding(index, "command", sentence.text[span.start : span.end], MOST) for span in spans]
        if not spans and language.chatter.occur(sentence.words):
            previous, reach = None, 0
            continue
        if language.topics.occur(sentence.words):
            findings.append(Finding(index, "fact", sentence.text, MOST))
            continue
        if not spans and (announcement := _announcement(sentence, language)):
            announced, reach, previous, teller, last = announcement, REACH, announcement, None, index + FADING
            continue
        scores = _scores(sentence, language)
        if not spans and max(scores.values(), default=0) < STRONG and language.turns.occur(sentence.words):
            findings.append(Finding(index, "fact", sentence.text, MOST))  # "Let's move on to the backups."
            previous, reach = None, 0
            continue
        telling = bool(spans) and _beside(sentence, spans) >= TELLING
        if telling:
            scores[step] += INHERITED
        reach = reach if index <= last else 0
        inherited = announced if reach else previous if _continues(sentence, language) else None
        if _comments(sentence, teller, language):
            inherited = None
        kind = max(PRECEDENCE, key=lambda kind: scores[kind])
        # What a sentence says itself, in clear words, outweighs what was announced.
        if inherited is not None and (kind == inherited or scores[kind] < STRONG):
            scores[inherited] += INHERITED
            kind = max(PRECEDENCE, key=lambda kind: scores[kind])
        if not (sentence.asks or _comments(sentence, teller, language)):
            reach = reach - 1 if reach and (kind == announced or scores[kind] < STRONG) else 0
        # A sentence that is little more than its command is shown with it, unless it is a step of something.
        enough = STRONG if spans and kind != inherited and not telling else ENOUGH
        if scores[kind] >= enough and not sentence.asks:
            findings.append(Finding(index, kind, sentence.text, min(scores[kind], MOST)))
            previous = kind if kind != "symptom" else None  # "then" after a symptom tells what was done about it
            step = "solution" if kind in {"cause", "solution"} else "diagnosis" if kind == "symptom" else step
            if kind == "cause" or _names(sentence, kind, language):
                teller, last = sentence.segments[0].speaker, index + FADING
                announced, reach = kind, REACH - 1  # "The root cause was a cleaning job." What follows explains it.
        elif not spans:
            previous = None
    return findings


def _beside(sentence: Sentence, spans: Sequence[commands.Span]) -> int:
    """Words of a sentence beside its commands."""
    return len(sentence.text.split()) - sum(len(sentence.text[span.start : span.end].split()) for span in spans)


def _comments(sentence: Sentence, teller: str | None, language: Language) -> bool:
    """Whether a sentence says next to nothing, agrees, or is not by who tells: then it is not what was announced."""
    saying = sum(word not in language.stopwords for word in sentence.words)
    other = teller is not None and sentence.segments[0].speaker != teller
    return saying < SAYING or other or any(True for _ in language.agreement.at(sentence.words, 0))


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
    """Points for each kind. A cue that shares words with a stronger one of its kind adds nothing."""
    scores: defaultdict[ItemKind, int] = defaultdict(int)
    covered: defaultdict[ItemKind, set[int]] = defaultdict(set)
    for match in sorted(language.cues.find((START, *sentence.words)), key=lambda match: -abs(match.value[1])):
        kind, weight = match.value
        positions = set(range(match.start, match.end))
        if weight > 0 and positions & covered[kind]:
            continue
        covered[kind] |= positions
        scores[kind] += weight
        if weight >= STRONG and match.start <= 1:
            scores[kind] += STRONG if kind in OPENING else 1
    if ERROR.search(sentence.text):
        scores["symptom"] += STRONG
    if _SETTING.search(sentence.text):
        scores["configuration"] += ENOUGH
    return scores


def _continues(sentence: Sentence, language: Language) -> bool:
    return bool(sentence.words) and any(True for _ in language.continues.at(sentence.words, 0))


def _facts(
    found: Sequence[Sentence], findings: Sequence[Finding], centrality: Sequence[float], language: Language
) -> list[Finding]:
    """The most telling sentences that have no kind: at most one in twelve, and more where a talk has little else.

    People tell what went wrong in words that no list has; two thirds of a short talk are told whatever was recognised.
    """
    taken = {finding.index for finding in findings}
    free = [
        index
        for index, sentence in enumerate(found)
        if index not in taken
        and len(sentence.words) >= 6
        and sum(word not in language.stopwords for word in sentence.words) >= 3
        and not sentence.asks
        and not language.chatter.occur(sentence.words)
        and not any(True for _ in language.agreement.at(sentence.words, 0))
        and _announcement(sentence, language) is None
    ]
    if not free and not findings:
        free = list(range(len(found)))
    free.sort(key=lambda index: (language.leans(found[index].words), -centrality[index] - _exact(found[index]), index))
    wanted = max(5 + len(found) // 6, min(len(found) * 2 // 3, NOTES)) - len({finding.index for finding in findings})
    return [
        Finding(index, "fact", found[index].text, 0)
        for rank, index in enumerate(free[: max(wanted, len(found) // 12)])
        if rank < wanted or centrality[index] >= CENTRAL
    ]


def _exact(sentence: Sentence) -> float:
    """What numbers and names as programs write them add to the worth of a note."""
    return EXACT if _TECHNICAL.search(sentence.text) else 0.0


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
