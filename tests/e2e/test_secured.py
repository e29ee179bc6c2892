"""The commands on a server that encrypts and lets in nobody but the generated users."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ..support.certificates import Authority
from ..support.servers import nats_server
from .conftest import Stenobus


@pytest.fixture
def secured(stenobus: Stenobus) -> Iterator[Stenobus]:
    """The command as admin of a provisioned server."""
    folder = stenobus.folder
    authority = Authority(folder)
    certificate, key = authority.issue("server")
    stenobus("bus", "users", "--out", "users", "--publisher", "crm:media.uploaded")
    config = f'tls {{ cert_file: "{certificate}", key_file: "{key}" }}\ninclude "../users/users.conf"'
    with nats_server(folder / "server", config) as server:
        stenobus.environment |= {
            "STENOBUS_NATS_URL": server.url("tls", "localhost"),
            "STENOBUS_NATS_TLS_CA": str(authority.certificate),
            "STENOBUS_NATS_CREDS": str(folder / "users" / "credentials" / "admin.nk"),
        }
        stenobus("bus", "apply")
        yield stenobus


def user(command: Stenobus, name: str) -> Stenobus:
    credentials = command.folder / "users" / "credentials" / f"{name}.nk"
    return replace(command, environment=command.environment | {"STENOBUS_NATS_CREDS": str(credentials)})


def test_a_transcript_is_processed_by_the_all_in_one_user_and_looked_at_by_the_operator(
    secured: Stenobus, aws_transcript: Path
) -> None:
    worker, operator = user(secured, "all-in-one"), user(secured, "operator")
    done = worker("process", aws_transcript, "--out", "out", "--json")
    run = json.loads(done.stdout)["body"]["run"]
    assert list((secured.folder / "out").glob("*.docx"))

    said = done.stdout + done.stderr
    for arguments in (["status"], ["status", run], ["trace", run], ["dlq", "list"], ["bus", "plan"]):
        looked = operator(*arguments, "--json")
        said += looked.stdout + looked.stderr
    for arguments in (["status"], ["search", "root cause"]):
        looked = operator(*arguments)
        said += looked.stdout + looked.stderr
    for seed in (path.read_text().strip() for path in (secured.folder / "users" / "credentials").iterdir()):
        assert seed not in said
        assert seed[10:40] not in said


def test_a_plugin_runs_under_its_own_user_and_a_producer_publishes_under_its_own(secured: Stenobus) -> None:
    crm = user(secured, "crm")
    stored = crm.json("publish", "media.uploaded", '{"media": {"uri": "file:///nothing.xyz"}}')
    assert stored["stream"] == "MEDIA"
    refused = crm("publish", "asr.done", '{"transcript": {"uri": "file:///nothing.json"}}', expect=1)
    assert "This user may not" in refused.stderr

    up = user(secured, "asr").start("up", "asr")
    assert up.stderr is not None
    lines = []
    for line in up.stderr:
        lines.append(line)
        if '"event": "up"' in line:
            break
    alive = user(secured, "operator").json("status")["services"]
    up.send_signal(signal.SIGTERM)
    lines += up.stderr.readlines()
    assert up.wait(timeout=120) == 0, "".join(lines)
    assert [service["service"] for service in alive] == ["asr"], "".join(lines)


def test_what_is_missing_is_said_at_once_and_nothing_secret_with_it(secured: Stenobus) -> None:
    for environment, wanted in (
        ({"STENOBUS_NATS_CREDS": ""}, "does not know this user"),
        ({"STENOBUS_NATS_TLS_CA": ""}, "is not trusted"),
        ({"STENOBUS_NATS_CREDS": "nothing.nk"}, "The credentials file nothing.nk cannot be read"),
        ({"STENOBUS_NATS_URL": "nats://talk:hush-word@127.0.0.1:1"}, "No NATS server answers at nats://127.0.0.1:1"),
    ):
        command = replace(secured, environment=secured.environment | environment)
        failed = command("status", "--json", expect=1)
        assert wanted in failed.stderr
        assert "hush-word" not in failed.stdout + failed.stderr


def test_a_password_in_the_address_is_shown_nowhere(stenobus: Stenobus) -> None:
    with nats_server(stenobus.folder / "server", "authorization { user: talk, password: hush-word }") as server:
        url = server.url("nats", "talk:hush-word@127.0.0.1")
        command = replace(stenobus, environment=stenobus.environment | {"STENOBUS_NATS_URL": url})
        up = command.start("up", "asr")
        assert up.stderr is not None
        said = next(line for line in up.stderr if '"event": "up"' in line)
        for arguments in (["status"], ["status", "--json"]):
            done = command(*arguments)
            assert f"nats://127.0.0.1:{server.port}" in done.stdout
            said += done.stdout + done.stderr
        up.send_signal(signal.SIGTERM)
        out, err = up.communicate(timeout=120)
    assert "hush-word" not in said + out + err
