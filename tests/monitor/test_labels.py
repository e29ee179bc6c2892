"""Labels: what people say afterwards is kept, published, counted, and decides what may be automatic."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner, Result

from stenobus_bus import Bus, apply
from stenobus_contracts import Action, EvidenceLine, MonitorDiagnosed, MonitorIncident, MonitorLabelled, Verdict
from stenobus_core import CoreSettings
from stenobus_core.host import needs
from stenobus_monitor import plugin
from stenobus_monitor.actions.course import Course, stepped
from stenobus_monitor.diagnosis import Record
from stenobus_monitor.incidents import Entry
from stenobus_monitor.labels import Label
from stenobus_monitor.monitor_command import monitor
from stenobus_monitor.precision import Precision, Tally, tallies, trusted, wilson_lower
from stenobus_monitor.store import Store
from stenobus_testing import NatsServer
from stenobus_testing.servers import empty

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


def incident(name: str, kind: str = "container.crashed", component: str = "container:asr") -> MonitorIncident:
    return MonitorIncident(
        incident_id=name,
        fingerprint="f",
        kind=kind,
        severity="critical",
        title="asr crashed",
        component=component,
        evidence=(
            EvidenceLine(id="e1", source="asr", text="died with exit code 3", kind="event"),
            EvidenceLine(id="e2", source="asr", text="Traceback", kind="log"),
        ),
        started_at=NOW,
    )


@pytest.fixture
def known(
    nats_server: NatsServer, core_settings: CoreSettings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[NatsServer]:
    """Three incidents: one that a model explained, one that nobody did, one that nothing was proposed for."""

    async def prepare() -> None:
        async with await Bus.connect(nats_server.url) as bus:
            await empty(bus)
            await apply(bus, needs(core_settings, [plugin]))
            store = await Store.open(bus)
            for one in (incident("i1"), incident("i2"), incident("i3", "stream.full", "stream:ASR")):
                await store.put_incident(Entry(incident=one, status="open", latest_at=NOW))
            found = MonitorDiagnosed(
                incident_id="i1", cause="bad-configuration", confidence=0.8, method="model", evidence=("e2",)
            )
            await store.put_diagnosis("i1", Record(kind="container.crashed", revision=1, calls=1, found=found))

    asyncio.run(prepare())
    monkeypatch.setenv("STENOBUS_NATS_URL", nats_server.url)
    yield nats_server


def command(*arguments: str) -> Result:
    return CliRunner().invoke(monitor, arguments)


def shown(name: str) -> dict[str, object]:
    document: dict[str, object] = json.loads(command("show", name, "--json").output)
    return document


async def published(server: NatsServer) -> list[MonitorLabelled]:
    async with await Bus.connect(server.url) as bus:
        stream = await bus.js.stream_info("MONITOR")
        found = await bus.js.pull_subscribe("monitor.labelled", stream="MONITOR")
        messages = await found.fetch(stream.state.messages, timeout=5) if stream.state.messages else []
        return [MonitorLabelled.model_validate_json(message.data) for message in messages]


def test_a_diagnosis_is_labelled_shown_published_and_counted(known: NatsServer) -> None:
    before = command("show", "i1").output
    assert "a setting is wrong or missing (bad-configuration, 0.80, by model)" in before
    assert " *[e2]" in before and "  [e1]" in before and "label:" not in before

    said = command("label", "i1", "--right", "--by", "ops", "--note", "saw it myself")
    assert said.exit_code == 0, said.output
    assert said.output == "i1: the diagnosis bad-configuration is right, says ops (saw it myself)\n"
    assert said.output.partition(": ")[2] in command("show", "i1").output
    (event,) = asyncio.run(published(known))
    assert (event.kind, event.diagnosed, event.cause, event.right) == (
        "container.crashed", "bad-configuration", "bad-configuration", True,
    )  # fmt: skip
    (row,) = json.loads(command("precision", "--json").output)
    assert row == {
        "incident": "container.crashed", "cause": "bad-configuration", "right": 1, "wrong": 0,
        "lower": round(wilson_lower(1, 1), 3),
    }  # fmt: skip


def test_what_is_said_later_adds_to_it_or_corrects_it(known: NatsServer) -> None:
    assert command("label", "i1", "--cause", "program-error", "--by", "ops").exit_code == 0
    assert command("label", "i1", "--action", "unsafe", "--by", "dev").exit_code == 0
    label = shown("i1")["label"]
    assert isinstance(label, dict)
    assert (label["right"], label["cause"], label["actions"]) == (False, "program-error", {"restart": "unsafe"})
    assert command("label", "i1", "--action", "right", "--by", "dev").exit_code == 0
    rows = json.loads(command("precision", "--json").output)
    assert [(row.get("action"), row["right"], row["wrong"]) for row in rows] == [(None, 0, 1), ("restart", 1, 0)]
    assert "action restart" in command("precision").output


def test_before_anybody_explained_it_the_rules_conclusion_is_what_is_labelled(known: NatsServer) -> None:
    cause = shown("i2")["diagnosis"]
    assert isinstance(cause, dict) and cause["method"] == "rule"
    assert command("label", "i2", "--wrong").exit_code == 0
    label = shown("i2")["label"]
    assert isinstance(label, dict) and label["diagnosed"] == cause["cause"] and "cause" not in label


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["i1"], "Say what the cause was"),
        (["i1", "--cause", "the-moon"], "There is no cause the-moon"),
        (["i1", "--cause", "memory-leak", "--right"], "it cannot be that and memory-leak"),
        (["i1", "--cause", "bad-configuration", "--wrong"], "it cannot be that"),
        (["i3", "--action", "right"], "none is known of this incident"),
        (["i3", "--action", "right", "--on", "rm -rf /"], "on: String should match"),
        (["nobody", "--right"], "There is no incident nobody"),
    ],
)
def test_what_makes_no_sense_is_not_kept(known: NatsServer, arguments: list[str], why: str) -> None:
    refused = command("label", *arguments)
    assert refused.exit_code != 0 and why in " ".join(refused.output.split())
    assert json.loads(command("precision", "--json").output) == []


def test_an_action_of_another_kind_is_labelled_by_its_name(known: NatsServer) -> None:
    assert command("label", "i3", "--action", "wrong", "--on", "clean").exit_code == 0
    (row,) = json.loads(command("precision", "--json").output)
    assert (row["action"], row["incident"], row["wrong"], row["trusted"]) == ("clean", "stream.full", 1, False)


def test_what_was_done_is_shown_and_is_what_is_labelled(known: NatsServer) -> None:
    done = Course(
        action=Action(action_id="a1", incident_id="i3", kind="clean", target="asr"),
        incident_kind="stream.full",
        component="stream:ASR",
        level="approve",
        reason="it is full",
        dry_run="would remove 3 files",
        expires_at=NOW,
        outcome="succeeded",
        detail="removed 3 files",
        approved_by="ops",
        token="held-for-the-executor",
    )

    async def keep() -> None:
        async with await Bus.connect(known.url) as bus:
            await (await Store.open(bus)).change_course("a1", lambda _: stepped(done, "done"))

    asyncio.run(keep())
    text = command("show", "i3").output
    assert "action a1: clean asr: succeeded, approved by ops; removed 3 files" in text
    (action,) = json.loads(command("show", "i3", "--json").output)["actions"]
    assert action["outcome"] == "succeeded" and "held-for-the-executor" not in text + str(action)
    assert command("label", "i3", "--action", "right").exit_code == 0
    (row,) = json.loads(command("precision", "--json").output)
    assert (row["action"], row["right"]) == ("clean", 1)


# --- how much is enough ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("right", "total", "lower"),
    # Wilson's interval without continuity correction, from the formula's own paper and R's binom.wilson.
    [(0, 0, 0.0), (0, 10, 0.0), (1, 1, 0.2065), (8, 10, 0.4902), (10, 10, 0.7225), (35, 35, 0.9011), (81, 263, 0.2553)],
)
def test_the_lower_bound_is_wilsons(right: int, total: int, lower: float) -> None:
    assert wilson_lower(right, total) == pytest.approx(lower, abs=1e-4)


@pytest.mark.parametrize(
    ("action", "kind", "right", "wrong", "unsafe", "may"),
    [
        ("restart", "container.crashed", 0, 0, 0, True),  # the default
        ("restart", "container.crashed", 0, 1, 0, True),
        ("restart", "container.crashed", 0, 2, 0, False),  # two speak against it
        ("restart", "container.crashed", 20, 2, 0, False),
        ("restart", "container.crashed", 98, 2, 0, True),  # it has earned it
        ("restart", "container.crashed", 500, 1, 1, False),  # one was unsafe
        ("restart", "container.hung", 0, 0, 0, False),
        ("limits", "container.oom", 34, 0, 0, False),
        ("limits", "container.oom", 35, 0, 0, True),
        ("limits", "container.oom", 200, 1, 1, False),
    ],
)
def test_trust_is_earned_and_lost(action: str, kind: str, right: int, wrong: int, unsafe: int, may: bool) -> None:
    assert trusted(action, kind, Tally(right, wrong, unsafe), 0.9, 20) is may


def test_a_low_bar_still_takes_its_number_of_labels() -> None:
    assert not trusted("limits", "container.oom", Tally(19), 0.0, 20)
    assert trusted("limits", "container.oom", Tally(20), 0.0, 20)


async def test_a_label_counts_at_once() -> None:
    labels: list[Label] = []

    async def read() -> list[Label]:
        return labels

    def say(number: int, verdict: Verdict) -> Label:
        return Label(
            incident_id=f"i{number}", kind="container.crashed", diagnosed="unknown", actions={"restart": verdict},
            by="ops", at=NOW,
        )  # fmt: skip

    trust = Precision(read, 0.9, 20)
    assert await trust.allows("restart", "container.crashed")
    labels += [say(1, "wrong"), say(2, "wrong")]
    assert not await trust.allows("restart", "container.crashed")
    assert not tallies(labels).causes
