"""Alerts on their way to people: over real HTTP and SMTP, to servers that are strict, busy or broken."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
from collections.abc import Iterator
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from pydantic import ValidationError

from stenobus_contracts import MonitorAlert, MonitorDiagnosed
from stenobus_core import PermanentError, RetryableError
from stenobus_monitor import plugin
from stenobus_monitor.alerts import alerts
from stenobus_monitor.channels import Channel, Mail, Slack, Telegram, Webhook, sender, split
from stenobus_monitor.channels.mail import message
from stenobus_monitor.diagnosis import by_rule
from stenobus_monitor.settings import Settings
from stenobus_testing import NatsServer, Stage

from .test_diagnosis import NOW, incident

SECRET = "T0K3N-of-the-channel"


class Service:
    """Takes what is posted, and answers as it is told to; 200 beyond that."""

    def __init__(self) -> None:
        self.received: list[tuple[str, dict[str, str], bytes]] = []
        self.answers: list[tuple[int, dict[str, str], bytes]] = []
        service = self

        class Receive(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                service.received.append(
                    (self.path, {name.lower(): value for name, value in self.headers.items()}, body)
                )
                status, headers, said = service.answers.pop(0) if service.answers else (200, {}, b"ok")
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(said))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Receive)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def bodies(self) -> list[Any]:
        return [json.loads(body) for _, _, body in self.received]


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    yield service
    service.close()


def alert(text: str = "- died with exit code 1", **changes: Any) -> MonitorAlert:
    fields = {"channel": "c", "incident_id": "i1", "severity": "critical", "status": "open", "title": "asr died"}
    return MonitorAlert(**{**fields, "text": text, **changes})


@pytest.fixture(params=["slack", "telegram", "webhook"])
def channel(request: pytest.FixtureRequest, service: Service, monkeypatch: pytest.MonkeyPatch) -> Channel:
    monkeypatch.setenv("SECRET", f"{service.url}/{SECRET}" if request.param == "slack" else SECRET)
    common = {"name": "c", "secret_env": "SECRET"}
    match request.param:
        case "slack":
            return Slack(kind="slack", **common)
        case "telegram":
            return Telegram(kind="telegram", chat="@ops", api=service.url, **common)
        case _:
            return Webhook(kind="webhook", url=f"{service.url}/hook", **common)


async def send(channel: Channel, event: MonitorAlert, done: int = 0) -> list[int]:
    told: list[int] = []

    async def delivered(parts: int) -> None:
        told.append(parts)

    await sender(channel).send(event, done, delivered)
    return told


# --- every channel over HTTP -----------------------------------------------------------------------------------------


async def test_an_alert_arrives_once(channel: Channel, service: Service) -> None:
    assert await send(channel, alert()) == [1]
    assert (
        len(service.received) == 1 and "asr died" in str(service.bodies[0]) and "exit code 1" in str(service.bodies[0])
    )
    assert await send(channel, alert(), done=1) == [] and len(service.received) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 503])
async def test_a_busy_service_is_asked_again_when_it_says(channel: Channel, service: Service, status: int) -> None:
    service.answers = [(status, {"Retry-After": "17"}, b"later"), (status, {"Retry-After": "1e9"}, b"")]
    with pytest.raises(RetryableError) as trouble:
        await send(channel, alert())
    assert trouble.value.delay == 17
    with pytest.raises(RetryableError) as trouble:
        await send(channel, alert())
    assert trouble.value.delay == 600


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 410, 413])
async def test_a_refusal_is_final_and_goes_nowhere_else(channel: Channel, service: Service, status: int) -> None:
    service.answers = [(status, {"Location": f"{service.url}/elsewhere"}, b"no_such_channel")]
    with pytest.raises(PermanentError, match=f"answered {status}: no_such_channel"):
        await send(channel, alert())
    assert len(service.received) == 1


async def test_no_error_tells_the_secret(channel: Channel, service: Service) -> None:
    service.close()
    with pytest.raises(RetryableError) as trouble:
        await send(channel, alert())
    seen = trouble.value
    assert SECRET not in f"{seen!r} {seen.__cause__!r} {channel!r}" and seen.__suppress_context__


@pytest.mark.parametrize("where", ["env", "file"])
async def test_a_missing_secret_is_named_by_its_place(where: str, tmp_path: Path) -> None:
    place = {"secret_env": "NOT_THERE"} if where == "env" else {"secret_file": tmp_path / "none"}
    with pytest.raises(PermanentError, match=r"NOT_THERE|none"):
        await send(Slack(kind="slack", name="c", **place), alert())  # type: ignore[arg-type]
    with pytest.raises(PermanentError, match="needs secret_env or secret_file"):
        await send(Slack(kind="slack", name="c"), alert())


# --- what is special -------------------------------------------------------------------------------------------------


async def test_slack_gets_parts_below_its_limit_and_nobody_is_mentioned(service: Service, monkeypatch: Any) -> None:
    monkeypatch.setenv("SECRET", service.url)
    channel = Slack(kind="slack", name="c", secret_env="SECRET")
    text = "\n".join(f"line {number} <!channel> & <https://evil|link>" for number in range(200))
    assert await send(channel, alert(text)) == [1, 2, 3, 4]
    texts = [body["text"] for body in service.bodies]
    assert "<" not in "".join(texts) and all(f"({number}/4)" in text for number, text in enumerate(texts, 1))
    assert all(f"line {number} &lt;!channel&gt; &amp; " in "".join(texts) for number in range(200))
    service.received.clear()
    assert await send(channel, alert(text), done=2) == [3, 4]
    assert [body["text"][:5] for body in service.bodies] == ["(3/4)", "(4/4)"]


async def test_telegram_gets_plain_text_and_its_own_way_of_asking_for_time(service: Service, monkeypatch: Any) -> None:
    monkeypatch.setenv("SECRET", SECRET)
    channel = Telegram(kind="telegram", chat="@ops", api=f"{service.url}/", name="c", secret_env="SECRET")
    service.answers = [(429, {}, b'{"ok":false,"error_code":429,"parameters":{"retry_after":33}}')]
    with pytest.raises(RetryableError) as trouble:
        await send(channel, alert())
    assert trouble.value.delay == 33
    await send(channel, alert("𝔘" * 5000, status="resolved"))
    assert service.received[0][0] == f"/bot{SECRET}/sendMessage"
    sent = service.bodies[1:]
    assert all(len(body["text"].encode("utf-16-le")) // 2 <= 4096 for body in sent)
    assert sent[0]["text"].split(maxsplit=1)[1].startswith("RESOLVED") and "parse_mode" not in sent[0]
    assert sum(body["text"].count("𝔘") for body in sent) == 5000


async def test_a_webhook_is_signed_with_its_time(service: Service, monkeypatch: Any) -> None:
    monkeypatch.setenv("SECRET", SECRET)
    await send(Webhook(kind="webhook", url=service.url, name="c", secret_env="SECRET"), alert())
    [(_, headers, body)] = service.received
    at, _, given = headers["x-stenobus-signature"].removeprefix("t=").partition(",v1=")
    assert given == hmac.new(SECRET.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    assert MonitorAlert.model_validate_json(body) == alert()
    service.received.clear()
    await send(Webhook(kind="webhook", url=service.url, name="c"), alert())
    assert "x-stenobus-signature" not in service.received[0][1]


class Post:
    """A mail server's hands."""

    def __init__(self) -> None:
        self.mails: list[Any] = []
        self.refusal = ""

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if self.refusal:
            return self.refusal
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.mails.append(message_from_bytes(envelope.content))
        return "250 OK"


async def test_mail_is_delivered_threads_an_incident_and_refusals_are_told_apart() -> None:
    post = Post()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    controller = Controller(post, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        channel = Mail(
            kind="mail",
            name="c",
            host="127.0.0.1",
            port=port,
            security="none",
            sender="bus@acme.test",
            to=("ops@acme.test",),
        )
        assert await send(channel, alert("Größe: 5 µs")) == [1]
        (mail,) = post.mails
        assert mail["Subject"] == "[CRITICAL] asr died" and mail["References"] == "<incident-i1@stenobus>"
        assert "Größe" in mail.get_payload(decode=True).decode() and mail["To"] == "ops@acme.test"
        for post.refusal, trouble in (("451 later", RetryableError), ("550 nobody", PermanentError)):
            with pytest.raises(trouble, match=r"takes no mail for ops@acme\.test"):
                await send(channel, alert())
    finally:
        controller.stop()
    with pytest.raises(RetryableError, match="does not answer"):
        await send(channel, alert())


def test_a_title_cannot_become_a_header_and_a_password_does_not_travel_bare() -> None:
    fields: dict[str, Any] = {"kind": "mail", "name": "c", "host": "h", "sender": "a@b.test", "to": ("c@d.test",)}
    mail = message(Mail(**fields), alert(title="x\r\nBcc: evil@acme.test\r\n\r\nHi"))
    assert mail["Bcc"] is None and mail["Subject"] == "[CRITICAL] x Bcc: evil@acme.test Hi"
    with pytest.raises(ValidationError, match="without TLS"):
        Mail(**fields, user="me", security="none")


@pytest.mark.parametrize("text", ["", "short", "a\n" * 500, "x" * 1000, "\n" * 500, "word " * 300])
def test_parts_are_short_enough_and_lose_nothing(text: str) -> None:
    parts = split(text, 100)
    assert all(len(part) <= 100 for part in parts)
    whole = "".join(part.split(") ", 1)[1] if len(parts) > 1 else part for part in parts)
    assert "".join(whole.split()) == "".join(text.split())


# --- who hears what --------------------------------------------------------------------------------------------------


def test_a_channel_takes_what_is_bad_enough_and_of_its_kinds() -> None:
    everything = Webhook(kind="webhook", name="all", url="http://x", severity="info")
    bad = Webhook(kind="webhook", name="bad", url="http://x", severity="critical", kinds=("container.*",))
    found = incident("container.crashed")
    assert [each.channel for each in alerts(found, by_rule(found), [everything, bad])] == ["all", "bad"]
    mild = incident("container.memory", severity="warning")
    assert [each.channel for each in alerts(mild, by_rule(mild), [everything, bad])] == ["all"]
    other = incident("stream.full")
    assert [each.channel for each in alerts(other, by_rule(other), [everything, bad])] == ["all"]


def test_an_alert_says_what_why_on_what_grounds_and_what_to_do() -> None:
    found = incident("container.crashed", occurrences=4, affected=("container:kb",))
    (told,) = alerts(found, by_rule(found), [Webhook(kind="webhook", name="all", url="http://x")])
    for words in (
        "container:asr, since 2026-03-01 12:00:00 UTC, 4 times", "Affected: container:kb", "by rule", "Recommended: ",
        "Probable cause: the program", "- [event] container:asr: died with exit code 1", "stenobus monitor show i1",
    ):  # fmt: skip
        assert words in told.text
    over = incident(status="resolved", resolved_at=NOW.replace(minute=2))
    assert alerts(over, by_rule(over), [Webhook(kind="webhook", name="all", url="http://x")])[0].text == (
        "Resolved: after 120 s.\nWas the diagnosis right? stenobus monitor label i1 --right, or --wrong"
    )


def test_two_channels_of_one_name_are_refused() -> None:
    one = {"kind": "webhook", "name": "c", "url": "http://x"}
    with pytest.raises(ValidationError, match="two channels are called c"):
        Settings(channels=(one, one))  # type: ignore[arg-type]


async def test_an_incident_reaches_every_channel_by_itself_and_the_delivery_is_recorded(
    stage: Stage, nats_server: NatsServer, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STENOBUS_NATS_URL", nats_server.url)
    monkeypatch.setenv("STENOBUS_MONITOR_DIAGNOSE", "rules")
    channels = [{"kind": "webhook", "name": "one", "url": f"{service.url}/one"}, {"kind": "slack", "name": "broken"}]
    monkeypatch.setenv("STENOBUS_MONITOR_CHANNELS", json.dumps(channels))
    await stage.run(plugin)
    await stage.publish(incident())
    await stage.publish(incident(incident_id="i2", silenced=True))
    outcome = await stage.run_until_idle()
    assert [path for path, _, _ in service.received] == ["/one"]
    (letter,) = outcome.letters
    assert "broken needs secret_env" in letter.letter.message
    steps = [step for step in await stage.steps() if step.handler == "monitor-send"]
    assert {(step.status, step.facts.get("delivered")) for step in steps} == {("done", 1), ("failed", None)}

    found = MonitorDiagnosed(incident_id="i1", cause="disk-full", confidence=0.8, method="model", evidence=())
    await stage.publish(found)  # of an incident that the store does not know: nobody is told
    await stage.run_until_idle()
    assert len(service.received) == 1
