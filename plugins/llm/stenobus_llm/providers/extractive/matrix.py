"""documents.map without a model: problems and what belongs to them, by order in time and shared words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from stenobus_contracts import Item, MapInputs, ProblemMatrix, ProblemRow

from .centrality import Vectors
from .extract import ERROR
from .language import choose, words

#: How much closer in words an earlier problem has to be before it wins over the one talked about.
CLEARLY = 0.15


@dataclass
class _Episode:
    """Symptoms told together, and what follows them."""

    symptoms: list[int]
    diagnosis: list[int] = field(default_factory=list)
    solution: list[int] = field(default_factory=list)
    prevention: list[int] = field(default_factory=list)

    @property
    def known(self) -> bool:
        """Whether more than symptoms was told."""
        return bool(self.diagnosis or self.explained)

    @property
    def explained(self) -> bool:
        return bool(self.solution or self.prevention)


def problem_matrix(inputs: MapInputs) -> ProblemMatrix:
    """One row per problem. Symptoms told one after the other are one problem; what mends it comes after it."""
    items = in_time(inputs.items)
    language = choose(inputs.language, (item.evidence.quote for item in items))
    vectors = Vectors([words(item.evidence.quote) for item in items], language)
    episodes: list[_Episode] = []
    waiting: list[int] = []
    turned = False  # whether somebody said that the next problem follows
    for index, item in enumerate(items):
        turned = turned or (bool(episodes) and language.turns.occur(words(item.evidence.quote)))
        if item.kind == "symptom":
            if (
                episodes
                and not (turned and episodes[-1].known)
                and (not episodes[-1].explained or _same(vectors, index, episodes[-1]))
            ):
                episodes[-1].symptoms.append(index)
            else:
                episodes.append(_Episode([index]))
            turned = False
        elif episodes:
            _assign(items, index, _episode(vectors, index, episodes))
        else:
            waiting.append(index)
    for index in waiting:  # said before the first symptom, as when the cause is told first
        if episodes:
            _assign(items, index, episodes[0])
    return ProblemMatrix(rows=tuple(_row(items, vectors, episode) for episode in episodes))


def in_time(items: Sequence[Item]) -> list[Item]:
    """Items in order of time; those without a time stay where they are among each other."""
    return sorted(items, key=lambda item: item.evidence.start if item.evidence.start is not None else 0.0)


def _same(vectors: Vectors, index: int, episode: _Episode) -> bool:
    """Whether a symptom, told after a remedy, is the problem that was just explained."""
    return max(vectors.similarity(index, other) for other in episode.symptoms) > 0.35


def _episode(vectors: Vectors, index: int, episodes: Sequence[_Episode]) -> _Episode:
    def closeness(episode: _Episode) -> float:
        return max(vectors.similarity(index, other) for other in (*episode.symptoms, *episode.diagnosis))

    current = episodes[-1]
    closest = max(episodes, key=closeness)
    return closest if closeness(closest) > closeness(current) + CLEARLY else current


def _assign(items: Sequence[Item], index: int, episode: _Episode) -> None:
    match items[index].kind:
        case "diagnosis" | "cause":
            episode.diagnosis.append(index)
        case "solution":
            episode.solution.append(index)
        case "command":
            # Before the cause is known, and beside a diagnosis, a command looks; afterwards it mends.
            known = any(items[other].kind == "cause" for other in episode.diagnosis) or episode.solution
            quote = items[index].evidence.quote
            looks = any(items[other].evidence.quote == quote for other in episode.diagnosis)
            (episode.solution if known and not looks else episode.diagnosis).append(index)
        case "prevention":
            episode.prevention.append(index)


def _row(items: Sequence[Item], vectors: Vectors, episode: _Episode) -> ProblemRow:
    """The row, named by the first symptoms' one with an error message or else with most words of the rest."""
    others = [*episode.symptoms, *episode.diagnosis, *episode.solution]
    # What was seen at first is the problem; symptoms told after the search began are what the search brought up.
    first = [index for index in episode.symptoms if index <= min(episode.diagnosis, default=index)]

    def telling(index: int) -> tuple[bool, float]:
        # What a program said is looked for by its words.
        said = ERROR.search(items[index].evidence.quote) is not None
        return said, sum(vectors.similarity(index, other) for other in others)

    def ids(indexes: list[int]) -> tuple[str, ...]:
        return tuple(items[index].id for index in sorted(indexes))

    return ProblemRow(
        problem=items[max(first or episode.symptoms[:1], key=telling)].id,
        diagnosis=ids(episode.diagnosis),
        solution=ids(episode.solution),
        prevention=ids(episode.prevention),
    )
