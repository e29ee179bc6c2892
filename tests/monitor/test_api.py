"""The monitor over HTTP: what it answers, to whom, and what a link may do."""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from click.testing import CliRunner
from fastapi import FastAPI
from structlog.testing import capture_logs

from stenobus_bus import Access, AccessDenied, Bus, apply
from stenobus_bus.history import read
from stenobus_contracts import Action, Event, EvidenceLine, MonitorActionApproved, MonitorIncident, MonitorLabelled
from stenobus_core import CoreSettings
from stenobus_core.access import ADMIN, client_permissions
from stenobus_core.cli import cli
from stenobus_core.host import needs
from stenobus_core.http.guard import LONGEST_BODY
from stenobus_core.users import Users
from stenobus_executor.approval import ApprovalRefused, check
from stenobus_executor.rules import Rules
from stenobus_monitor import plugin
from stenobus_monitor.actions.approvals import Approvals
from stenobus_monitor.actions.course import Course, stepped
from stenobus_monitor.api import confirmations
from stenobus_monitor.api.app import create
from stenobus_monitor.api.confirmations import HOLDS, Confirmations
from stenobus_monitor.api.keys import Keys, Scope
from stenobus_monitor.incidents import Entry
from stenobus_monitor.store import Store
from stenobus_testing import NatsServer, Stage, eventually
from stenobus_testing.servers import empty

from ..support.executor import executing
from ..support.servers import nats_server as secured_server

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
TOKEN = "v1.1999999999." + "ab" * 32
EVERYTHING: tuple[Scope, ...] = ("read", "label", "silence", "approve")


def incident(number: int, kind: str = "container.crashed", **changes: Any) -> MonitorIncident:
    fields: dict[str, Any] = {
        "incident_id": f"i{number}",
        "fingerprint": f"f{number}",
        "kind": kind,
        "severity": "critical",
        "title": "asr crashed",
        "component": "container:asr",
        "evidence": (EvidenceLine(id="e1", source="asr", text="died with exit code 3", kind="event"),),
        "started_at": NOW + timedelta(minutes=number),
    }
    return MonitorIncident(**(fields | changes))


def course(name: str = "a1", **changes: Any) -> Course:
    fields: dict[str, Any] = {
        "action": Action(action_id=name, incident_id="i1", kind="restart", target="asr"),
        "incident_kind": "container.crashed",
        "component": "container:asr",
        "level": "approve",
        "reason": "asr crashed; <script>alert(1)</script>",
        "dry_run": "would restart the container asr",
        "expires_at": datetime.now(UTC) + timedelta(hours=1),
        "token": "held-for-the-executor",
    }
    return stepped(Course(**(fields | changes)), changes.get("stage", "proposed"))


async def fill(bus: Bus) -> None:
    store = await Store.open(bus)
    over = {"status": "resolved", "resolved_at": NOW + timedelta(hours=1)}
    for one in (
        incident(1),
        incident(2, "stream.full", component="stream:ASR", severity="warning"),
        incident(3, **over),
    ):
        await store.put_incident(Entry(incident=one, status=one.status, latest_at=NOW))
    await store.put_incident(Entry(incident=incident(4), status="waiting", latest_at=NOW))
    for made in (
        course(),
        course("a2", stage="done", outcome="succeeded", detail="it runs again"),
        course("a5", stage="done", outcome="succeeded", detail="it runs again", undoable=False),
        course("a3", level="observe"),
        course("a4", expires_at=NOW),
    ):
        await store.change_course(made.action.action_id, lambda _, made=made: made)  # type: ignore[misc]


@pytest.fixture
async def bus(nats_server: NatsServer, core_settings: CoreSettings) -> AsyncIterator[Bus]:
    async with await Bus.connect(nats_server.url) as opened:
        await empty(opened)
        await apply(opened, needs(core_settings, [plugin]))
        await fill(opened)
        yield opened


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys.json")


@pytest.fixture
async def app(bus: Bus, nats_server: NatsServer, core_settings: CoreSettings, keys: Keys) -> AsyncIterator[FastAPI]:
    made = create(core_settings.model_copy(update={"nats_url": nats_server.url}), keys, Approvals(None))
    async with made.router.lifespan_context(made):
        yield made


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://monitor") as opened:
        yield opened


def key(keys: Keys, *scopes: Scope, per_minute: int = 1000) -> dict[str, str]:
    return {"Authorization": f"Bearer {keys.add('ops', scopes or EVERYTHING, per_minute)}"}


async def published(bus: Bus, contract: type[Event]) -> list[Any]:
    stored = read(bus, "MONITOR", contract.subject)
    return [contract.model_validate_json(message.data) async for message in stored]


def problem(answer: httpx2.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return str(answer.json()["detail"])


# --- incidents -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "found"),
    [
        ({}, ["i2", "i1"]),
        ({"status": "all"}, ["i3", "i2", "i1"]),
        ({"status": "resolved"}, ["i3"]),
        ({"kind": "stream.*"}, ["i2"]),
        ({"component": "container:*"}, ["i1"]),
        ({"severity": "warning"}, ["i2"]),
        ({"since": "2026-05-04T12:02:00Z", "status": "all"}, ["i3", "i2"]),
    ],
)
async def test_incidents_are_listed_the_latest_first(
    client: httpx2.AsyncClient, keys: Keys, parameters: dict[str, str], found: list[str]
) -> None:
    answer = await client.get("/v1/incidents", params=parameters, headers=key(keys, "read"))
    assert [each["incident_id"] for each in answer.json()["incidents"]] == found and answer.json()["next"] is None


async def test_pages_of_incidents_and_actions_follow_each_other(client: httpx2.AsyncClient, keys: Keys) -> None:
    headers = key(keys, "read")
    for address, field, name in (
        ("/v1/incidents?status=all", "incidents", lambda each: each["incident_id"]),
        ("/v1/actions?stage=all", "actions", lambda each: each["action"]["action_id"]),
    ):
        seen, after = [], ""
        while after is not None:
            page = (await client.get(f"{address}&limit=1{after and f'&after={after}'}", headers=headers)).json()
            seen += [name(each) for each in page[field]]
            after = page["next"]
        whole = (await client.get(address, headers=headers)).json()
        assert seen == [name(each) for each in whole[field]] and len(set(seen)) == len(seen) >= 3


async def test_an_incident_is_shown_with_all_that_belongs_to_it_and_no_token(
    client: httpx2.AsyncClient, keys: Keys
) -> None:
    answer = await client.get("/v1/incidents/i1", headers=key(keys, "read"))
    shown = answer.json()
    assert shown["incident"]["evidence"][0]["text"] == "died with exit code 3"
    assert shown["diagnosis"]["method"] == "rule" and shown["label"] is None
    assert {each["action"]["action_id"] for each in shown["actions"]} == {"a1", "a2", "a3", "a4", "a5"}
    assert "held-for-the-executor" not in answer.text
    one = await client.get("/v1/actions/a2", headers=key(keys, "read"))
    assert (one.json()["outcome"], one.json()["detail"]) == ("succeeded", "it runs again")
    assert "held-for-the-executor" not in one.text
    for address in ("/v1/incidents/nobody", "/v1/actions/nobody"):
        assert "There is no" in problem(await client.get(address, headers=key(keys)), 404)
    for name in ("a.b", "*", "a>", "x" * 65):
        problem(await client.get(f"/v1/incidents/{name}", headers=key(keys)), 422)


async def test_a_label_is_kept_and_published_under_the_keys_name(
    client: httpx2.AsyncClient, keys: Keys, bus: Bus
) -> None:
    headers = key(keys, "label")
    answer = await client.post("/v1/incidents/i1/label", json={"right": True, "action": "right"}, headers=headers)
    assert answer.status_code == 200 and answer.json()["by"] == "ops"
    (event,) = await published(bus, MonitorLabelled)
    assert (event.incident_id, event.right, event.actions, event.by) == ("i1", True, {"restart": "right"}, "ops")
    kept = await (await Store.open(bus)).label("i1")
    assert kept is not None and kept.actions == {"restart": "right"}
    for said, why in (({}, "Say what"), ({"cause": "the-moon"}, "There is no cause"), ({"by": "root"}, "Extra inputs")):
        assert why in problem(await client.post("/v1/incidents/i1/label", json=said, headers=headers), 422)


# --- silences and holds ----------------------------------------------------------------------------------------------


async def test_silences_and_holds_are_asked_for_listed_and_ended(client: httpx2.AsyncClient, keys: Keys) -> None:
    headers = key(keys)
    for what, wanted in (
        ("silences", {"seconds": 60, "kind": "container.*"}),
        ("holds", {"component": "container:asr"}),
    ):
        made = await client.post(f"/v1/{what}", json=wanted, headers=headers)
        assert made.status_code == 201 and made.json()["by"] == "ops"
        (held,) = (await client.get(f"/v1/{what}", headers=headers)).json()[what]
        assert held["id"] == made.json()["id"] and wanted.items() - {("seconds", 60)} <= held.items()
        assert (await client.delete(f"/v1/{what}/{held['id']}", headers=headers)).status_code == 204
        assert (await client.get(f"/v1/{what}", headers=headers)).json()[what] == []
        problem(await client.delete(f"/v1/{what}/{held['id']}", headers=headers), 404)
    problem(await client.post("/v1/silences", json={"seconds": 91 * 86_400}, headers=headers), 422)


# --- who may ---------------------------------------------------------------------------------------------------------

ROUTES: list[tuple[str, str, Scope]] = [
    ("GET", "/v1/incidents", "read"),
    ("GET", "/v1/incidents/i1", "read"),
    ("POST", "/v1/incidents/i1/label", "label"),
    ("GET", "/v1/silences", "read"),
    ("POST", "/v1/silences", "silence"),
    ("DELETE", "/v1/silences/x", "silence"),
    ("GET", "/v1/holds", "read"),
    ("POST", "/v1/holds", "silence"),
    ("DELETE", "/v1/holds/x", "approve"),
    ("GET", "/v1/actions", "read"),
    ("GET", "/v1/actions/a1", "read"),
    ("POST", "/v1/actions/a1/approve", "approve"),
    ("GET", "/metrics", "read"),
]


@pytest.mark.parametrize(("method", "address", "scope"), ROUTES)
async def test_every_route_takes_a_key_with_its_scope(
    client: httpx2.AsyncClient, keys: Keys, method: str, address: str, scope: Scope
) -> None:
    for headers in ({}, {"X-API-Key": "stk_x_y"}, {"Authorization": "Basic eA=="}):
        assert "valid API key" in problem(await client.request(method, address, headers=headers), 401)
    others = [each for each in EVERYTHING if each != scope]
    bodies = {"label": {"right": True}, "silences": {"seconds": 60}, "holds": {"component": "*"}, "approve": {}}
    body = {"json": bodies[address.rpartition("/")[2]]} if method == "POST" else {}
    assert f"no right to {scope}" in problem(
        await client.request(method, address, headers=key(keys, *others), **body), 403
    )
    assert (await client.request(method, address, headers=key(keys, scope), **body)).status_code not in {401, 403}


def test_every_route_that_is_described_is_in_that_list(core_settings: CoreSettings, keys: Keys) -> None:
    paths = create(core_settings, keys, Approvals(None)).openapi()["paths"]
    described = {(method.upper(), re.sub(r"{[a-z_]+}", "{}", path)) for path in paths for method in paths[path]}
    asked = {(method, re.sub(r"/(i1|a1|x)\b", "/{}", address)) for method, address, _ in ROUTES}
    assert described | {("GET", "/metrics")} == asked | {("GET", "/v1/actions/{}/approve")}


async def test_who_comes_too_often_hears_when_to_come_back(client: httpx2.AsyncClient, keys: Keys) -> None:
    headers = key(keys, "read", per_minute=2)
    answers = [await client.get("/v1/silences", headers=headers) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429] and answers[-1].headers["retry-after"]


# --- approvals -------------------------------------------------------------------------------------------------------

LINK = "/v1/actions/a1/approve"


@pytest.fixture
def approvals(app: FastAPI, tmp_path: Path) -> Approvals:
    """With their key, which the interface has then as well."""
    (tmp_path / "approval.key").write_bytes(b"k" * 32)
    app.state.approvals = Approvals(tmp_path / "approval.key")
    return Approvals(tmp_path / "approval.key")


def pressed(page: httpx2.Response) -> tuple[httpx2.URL, dict[str, str]]:
    """Where the one form of a page goes, and what it sends by itself."""
    (address,) = re.findall(r'<form method="post" action="([^"]+)"', page.text)
    hidden = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]+)"', page.text)
    return page.url.join(address), dict(hidden)


async def show(client: httpx2.AsyncClient, said: str, address: str = LINK) -> httpx2.Response:
    """Open a link and show a key."""
    where, hidden = pressed(await client.get(address))
    assert hidden == {}
    return await client.post(where, data={"key": said})


async def test_opening_a_link_tells_nothing_and_approves_nothing(client: httpx2.AsyncClient, bus: Bus) -> None:
    answer = await client.get(LINK)
    assert answer.status_code == 200 and "text/html" in answer.headers["content-type"]
    assert 'type="password"' in answer.text and "asr" not in answer.text
    assert answer.text == (await client.get("/v1/actions/nobody/approve")).text  # nor what there is
    assert "script" not in answer.text and "set-cookie" not in answer.headers
    policy = answer.headers["content-security-policy"]
    assert "form-action 'self'" in policy and "frame-ancestors 'none'" in policy and "default-src 'none'" in policy
    assert answer.headers["referrer-policy"] == "no-referrer" and answer.headers["cache-control"] == "no-store"
    assert (await client.head(LINK)).status_code == 405
    assert await published(bus, MonitorActionApproved) == []


async def test_a_key_shows_the_action_and_the_button_approves_once(
    client: httpx2.AsyncClient, keys: Keys, bus: Bus, approvals: Approvals
) -> None:
    said = keys.add("ops", ("approve",), 1000)
    with capture_logs() as logs:
        page = await show(client, said)
        assert page.status_code == 200 and "Approve as ops" in page.text
        assert "restart: asr" in page.text and "would restart the container asr" in page.text
        assert "<script" not in page.text and "&lt;script&gt;" in page.text
        assert said not in page.text and "set-cookie" not in page.headers
        assert await published(bus, MonitorActionApproved) == []
        where, hidden = pressed(page)
        for _ in range(2):
            answer = await client.post(where, data=hidden)
            assert answer.status_code == 202 and "on its way" in answer.text
    (event,) = await published(bus, MonitorActionApproved)
    assert (event.action_id, event.approved_by, event.undo) == ("a1", "ops", False)
    await approvals.check(course().action, event.token)  # raises where it does not hold
    assert len(logs) == 4 and not any(word in str(logs) for word in (said, hidden["confirmation"], event.token))
    assert [entry["caller"] for entry in logs] == ["link", "ops", "ops", "ops"]


async def test_what_was_done_is_taken_back_by_its_own_button(
    client: httpx2.AsyncClient, keys: Keys, bus: Bus, approvals: Approvals, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, address = keys.add("ops", ("approve",), 1000), "/v1/actions/a2/approve"
    page = await show(client, said, address)
    assert "It succeeded: it runs again. It can be taken back" in page.text and "Take it back as ops" in page.text
    # A button to approve that was on a page before it was done takes nothing back.
    early = {"confirmation": Confirmations(b"k" * 32).give(said.split("_")[1], "a2")}
    answer = await client.post(f"{address}/page", data=early)
    assert answer.status_code == 409 and "is succeeded already" in answer.text
    where, hidden = pressed(page)
    for minutes in (15, 14):  # pressed twice, with another token each time
        monkeypatch.setattr("stenobus_monitor.actions.approvals._SOON", timedelta(minutes=minutes))
        assert (await client.post(where, data=hidden)).status_code == 202
    (event,) = await published(bus, MonitorActionApproved)
    assert (event.action_id, event.approved_by, event.undo) == ("a2", "ops", True)
    await approvals.check(course("a2").action, event.token, undo=True)
    # Nor is what takes one back good for another.
    wrong = await client.post("/v1/actions/a1/approve/page", data=hidden)
    assert wrong.status_code == 401


async def test_whoever_may_not_approve_sees_nothing(
    client: httpx2.AsyncClient, keys: Keys, bus: Bus, approvals: Approvals
) -> None:
    revoked = keys.add("gone", EVERYTHING, 1000)
    keys.revoke(revoked.split("_")[1])
    for said, status, why in (
        ("", 401, "no valid key"),
        ("stk_x_y", 401, "no valid key"),
        (revoked, 401, "no valid key"),
        (keys.add("portal", ("read", "label", "silence"), 1000), 403, "portal has no right to approve"),
    ):
        page = await show(client, said)
        assert page.status_code == status and why in page.text and "asr" not in page.text
        assert pressed(page)[1] == {}  # asks for another one
    assert await published(bus, MonitorActionApproved) == []


async def test_a_button_is_of_one_key_one_action_and_some_minutes(
    client: httpx2.AsyncClient, keys: Keys, bus: Bus, approvals: Approvals, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = keys.add("ops", EVERYTHING, 1000)
    where, hidden = pressed(await show(client, said))
    expires, key_id, signature = hidden["confirmation"].split(".")
    other = keys.add("other", EVERYTHING, 1000).split("_")[1]
    over = keys.add("over", EVERYTHING, 1000, datetime.now(UTC)).split("_")[1]
    for wrong in (
        "",
        "x",
        f"{int(expires) + 1}.{key_id}.{signature}",
        f"{expires}.{other}.{signature}",
        f"{expires}.{key_id}.{'0' * 64}",
        Confirmations(b"o" * 32).give(key_id, "a1"),
        Confirmations(b"k" * 32).give(over, "a1"),
        Confirmations(b"k" * 32).give(key_id, "a4"),
        approvals.token(course().action, datetime.now(UTC) + timedelta(minutes=5)),
    ):
        assert (await client.post(where, data={"confirmation": wrong})).status_code == 401
    with monkeypatch.context() as later:
        later.setattr(confirmations.time, "time", lambda: float(expires))
        assert (await client.post(where, data=hidden)).status_code == 401
    keys.revoke(key_id)
    page = await client.post(where, data=hidden)
    assert page.status_code == 401 and "the key is gone" in page.text
    assert await published(bus, MonitorActionApproved) == []


def test_a_confirmation_is_no_approval() -> None:
    signed = Confirmations(b"k" * 32).give("abc", "a1").rpartition(".")[2]
    assert hmac.new(b"k" * 32, b"", "sha256").hexdigest() != signed
    expires = int(datetime.now(UTC).timestamp()) + HOLDS
    with pytest.raises(ApprovalRefused):
        check(b"k" * 32, f"v1.{expires}.{signed}", "a1", "restart", "asr")


@pytest.mark.parametrize(
    ("name", "why"),
    [("a5", "is succeeded already"), ("a3", "level is observe: nobody can approve it"), ("a4", "has expired")],
)
async def test_what_cannot_be_approved_is_said_and_published_to_nobody(
    client: httpx2.AsyncClient, keys: Keys, bus: Bus, approvals: Approvals, name: str, why: str
) -> None:
    said = keys.add("ops", EVERYTHING, 1000)
    page = await show(client, said, f"/v1/actions/{name}/approve")
    assert page.status_code == 409 and why in page.text and "<form" not in page.text
    confirmed = {"confirmation": Confirmations(b"k" * 32).give(said.split("_")[1], name)}
    answer = await client.post(f"/v1/actions/{name}/approve/page", data=confirmed)
    assert answer.status_code == 409 and why in answer.text
    body = {"token": TOKEN}
    assert why in problem(await client.post(f"/v1/actions/{name}/approve", json=body, headers=key(keys)), 409)
    assert await published(bus, MonitorActionApproved) == []


async def test_without_the_key_of_approvals_the_page_says_so(client: httpx2.AsyncClient, keys: Keys, bus: Bus) -> None:
    page = await show(client, keys.add("ops", EVERYTHING, 1000))
    assert page.status_code == 409 and "STENOBUS_MONITOR_APPROVAL_KEY names no key" in page.text
    forged = {"confirmation": Confirmations(b"").give(keys.all()[0].id, "a1")}
    assert (await client.post(f"{LINK}/page", data=forged)).status_code == 401
    assert await published(bus, MonitorActionApproved) == []


@pytest.mark.parametrize("body", [b"", b"key=", b"key=a%20b", b"token=" + TOKEN.encode(), b"\xff", b"a=1&" * 50])
async def test_a_form_without_a_key_shows_nothing(client: httpx2.AsyncClient, bus: Bus, body: bytes) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await client.post(f"{LINK}/page", content=body, headers=headers)
    assert answer.status_code == 401 and "asr" not in answer.text
    problem(await client.post(f"{LINK}/page", content=b"x" * (LONGEST_BODY + 1), headers=headers), 413)
    assert await published(bus, MonitorActionApproved) == []


async def test_keys_are_guessed_so_often_and_no_oftener(client: httpx2.AsyncClient, bus: Bus) -> None:
    tried = [await client.post("/v1/actions/none/approve/page", data={"key": "stk_x_y"}) for _ in range(21)]
    assert [answer.status_code for answer in tried] == [401] * 20 + [429]


async def test_a_program_approves_by_its_key_alone_or_with_a_token_of_elsewhere(
    app: FastAPI, client: httpx2.AsyncClient, keys: Keys, bus: Bus, tmp_path: Path
) -> None:
    headers = key(keys, "approve")
    answer = await client.post("/v1/actions/a1/approve", json={}, headers=headers)
    assert "names no key" in problem(answer, 409)
    answer = await client.post("/v1/actions/a1/approve", json={"token": TOKEN}, headers=headers)
    assert answer.status_code == 202 and answer.json() == {"action_id": "a1", "approved_by": "ops"}

    (tmp_path / "approval.key").write_bytes(b"k" * 32)
    app.state.approvals = Approvals(tmp_path / "approval.key")
    answer = await client.post("/v1/actions/a1/approve", json={}, headers=headers)
    assert answer.status_code == 202
    first, second = await published(bus, MonitorActionApproved)
    assert (first.token, first.approved_by, second.approved_by) == (TOKEN, "ops", "ops")
    await app.state.approvals.check(course().action, second.token)  # raises where it does not hold

    taken_back = await client.post("/v1/actions/a2/approve", json={"undo": True}, headers=headers)
    assert taken_back.status_code == 202
    third = (await published(bus, MonitorActionApproved))[-1]
    assert (third.action_id, third.undo) == ("a2", True)
    await app.state.approvals.check(course("a2").action, third.token, undo=True)
    nothing = await client.post("/v1/actions/a1/approve", json={"undo": True}, headers=headers)
    assert "nothing to take back" in problem(nothing, 409)


async def test_the_monitor_takes_the_pages_approval_and_no_other(
    client: httpx2.AsyncClient, keys: Keys, bus: Bus, stage: Stage, nats_server: NatsServer, approvals: Approvals,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("STENOBUS_NATS_URL", nats_server.url)
    monkeypatch.setenv("STENOBUS_MONITOR_EXECUTOR", str(tmp_path / "executor.sock"))
    monkeypatch.setenv("STENOBUS_MONITOR_DIAGNOSE", "rules")
    monkeypatch.delenv("STENOBUS_MONITOR_ENGINE", raising=False)
    # It does not look at the key that it was given: the executor says which approvals hold.
    (other := tmp_path / "other.key").write_bytes(b"o" * 32)
    monkeypatch.setenv("STENOBUS_MONITOR_APPROVAL_KEY", str(other))
    forged = Approvals(other).token(course().action, datetime.now(UTC) + timedelta(minutes=5))
    store = await Store.open(bus)

    async def trail() -> str:
        known = await store.course("a1")
        return " | ".join(f"{step.stage} {step.text}" for step in known.trail) if known else ""

    async def says(text: str) -> bool:
        return text in await trail()

    # It has no engine: what an approval is worth, it says without one.
    async with executing(tmp_path / "executor.sock", Rules(), b"k" * 32, engine=tmp_path / "none"):
        await stage.run(plugin)
        await fill(bus)
        answer = await client.post("/v1/actions/a1/approve", json={"token": forged}, headers=key(keys, "approve"))
        assert answer.status_code == 202
        await eventually(lambda: says("an approval by ops was refused"), within=60)
        assert "approved by ops" not in await trail()
        where, hidden = pressed(await show(client, keys.add("ann", ("approve",), 1000)))
        await client.post(where, data=hidden)
        await eventually(lambda: says("approved by ann"), within=60)


# --- on a server with users, and as a process ------------------------------------------------------------------------


async def test_its_own_rights_are_enough_and_no_more(tmp_path: Path, keys: Keys) -> None:
    core = CoreSettings(data_dir=tmp_path / "data")
    users = Users.open(tmp_path / "users")
    users.add("monitor-api", "client", client_permissions(plugin.clients["monitor-api"], "stenobus"))
    users.add("admin", "admin", ADMIN)
    users.write()
    with secured_server(tmp_path / "server", 'include "../users/users.conf"') as server:
        url = server.url()
        async with (
            await Bus.connect(url, access=Access(credentials=users.credentials("admin"))) as admin,
            await Bus.connect(url, access=Access(credentials=users.credentials("monitor-api"))) as own,
        ):
            await apply(admin, needs(core, [plugin]))
            await fill(admin)
            settings = core.model_copy(update={"nats_url": url, "nats_creds": users.credentials("monitor-api")})
            app = create(settings, keys, Approvals(None))
            transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
            async with (
                app.router.lifespan_context(app),
                httpx2.AsyncClient(transport=transport, base_url="http://monitor", headers=key(keys)) as client,
            ):
                for address in ("/v1/incidents", "/v1/incidents/i1", "/v1/actions", "/v1/silences", "/v1/holds"):
                    assert (await client.get(address)).status_code == 200
                made = [
                    await client.post("/v1/incidents/i1/label", json={"right": True}),
                    await client.post("/v1/silences", json={"seconds": 60}),
                    await client.post("/v1/holds", json={"component": "*"}),
                    await client.post("/v1/actions/a1/approve", json={"token": TOKEN}),
                ]
                assert [answer.status_code for answer in made] == [200, 201, 201, 202]
                held = made[2].json()["id"]
                assert (await client.delete(f"/v1/holds/{held}")).status_code == 204
            assert len(await published(admin, MonitorActionApproved)) == 1
            for subject in ("$KV.stenobus_monitor.incident.i1", "$KV.stenobus_monitor.action.a1", "monitor.incident"):
                with pytest.raises(AccessDenied):
                    await (await own.acks.send(subject, b"{}", timeout=5))


def test_its_user_is_written_where_the_monitor_is_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STENOBUS_MONITOR_ON", "true")
    written = CliRunner().invoke(cli, ["bus", "users", "--plugins", "monitor", "--out", str(tmp_path), "--json"])
    assert written.exit_code == 0, written.output
    roles = {user["name"]: user["role"] for user in json.loads(written.stdout)["users"]}
    assert (roles["monitor"], roles["monitor-api"]) == ("plugin", "client")


async def test_served_by_the_command_with_a_key_that_is_made_and_revoked(
    bus: Bus, nats_server: NatsServer, tmp_path: Path
) -> None:
    environment = os.environ | {"STENOBUS_NATS_URL": nats_server.url, "STENOBUS_DATA_DIR": str(tmp_path)}
    code = "from stenobus_monitor.monitor_command import monitor; monitor()"

    async def command(*arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, *arguments, env=environment, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
        assert process.returncode == 0
        return out.decode()

    made = (await command("keys", "add", "portal", "--scope", "read", "--expires", "90d")).strip()
    log = tmp_path / "log"
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, "serve", "--port", "0", env=environment, stdout=file, stderr=file
        )
    try:
        url = (await eventually(lambda: re.search(r"http://127\.0\.0\.1:\d+", log.read_text())))[0]
        async with httpx2.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {made}"}) as client:

            async def answers() -> bool:
                try:
                    return (await client.get("/healthz")).status_code == 200
                except httpx2.HTTPError:
                    return False

            await eventually(answers)
            found = await client.get("/v1/incidents")
            assert [each["incident_id"] for each in found.json()["incidents"]] == ["i2", "i1"]
            assert (await client.get(LINK)).status_code == 200
            assert "portal" in await command("keys", "list")
            assert "opens nothing any more" in await command("keys", "revoke", made.split("_")[1])
            assert (await client.get("/v1/incidents")).status_code == 401
    finally:
        process.send_signal(signal.SIGTERM)
        assert await process.wait() in {0, -signal.SIGTERM}
    assert TOKEN not in log.read_text() and made not in log.read_text()
