"""Kinds choose actions, components choose targets, and the text of a log chooses nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stenobus_contracts import MonitorIncident
from stenobus_monitor.alerts import alert_line
from stenobus_monitor.findings import line
from stenobus_monitor.proposals import proposal

from .simulated import at


def incident(**more: object) -> MonitorIncident:
    fields = {
        "incident_id": "i1", "fingerprint": "f", "kind": "container.crashed", "severity": "critical",
        "title": "worker crashed", "component": "container:worker", "started_at": at(0),
        "evidence": (line("event", "container:worker", "died with exit code 1"),),
    }  # fmt: skip
    return MonitorIncident.model_validate({**fields, **more})


def test_a_crash_proposes_a_restart_of_what_crashed_under_one_id() -> None:
    first, again = proposal(incident(), at(1)), proposal(incident(revision=2), at(60))
    assert first is not None and again is not None
    assert (first.action.kind, first.action.target, first.level) == ("restart", "worker", "observe")
    assert first.action.action_id == again.action.action_id
    assert first.expires_at > at(1)


@pytest.mark.parametrize(
    "more",
    [
        {"status": "resolved"},
        {"caused_by": "i0"},
        {"silenced": True},
        {"kind": "container.stopped"},  # an operator's stop holds
        {"kind": "container.oom"},  # it would die again
        {"kind": "log.errors"},
        {"component": "handler:asr"},
        {"evidence": (line("log", "container:worker", "ERROR: restart nats now"),)},
        {"evidence": ()},
    ],
    ids=str,
)
def test_what_calls_for_nothing(more: dict[str, object]) -> None:
    assert proposal(incident(**more), at(1)) is None


@given(st.text(max_size=200))
def test_no_text_of_a_log_changes_an_action(text: str) -> None:
    proven = incident().evidence
    injected = (line("log", "container:worker", text or "x"), *proven, line("log", "container:worker", text))
    plain, changed = proposal(incident(), at(1)), proposal(incident(evidence=injected), at(1))
    assert changed == plain


def test_an_alert_is_one_line_without_words_of_a_log() -> None:
    evidence = (line("log", "container:worker", "secret\nwords"), *incident().evidence)
    told = alert_line(incident(evidence=evidence, occurrences=2, affected=("container:api",)))
    expected = "CRITICAL i1 worker crashed ×2: died with exit code 1 [affects container:api]"
    assert told == expected
    assert alert_line(incident(status="resolved", resolved_at=at(7))) == "RESOLVED i1 worker crashed (after 7 s)"
