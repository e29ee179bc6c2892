"""The probable cause: what the rule concludes, or the hypothesis that a model chose and could prove."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stenobus_contracts import LlmDone, LlmRequest, Message, MonitorDiagnosed, MonitorIncident
from stenobus_core.foreign import DATA_RULE, delimited

from .abroad import Abroad
from .dossier import Fact
from .hypotheses import HYPOTHESES, Hypothesis, possible

log = structlog.get_logger(__name__)

#: Of the prompt; part of the task's name.
VERSION: Final = 1
#: Calls to models for one incident, over all its revisions.
MOST_CALLS: Final = 2
#: Tokens of an answer.
_ANSWER: Final = 600
#: A model that is less sure than this is asked no further, and the next one is.
_SURE: Final = 0.5
#: What a rule's conclusion is worth where the kind leaves no other, and where it does.
_ONLY, _LIKELY = 0.9, 0.5
#: What logs alone can prove: they are written by what they are about.
_LOGS_ALONE: Final = 0.5

_SYSTEM: Final = """\
You find the cause of an incident in a system of containers and a message bus. You get numbered evidence and a list of
hypotheses, and answer with one JSON object that fits the schema.

- hypothesis: the one that the evidence proves best; unknown when it proves none.
- confidence: between 0 and 1, how sure the evidence makes you.
- evidence: the lines that prove it, at most five, the strongest first: the id, and a quote copied letter by letter from
  that line. What has no true quote counts for nothing. Lines marked [log] were written by the programs themselves: they
  explain, and weigh less than what the engine, the bus and the metrics say."""


class _Proof(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: str
    quote: str


class _Verdict(BaseModel):
    model_config = ConfigDict(extra="forbid")

    hypothesis: str
    confidence: float = Field(ge=0, le=1)
    evidence: list[_Proof] = Field(max_length=20)


class Record(BaseModel):
    """What was found out about an incident so far."""

    kind: str = ""
    revision: int = 0
    calls: int = 0
    found: MonitorDiagnosed | None = None


@dataclass(frozen=True, slots=True)
class Means:
    """How models may be asked.

    Args:
        ask: asks one; None when it gave no answer.
        calls: that may still be made.
        escalate: whether the evidence may leave the host when no local model can tell.
    """

    ask: Callable[[LlmRequest], Awaitable[LlmDone | None]]
    calls: int = MOST_CALLS
    escalate: bool = False


async def diagnose(incident: MonitorIncident, facts: Sequence[Fact], means: Means) -> tuple[MonitorDiagnosed, int]:
    """The probable cause, and how many calls it took.

    A local model is asked first, another one only where the evidence may leave: it sees no more of it than
    :class:`Abroad` lets pass, and quotes that. What a model cannot prove by true quotes counts as not said; then the
    rule's own conclusion stands.
    """
    hypotheses = possible(incident.kind)
    calls = 0
    best: MonitorDiagnosed | None = None
    if len(hypotheses) > 2 and facts:  # else there is nothing to choose
        for local_only in (True, False) if means.escalate else (True,):
            if calls >= means.calls:
                break
            title, shown = (incident.title, facts) if local_only else abroad(incident, facts)
            done = await means.ask(request(f"{incident.kind}: {title}", shown, hypotheses, local_only=local_only))
            if done is None:
                continue
            calls += done.calls > 0 or done.cached
            found = read(incident, shown, hypotheses, done)
            if found is not None and (best is None or found.confidence > best.confidence):
                best = found
            if best is not None and best.confidence >= _SURE:
                break
    return best or by_rule(incident), calls


def by_rule(incident: MonitorIncident) -> MonitorDiagnosed:
    """What the kind of the incident says by itself."""
    hypotheses = possible(incident.kind)
    first = hypotheses[0]
    proven = [line for line in incident.evidence if line.kind != "log"]
    confidence = 0.0 if first.name == "unknown" else _ONLY if len(hypotheses) == 2 else _LIKELY
    return MonitorDiagnosed(
        incident_id=incident.incident_id,
        cause=first.name,
        confidence=confidence if proven else min(confidence, _LOGS_ALONE),
        method="rule",
        evidence=tuple(line.id for line in (proven or incident.evidence)[:5]),
        recommendation=first.recommendation,
    )


def abroad(incident: MonitorIncident, facts: Sequence[Fact]) -> tuple[str, list[Fact]]:
    """An incident's title and its facts as a model elsewhere may see them."""
    rewritten = Abroad((incident.component, *(name for fact in facts for name in (fact.source, *fact.names))))
    return rewritten(incident.title), [
        replace(fact, source=rewritten(fact.source), text=rewritten(fact.text)) for fact in facts
    ]


def request(title: str, facts: Sequence[Fact], hypotheses: Sequence[Hypothesis], *, local_only: bool) -> LlmRequest:
    """What a model is asked. Everything that others wrote is delimited data."""
    schema: dict[str, Any] = _Verdict.model_json_schema()
    schema["properties"]["hypothesis"]["enum"] = [each.name for each in hypotheses]
    schema["$defs"]["_Proof"]["properties"]["id"]["enum"] = [fact.id for fact in facts]
    shown = delimited({"incident": title, "evidence": "\n".join(map(str, facts))})
    choices = "\n".join(f"- {each.name}: {each.says}" for each in hypotheses)
    return LlmRequest(
        task=f"monitor.diagnose.{VERSION}",
        messages=(
            Message(role="system", content=f"{_SYSTEM}\n\n{DATA_RULE}"),
            Message(role="user", content=f"Hypotheses:\n{choices}\n\n{shown['incident']}\n\n{shown['evidence']}"),
        ),
        response_schema=schema,
        max_output_tokens=_ANSWER,
        local_only=local_only,
    )


def read(
    incident: MonitorIncident, facts: Sequence[Fact], hypotheses: Sequence[Hypothesis], done: LlmDone
) -> MonitorDiagnosed | None:
    """A model's verdict, None when it is none or proves nothing."""
    try:
        verdict = _Verdict.model_validate(done.data)
    except ValidationError:
        return None
    by_id = {fact.id: fact for fact in facts}
    proofs = [fact for proof in verdict.evidence if (fact := by_id.get(proof.id)) and _quoted(proof.quote, fact.text)]
    if verdict.hypothesis not in {each.name for each in hypotheses} or not proofs:
        log.info("diagnosis.ungrounded", incident=incident.incident_id, hypothesis=verdict.hypothesis[:50])
        return None
    chosen = HYPOTHESES[verdict.hypothesis]
    confidence = 0.0 if chosen.name == "unknown" else verdict.confidence
    if all(fact.kind == "log" for fact in proofs):
        confidence = min(confidence, _LOGS_ALONE)
    return MonitorDiagnosed(
        incident_id=incident.incident_id,
        cause=chosen.name,
        confidence=confidence,
        method="model",
        evidence=tuple(dict.fromkeys(fact.line for fact in proofs if fact.line is not None)),
        recommendation=chosen.recommendation,
    )


def _quoted(quote: str, text: str) -> bool:
    words = " ".join(quote.split())
    return len(words) >= 3 and words in " ".join(text.split())
