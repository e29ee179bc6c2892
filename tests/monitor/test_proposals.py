"""Kinds choose actions, components choose targets, and the text of a log chooses nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stenobus_contracts import Level, MonitorIncident
from stenobus_monitor.actions.levels import LEVELS, allowed, wanted
from stenobus_monitor.alerts import alert_line
from stenobus_monitor.findings import line
from stenobus_monitor.proposals import actions

from .simulated import at, container


def incident(**more: object) -> MonitorIncident:
    fields = {
        "incident_id": "i1", "fingerprint": "f", "kind": "container.crashed", "severity": "critical",
        "title": "worker crashed", "component": "container:worker", "started_at": at(0),
        "evidence": (line("event", "container:worker", "died with exit code 1"),),
    }  # fmt: skip
    return MonitorIncident.model_validate({**fields, **more})


def test_a_crash_calls_for_a_restart_of_what_crashed_under_one_id_each_time() -> None:
    (first,), (again,) = actions(incident()), actions(incident(revision=2))
    assert (first.kind, first.target, first.parameters) == ("restart", "worker", {"because": "container.crashed"})
    assert first == again
    (second,) = actions(incident(occurrences=2))
    assert second.action_id != first.action_id


def test_want_of_memory_calls_for_more_of_it() -> None:
    (action,) = actions(incident(kind="container.oom"))
    assert (action.kind, action.target, action.parameters["memory"]) == ("limits", "worker", 1.5)


def test_a_disk_that_fills_up_calls_for_another_action_once_it_is_full() -> None:
    filling = incident(kind="disk.full", component="disk:/srv", severity="warning")
    (later,), (at_once,) = actions(filling), actions(filling.model_copy(update={"severity": "critical"}))
    assert "at_once" not in later.parameters and at_once.parameters["at_once"] is True
    assert later.action_id != at_once.action_id, "who approved the trash approved no removal"


@pytest.mark.parametrize(
    ("kind", "component", "wanted", "target"),
    [
        ("event.kills_worker", "event:asr/e/1", "quarantine", "asr/e/1"),
        ("handler.dead_letters", "handler:asr", "pause", "asr"),
        ("handler.letters_left", "handler:asr", "replay", "asr"),
        ("handler.held", "handler:asr", "resume", "asr"),
        ("run.orphaned", "run:talk", "replay", "talk"),
        ("disk.full", "disk:/var/lib", "clean", "/var/lib"),
        ("container.crash_loop", "container:asr-1", "rollback", "asr-1"),
    ],
)
def test_what_is_not_of_a_container_calls_for_remedies_on_the_bus(
    kind: str, component: str, wanted: str, target: str
) -> None:
    *_, action = actions(incident(kind=kind, component=component))
    assert (action.kind, action.target, action.parameters["because"]) == (wanted, target, kind)


@pytest.mark.parametrize(
    "more",
    [
        {"status": "resolved"},
        {"caused_by": "i0"},
        {"silenced": True},
        {"kind": "container.stopped"},  # an operator's stop holds
        {"kind": "log.errors"},
        {"component": "handler:asr"},
        {"evidence": (line("log", "container:worker", "ERROR: restart nats now"),)},
        {"evidence": ()},
    ],
    ids=str,
)
def test_what_calls_for_nothing(more: dict[str, object]) -> None:
    assert actions(incident(**more)) == []


@given(st.text(max_size=200))
def test_no_text_of_a_log_changes_an_action(text: str) -> None:
    proven = incident().evidence
    injected = (line("log", "container:worker", text or "x"), *proven, line("log", "container:worker", text))
    assert actions(incident(evidence=injected)) == actions(incident())


@given(
    st.sampled_from(LEVELS),
    st.sampled_from(["nats", "kb", "monitor"]),
    st.booleans(),
    st.booleans(),
)
def test_a_level_is_lowered_and_never_raised(level: Level, name: str, trusted: bool, able: bool) -> None:
    left = allowed(level, container(name), trusted=trusted, able=able)
    assert LEVELS.index(left) <= LEVELS.index(level)
    assert left != "automatic" or (trusted and able and name == "kb")
    assert able or LEVELS.index(left) <= LEVELS.index("propose")


@pytest.mark.parametrize(
    ("levels", "kind", "incident_kind", "labels", "level"),
    [
        ({}, "restart", "container.crashed", {"stenobus.plugin": "kb"}, "automatic"),
        ({}, "restart", "container.exited", {"stenobus.plugin": "kb"}, "automatic"),
        ({}, "restart", "container.crashed", {}, "observe"),
        ({}, "restart", "container.crash_loop", {"stenobus.plugin": "kb"}, "observe"),
        ({}, "restart", "container.unhealthy", {"stenobus.plugin": "kb"}, "observe"),
        ({}, "limits", "container.oom", {"stenobus.plugin": "kb"}, "observe"),
        ({"restart": "propose"}, "restart", "container.crashed", {"stenobus.plugin": "kb"}, "propose"),
        ({"limits": "approve"}, "restart", "container.crashed", {"stenobus.plugin": "kb"}, "automatic"),
        ({"clean": "automatic"}, "clean.full", "disk.full", {}, "approve"),
        ({"clean": "propose"}, "clean.full", "disk.full", {}, "propose"),
        ({"clean": "propose", "clean.full": "automatic"}, "clean.full", "disk.full", {}, "automatic"),
        ({}, "clean.full", "disk.full", {}, "observe"),
        ({"restart.plugin": "observe", "restart": "approve"}, "restart", "container.hung", {}, "approve"),
    ],
)
def test_levels_by_the_settings(
    levels: dict[str, Level], kind: str, incident_kind: str, labels: dict[str, str], level: Level
) -> None:
    assert wanted(levels, kind, incident_kind, container("worker", labels=labels)) == level


def test_an_alert_is_one_line_without_words_of_a_log() -> None:
    evidence = (line("log", "container:worker", "secret\nwords"), *incident().evidence)
    told = alert_line(incident(evidence=evidence, occurrences=2, affected=("container:api",)))
    expected = "CRITICAL i1 worker crashed ×2: died with exit code 1 [affects container:api]"
    assert told == expected
    assert alert_line(incident(status="resolved", resolved_at=at(7))) == "RESOLVED i1 worker crashed (after 7 s)"
