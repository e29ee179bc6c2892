"""One incident per cause, told once, with what follows from it, until it is over."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from stenobus_contracts import MonitorIncident
from stenobus_monitor.findings import Finding, Recovery, Trouble, line
from stenobus_monitor.graph import Flow, Graph
from stenobus_monitor.incidents import Entry, Incidents, Policy
from stenobus_monitor.silences import Silence

from .simulated import at, container

POLICY = Policy(group_wait=timedelta(seconds=1), settle=timedelta(seconds=30))


def trouble(seconds: float, name: str = "worker", **more: object) -> Trouble:
    fields = {"cause": "death", "kind": "container.crashed", "severity": "critical", "title": f"{name} crashed"}
    return Trouble(at=at(seconds), component=f"container:{name}", **{**fields, **more})  # type: ignore[arg-type]


def recovery(seconds: float, name: str = "worker") -> Recovery:
    return Recovery(at=at(seconds), cause="death", component=f"container:{name}")


class Told:
    """Incidents, and what was published of them."""

    def __init__(self, policy: Policy = POLICY, graph: Graph | None = None) -> None:
        self.silences: list[Silence] = []
        self.incidents = Incidents(graph or Graph(), policy, lambda: self.silences)
        self.published: list[MonitorIncident] = []

    def take(self, *findings: Finding) -> None:
        for finding in findings:
            self.incidents.take(finding)

    def at(self, seconds: float) -> list[MonitorIncident]:
        """What is published at a time."""
        due = [(entry, entry.incident) for entry in self.incidents.tick(at(seconds))]
        for entry, incident in due:
            self.incidents.settle(entry, incident.revision)
        self.published += [incident for _, incident in due]
        return [incident for _, incident in due]


@pytest.fixture
def told() -> Iterator[Told]:
    yield Told()


def test_an_incident_waits_for_what_belongs_to_it_and_is_told_once(told: Told) -> None:
    told.take(trouble(0))
    assert told.at(0.5) == []
    (incident,) = told.at(1)
    assert (incident.status, incident.revision, incident.occurrences) == ("open", 1, 1)
    assert told.at(2) == []


def test_more_of_the_same_is_the_same_incident_and_told_when_it_doubles(told: Told) -> None:
    told.take(trouble(0))
    told.at(1)
    for number in range(1, 8):
        told.take(trouble(10 * number))
        told.at(10 * number + 1)
    assert [incident.occurrences for incident in told.published] == [1, 2, 4, 8]
    assert len({incident.incident_id for incident in told.published}) == 1
    assert [incident.revision for incident in told.published] == [1, 2, 3, 4]


def test_a_more_precise_kind_is_a_revision_and_what_merely_goes_on_is_none(told: Told) -> None:
    told.take(trouble(0))
    told.at(1)
    told.take(trouble(5, again=False))
    assert told.at(6) == []
    told.take(trouble(7, kind="container.crash_loop"))
    assert told.at(8)[0].kind == "container.crash_loop"


def test_it_is_over_when_it_stayed_well_and_the_next_one_is_another(told: Told) -> None:
    told.take(trouble(0))
    told.at(1)
    told.take(recovery(10))
    assert told.at(39) == []
    (resolved,) = told.at(41)
    assert (resolved.status, resolved.resolved_at, resolved.revision) == ("resolved", at(10), 2)
    told.take(trouble(50))
    (again,) = told.at(52)
    assert again.incident_id != resolved.incident_id and again.fingerprint == resolved.fingerprint


def test_trouble_while_it_settles_keeps_it_open(told: Told) -> None:
    told.take(trouble(0))
    told.at(1)
    told.take(recovery(10), trouble(20))
    told.at(21)
    assert all(incident.status == "open" for incident in (*told.published, *told.at(60)))
    told.take(recovery(70))
    assert told.at(101)[0].status == "resolved"


def test_a_threshold_of_signs_must_be_reached_within_the_window() -> None:
    told = Told(Policy(timedelta(seconds=1), timedelta(seconds=30), {"container.crashed": 3}))
    told.take(trouble(0), trouble(10))
    assert told.at(100) == []
    assert told.at(700) == [] and told.incidents.entries == {}  # forgotten
    told.take(trouble(800), trouble(810), trouble(820))
    assert told.at(822)[0].occurrences == 3


def test_what_follows_from_something_else_says_so_whichever_is_seen_first() -> None:
    graph = Graph()
    graph.see(container("db", labels={"com.docker.compose.service": "db", "com.docker.compose.project": "p"}))
    for name in ("api", "late"):
        needs = "db:service_healthy:false"
        labels = {"com.docker.compose.project": "p", "com.docker.compose.depends_on": needs}
        graph.see(container(name, labels=labels))
    told = Told(graph=graph)
    told.take(trouble(0, "api"))
    (first,) = told.at(1)
    assert first.caused_by is None
    told.take(trouble(5, "db"), trouble(5.5, "late"))
    told.at(7)
    latest = {incident.component: incident for incident in told.published}
    root = latest["container:db"]
    assert root.caused_by is None
    assert {latest["container:api"].caused_by, latest["container:late"].caused_by} == {root.incident_id}
    assert set(root.affected) == {"container:api", "container:late"}
    assert latest["container:api"].revision == 2


def test_what_began_long_before_does_not_follow_and_neither_does_what_comes_when_it_is_well_again() -> None:
    graph = Graph()
    graph.see(container("db"))
    graph.see(container("api", labels={"stenobus.needs": "db"}))
    graph.see(container("web", labels={"stenobus.needs": "db"}))
    told = Told(graph=graph)
    told.take(trouble(0, "api"))
    told.at(1)
    told.take(trouble(200, "db"))
    told.at(202)
    told.take(recovery(210, "db"), trouble(215, "web"))
    told.at(217)
    assert all(incident.caused_by is None for incident in told.published)


def test_a_cause_of_its_own_follows_from_nothing() -> None:
    graph = Graph()
    graph.see(container("db"))
    graph.see(container("api", labels={"stenobus.needs": "db"}))
    told = Told(graph=graph)
    told.take(trouble(0, "db"), trouble(0, "api", symptom=False))
    assert all(incident.caused_by is None for incident in told.at(2))


def test_whoever_fills_a_log_hides_nothing_that_others_suffer_from() -> None:
    graph = Graph()
    graph.see(container("db"))
    graph.see(container("api", labels={"stenobus.needs": "db"}))
    said = trouble(0, "db", kind="log.errors", cause="log", evidence=(line("log", "container:db", "ERROR it is me"),))
    told = Told(graph=graph)
    told.take(said, trouble(0, "api"))
    assert all(incident.caused_by is None for incident in told.at(2))
    late = Told(graph=graph)
    late.take(trouble(0, "api"))
    late.at(2)
    late.take(said)
    late.at(4)
    assert all(incident.caused_by is None for incident in late.published)


def test_silence_is_recorded_and_ends_with_its_time(told: Told) -> None:
    told.silences.append(Silence(id="s", kind="container.*", component="*:wor*", until=at(100), by="ops"))
    told.take(trouble(0), trouble(0, "other"))
    assert {incident.component: incident.silenced for incident in told.at(2)} == {
        "container:worker": True,
        "container:other": False,
    }
    told.take(recovery(10))
    told.at(50)
    told.take(trouble(200))
    assert not told.at(202)[0].silenced


def test_what_was_open_goes_on_after_a_restart_and_what_was_not_told_is_told() -> None:
    before = Told()
    before.take(trouble(0))
    before.at(1)
    before.take(trouble(2, "untold"))
    before.incidents.tick(at(4))
    kept = [entry.model_dump_json(exclude_none=True) for entry in before.incidents.entries.values()]
    after = Told()
    after.incidents.restore(Entry.model_validate_json(text) for text in kept)
    assert [incident.component for incident in after.at(5)] == ["container:untold"]
    after.take(recovery(10))
    assert after.at(41)[0].incident_id == before.published[0].incident_id


def test_what_is_over_is_not_taken_up_by_a_restart() -> None:
    before = Told()
    before.take(trouble(0))
    before.at(1)
    before.take(recovery(10))
    (entry,) = before.incidents.entries.values()
    (resolved,) = before.at(50)
    after = Told()
    after.incidents.restore([Entry.model_validate_json(entry.model_dump_json())])
    after.take(trouble(100))
    (again,) = after.at(102)
    assert again.incident_id != resolved.incident_id and again.occurrences == 1


def test_evidence_is_bounded_and_each_line_is_there_once(told: Told) -> None:
    for number in range(100):
        evidence = (line("log", "container:worker", f"line {number}"), line("event", "container:worker", "the same"))
        told.take(trouble(number / 100, evidence=evidence))
    (incident,) = told.at(10)
    texts = [each.text for each in incident.evidence]
    assert len(texts) == 40 == len(set(texts))
    assert texts[:2] == ["line 0", "the same"] and texts[-1] == "line 99"


def test_a_flood_is_bounded(told: Told) -> None:
    told.take(*(trouble(0, f"c{number}") for number in range(2000)))
    assert len(told.incidents.entries) == 500


def test_the_graph_knows_networks_plugins_and_the_bus() -> None:
    graph = Graph()
    graph.see(container("p-nats-1", labels={"com.docker.compose.service": "nats"}))
    graph.see(container("vpn"))
    graph.see(container("asr-1", network_of="id-vpn", labels={"stenobus.plugin": "asr, llm"}))
    graph.handler("asr-file", "asr")
    assert graph.shares_network("vpn") == ["asr-1"]
    assert graph.needs("handler:asr-file") == {"container:asr-1", "container:vpn", "container:p-nats-1"}
    assert graph.dependants("container:vpn") == ["container:asr-1"]
    assert graph.host_of("handler:asr-file") == "container:asr-1"
    graph.forget("vpn")
    assert graph.needs("container:asr-1") == {"container:p-nats-1"}


def test_a_run_needs_the_stages_between_and_a_stage_whom_it_asks() -> None:
    graph = Graph()
    for name, hears, says, asks in [
        ("clean", "asr.done", "doc.cleaned", ""),
        ("write", "doc.cleaned", "doc.ready", "llm.request"),
        ("llm", "llm.request", "llm.done", ""),
        ("kb", "doc.ready", "kb.synced", ""),
        ("other", "media.uploaded", "ocr.done", ""),
    ]:
        graph.declare(name, Flow(name, frozenset({hears}), frozenset({says}), frozenset({asks} - {""})))
    graph.follows("asr.done", "doc.ready")
    assert graph.needs("handler:write") == {"handler:llm"}
    assert graph.needs("run:r1") == {"handler:clean", "handler:write", "handler:llm"}
    told = Told(graph=graph)
    model = Trouble(
        at=at(0), cause="slow", component="handler:llm", kind="stage.slow", severity="warning", title="llm is slow"
    )
    orphan = Trouble(
        at=at(1), cause="orphan", component="run:r1", kind="run.orphaned", severity="warning", title="r1 is lost"
    )
    told.take(model, orphan)
    found = {incident.component: incident for incident in told.at(5)}
    assert found["run:r1"].caused_by == found["handler:llm"].incident_id


def test_a_circle_of_needs_ends() -> None:
    graph = Graph()
    graph.see(container("a", labels={"stenobus.needs": "b"}))
    graph.see(container("b", labels={"stenobus.needs": "a"}))
    assert graph.needs("container:a") == {"container:b"}
