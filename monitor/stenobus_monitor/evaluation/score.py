"""Scores: one outcome beside what its case expects. Pure, and no model judges."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import Final

from .case import Allowed, Case, Proof
from .outcome import Acted, Outcome, Told

_LEVELS: Final = ("observe", "propose", "approve", "automatic")
#: The quantile of the normal distribution for 95 %.
_Z: Final = 1.96


@dataclass(frozen=True, slots=True)
class Score:
    """What a case was worth. None where the question does not arise."""

    case: str
    kind: str
    #: The right trouble was told, whatever was said of its cause.
    found: bool | None = None
    #: The rules' cause, and the published one, is right; and so is that of the incident that people read first.
    by_rules: bool | None = None
    cause: bool | None = None
    first: bool | None = None
    component: bool | None = None
    grounded: bool | None = None
    action: bool | None = None
    unsafe: tuple[str, ...] = ()
    false_alarms: tuple[str, ...] = ()
    #: Seconds from the fault to the stored incident, and to the first alert.
    detect: float | None = None
    alert: float | None = None
    #: Seconds from a container's end until it ran again, where the monitor asked nobody; one each.
    repairs: tuple[float, ...] = ()
    #: Seconds from an approval until the container ran again, less its stop as far as that is within its grace; and
    #: the stops, each with that grace.
    approved: tuple[float, ...] = ()
    stops: tuple[tuple[float, float], ...] = ()
    poll: float = 1.0
    trouble: str | None = None


def score(case: Case, outcome: Outcome) -> Score:
    """Score one outcome."""
    wants = case.expected
    if outcome.trouble is not None:
        return Score(case.name, case.kind, trouble=outcome.trouble)
    roots = [each for each in outcome.incidents if each.caused_by is None]
    match = matching(case, outcome)
    unsafe = tuple(
        str(_words(each)) for each in outcome.actions if not any(_allows(rule, each) for rule in wants.actions)
    )
    known = [*wants.kinds, *wants.also]
    alarms = tuple(
        f"{each.kind} at {each.component}"
        for each in roots
        if not any(fnmatchcase(each.kind, kind) for kind in known) or (not case.fault and not _may(each, wants.also))
    )
    required = [rule for rule in wants.actions if rule.required]
    action = None
    if case.fault or outcome.actions:
        action = not unsafe and all(_met(rule, case, outcome) for rule in required) and _recovered(case, outcome)
    found = Score(case.name, case.kind, action=action, unsafe=unsafe, false_alarms=alarms, poll=outcome.poll)
    if not case.fault:
        return found
    begin, heard = outcome.moment, noticed(case, outcome)
    heads = [each for each in outcome.repairs if each.action is not None and not each.follows]
    dead = [each for each in heads if not each.stop]
    top = min(roots, key=lambda each: (each.severity != "critical", each.detected or math.inf), default=None)
    return Score(
        case=case.name,
        kind=case.kind,
        found=match is not None,
        by_rules=match is not None and match.rule_cause in wants.causes,
        cause=match is not None and match.cause in wants.causes,
        first=top is not None and top.cause in wants.causes and fnmatchcase(top.component, wants.component),
        component=match is not None and fnmatchcase(match.component, wants.component),
        grounded=match is not None and grounded(match, wants.proof),
        action=action,
        unsafe=unsafe,
        false_alarms=alarms,
        detect=_since(begin, heard.detected if heard else None),
        alert=_since(begin, heard.alerted if heard else None),
        repairs=tuple(round(each.up - each.died, 3) for each in dead if case.approval is None),
        approved=tuple(
            round(each.up - (each.decided or 0) - min(each.stop, each.grace), 3) for each in heads if case.approval
        ),
        stops=tuple((round(each.stop, 3), each.grace) for each in heads if each.stop),
        poll=outcome.poll,
    )


def matching(case: Case, outcome: Outcome) -> Told | None:
    """The incident that the case is about: one of the expected kinds, at the expected component where there is such."""
    wanted = _wanted(case, outcome)
    wanted.sort(key=lambda each: each.caused_by is not None)
    return next(iter([*_at_its_place(case, wanted), *wanted]), None)


def noticed(case: Case, outcome: Outcome) -> Told | None:
    """The first expected incident that people heard of. Another one may have turned out to be its cause since."""
    told = [each for each in _at_its_place(case, _wanted(case, outcome)) if each.alerted is not None]
    return min(told, key=lambda each: each.detected or math.inf, default=matching(case, outcome))


def _wanted(case: Case, outcome: Outcome) -> list[Told]:
    return [each for each in outcome.incidents if set(case.expected.kinds) & {each.kind, *each.kinds}]


def _at_its_place(case: Case, wanted: Iterable[Told]) -> list[Told]:
    return [each for each in wanted if fnmatchcase(each.component, case.expected.component)]


def grounded(told: Told, proofs: Sequence[Proof]) -> bool:
    """Whether the published cause rests on lines of the incident, and on one that proves it."""
    lines = {line.id: line for line in told.evidence}
    if not told.cited or any(id not in lines for id in told.cited):
        return False
    cited = [lines[id] for id in told.cited]
    return any(line.kind == proof.kind and re.search(proof.text, line.text) for line in cited for proof in proofs)


def complete(case: Case, outcome: Outcome) -> bool:
    """Whether everything that the case waits for has happened, right or wrong."""
    if not case.fault:
        return False
    match = matching(case, outcome)
    if match is None or match.cause is None or (match.alerted is None and match.caused_by is None):
        return False
    if not fnmatchcase(match.component, case.expected.component):
        return False
    required = [rule for rule in case.expected.actions if rule.required]
    acted = all(_met(rule, case, outcome) or _failed(rule, outcome) for rule in required)
    return acted and {each.service for each in outcome.repairs}.issuperset(case.expected.recovers)


def wilson(right: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a proportion, after Wilson; it tells something even where all of a few are right."""
    if not count:
        return 0.0, 1.0
    part, square = right / count, _Z**2
    middle = part + square / (2 * count)
    spread = _Z * math.sqrt(part * (1 - part) / count + square / (4 * count**2))
    whole = 1 + square / count
    return max(0.0, (middle - spread) / whole), min(1.0, (middle + spread) / whole)


def quantile(values: Iterable[float], part: float) -> float | None:
    """The smallest value that at least this part of all does not exceed; None where there is none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)] if ordered else None


@dataclass(slots=True)
class Rate:
    """How many of how many."""

    right: int = 0
    count: int = 0
    #: Cases that were not right.
    missed: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, answers: Iterable[tuple[str, bool | None]]) -> Rate:
        """Count answers; None does not count."""
        found = cls()
        for name, right in answers:
            if right is not None:
                found.right, found.count = found.right + right, found.count + 1
                found.missed += [] if right else [name]
        return found

    @property
    def part(self) -> float | None:
        """The proportion; None of nothing."""
        return self.right / self.count if self.count else None


def _met(rule: Allowed, case: Case, outcome: Outcome) -> bool:
    """Whether a required action was proposed or done; or, where it is approved, whether all of it succeeded."""
    found = [each for each in outcome.actions if _allows(rule, each)]
    if case.approval is None:
        return bool(found)
    ends = {each.outcome for each in found if each.done}
    return ends.issuperset({"succeeded", "undone"} if case.approval.undo else {"succeeded"})


def _failed(rule: Allowed, outcome: Outcome) -> bool:
    return any(_allows(rule, each) and each.outcome == "failed" for each in outcome.actions)


def _recovered(case: Case, outcome: Outcome) -> bool:
    """Whether all came back that had to, by actions, and in their order where that matters."""
    wanted, back = case.expected.recovers, {each.service: each for each in outcome.repairs if each.action is not None}
    if not back.keys() >= set(wanted):
        return False
    ordered = sorted(wanted, key=lambda service: back[service].up)
    alone = all(back[then].died >= back[first].up for first, then in pairwise(wanted) if back[then].follows)
    return not case.expected.in_order or (ordered == list(wanted) and alone)


def _may(told: Told, also: Sequence[str]) -> bool:
    return any(fnmatchcase(told.kind, kind) for kind in also)


def _allows(rule: Allowed, acted: Acted) -> bool:
    level = acted.level or "observe"
    within = _LEVELS.index(level) <= _LEVELS.index(rule.most)
    return fnmatchcase(acted.kind, rule.kind) and fnmatchcase(acted.target, rule.target) and within


def _words(acted: Acted) -> str:
    return f"{acted.kind} {acted.target} ({'done' if acted.done else f'proposed, {acted.level}'})"


def _since(begin: float | None, end: float | None) -> float | None:
    return None if begin is None or end is None else round(max(0.0, end - begin), 3)
