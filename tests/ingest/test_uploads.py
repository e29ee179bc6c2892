"""Signed addresses: one file each, of one type, up to a size, for a time."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import uvicorn
from click.testing import CliRunner

from stenobus_contracts import MediaUploaded
from stenobus_core.blobs import Blobs
from stenobus_ingest import grants, presigned
from stenobus_ingest.grants import Denied
from stenobus_ingest.ingest_command import ingest
from stenobus_ingest.uploads import application
from stenobus_testing import Stage
from stenobus_testing.waiting import eventually

from ..support import aws
from .conftest import WORD

KEY = "a-key-of-thirty-two-characters-or-more"
OLD_KEY = "another-key-that-was-in-use-before-this"


@dataclass
class Door:
    """A running server, and a client."""

    port: int
    stage: Stage
    #: Of their own: the server in this process needs the loop's threads.
    clients: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(16))
    now: list[float] = field(default_factory=lambda: [1_000_000.0])

    def token(self, key: str = KEY, **facts: Any) -> str:
        told: dict[str, Any] = {"content_type": "text/markdown", "max_bytes": 1000, "seconds": 60, "name": "a.md"}
        return grants.signed(grants.grant(**{**told, **facts}, now=self.now[0]), key)

    async def put(
        self, token: str, body: Any, content_type: str = "text/markdown", method: str = "PUT"
    ) -> tuple[int, dict[str, Any]]:
        def call() -> tuple[int, dict[str, Any]]:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
            try:
                connection.request(method, f"/v1/uploads/{token}", body, {"Content-Type": content_type})
                answer = connection.getresponse()
                return answer.status, json.loads(answer.read())
            finally:
                connection.close()

        return await asyncio.get_running_loop().run_in_executor(self.clients, call)

    async def uploads(self) -> list[MediaUploaded]:
        return [MediaUploaded.model_validate_json(each.data) for each in await self.stage.stored(MediaUploaded)]


@pytest.fixture
async def door(stage: Stage) -> AsyncIterator[Door]:
    async with running(stage) as door:
        yield door


class running:
    def __init__(self, stage: Stage, **options: Any) -> None:
        self.stage, self.options = stage, options

    async def __aenter__(self) -> Door:
        await self.stage.run()
        listener = socket.create_server(("127.0.0.1", 0))
        door = Door(listener.getsockname()[1], self.stage)
        blobs = Blobs(self.stage.settings, self.stage.bus)
        app = application(self.stage.bus, blobs, [KEY, OLD_KEY], clock=lambda: door.now[0], **self.options)
        self.server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        self.serving = asyncio.create_task(self.server.serve(sockets=[listener]))
        return door

    async def __aexit__(self, *_: object) -> None:
        self.server.should_exit = True
        await self.serving


async def test_what_is_uploaded_is_stored_and_published(door: Door) -> None:
    token = door.token(kind="document", metadata={"collection": "handbook"})
    status, said = await door.put(token, f"# {WORD}".encode())
    assert status == 201
    [event] = await door.uploads()
    assert (event.media.name, event.media.content_type, event.kind) == ("a.md", "text/markdown", "document")
    assert event.metadata == {"collection": "handbook"} and event.media.sha256 == said["sha256"]
    assert await Blobs(door.stage.settings, door.stage.bus).read(event.media) == f"# {WORD}".encode()


async def test_an_address_is_used_once(door: Door) -> None:
    token = door.token()
    assert (await door.put(token, b"first"))[0] == 201
    assert (await door.put(token, b"second"))[0] == 409
    assert (await door.put(token, b"first"))[0] == 200, "the answer got lost: the same once more is no harm"
    assert len(await door.uploads()) == 1


async def test_of_many_at_the_same_time_one_wins(door: Door) -> None:
    token = door.token()
    found = await asyncio.gather(*(door.put(token, f"number {number}".encode()) for number in range(8)))
    assert sorted(status for status, _ in found) == [201] + [409] * 7
    assert len(await door.uploads()) == 1


async def test_what_was_refused_does_not_use_the_address_up(door: Door) -> None:
    token = door.token()
    assert (await door.put(token, b"x" * 1001))[0] == 413
    assert (await door.put(token, b"x", content_type="text/html"))[0] == 415
    assert (await door.put(token, b""))[0] == 400
    assert (await door.put(token, b"%PDF-1.7 no markdown"))[0] == 415
    assert await door.uploads() == []
    assert (await door.put(token, b"x" * 1000))[0] == 201


async def test_a_body_that_does_not_say_its_length_is_cut_off(door: Door) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(10_000):
            yield b"x" * 4096

    try:
        status, _ = await door.put(door.token(), endless())
    except (BrokenPipeError, ConnectionResetError):
        status = 413  # the server hung up while the client was still talking
    assert status == 413 and await door.uploads() == []


async def test_an_address_expires(door: Door) -> None:
    token = door.token(seconds=60)
    door.now[0] += 60
    status, said = await door.put(token, b"x")
    assert status == 403 and "expired" in said["error"] and await door.uploads() == []


async def test_an_older_key_is_accepted_and_an_unknown_one_is_not(door: Door) -> None:
    assert (await door.put(door.token(key=OLD_KEY), b"x"))[0] == 201
    assert (await door.put(door.token(key="x" * 40), b"x"))[0] == 403


async def test_no_changed_token_opens_the_door(door: Door) -> None:
    body, _, signature = door.token().partition(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    raised = base64.urlsafe_b64encode(json.dumps({**claims, "max_bytes": 10**9}).encode()).decode().rstrip("=")
    for token in (f"{raised}.{signature}", f"{body}.{signature[:-2]}", f"{body}.", body, f"{body}.é", "x", "." * 9000):
        with pytest.raises(Denied):
            grants.verified(token, [KEY], door.now[0])
    assert (await door.put(f"{raised}.{signature}", b"x"))[0] == 403
    assert (await door.put(f"{body}.AAAA", b"x"))[0] == 403


async def test_more_than_the_door_can_take_are_asked_to_come_again(stage: Stage) -> None:
    async with running(stage, at_once=0) as door:
        status, _ = await door.put(door.token(), b"x")
    assert status == 503


async def test_an_upload_that_takes_too_long_is_ended(stage: Stage) -> None:
    async with running(stage, seconds=0.2) as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        head = f"PUT /v1/uploads/{door.token()} HTTP/1.1\r\nHost: x\r\nContent-Type: text/markdown\r\n"
        writer.write(f"{head}Content-Length: 10\r\n\r\nabc".encode())
        answer = await asyncio.wait_for(reader.readline(), 60)
        writer.close()
        assert b"408" in answer and await door.uploads() == []


@pytest.mark.parametrize("seconds", [0, -1, 8 * 86_400])
def test_an_address_lasts_a_week_at_most(seconds: int) -> None:
    with pytest.raises(ValueError, match="may last"):
        grants.grant("text/plain", 1, seconds, 0)


def test_the_command_prints_an_address_that_works(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"{KEY}\n{OLD_KEY}\n")
    monkeypatch.setenv("STENOBUS_INGEST_UPLOAD_KEY_FILE", str(keys))
    asked = ["url", "--type", "application/pdf", "--max-bytes", "20MB", "--expires", "2h", "--collection", "handbook"]
    said = CliRunner().invoke(ingest, asked)
    assert said.exit_code == 0, said.output
    made = json.loads(said.output)
    permission = grants.verified(made["url"].rpartition("/")[2], [KEY], time.time())
    assert (permission.max_bytes, permission.metadata) == (20_000_000, {"collection": "handbook"})
    assert 7100 < permission.expires - time.time() <= 7200


@pytest.mark.parametrize(("key", "said"), [(None, "No key to sign with"), ("short", "at least 32 characters")])
def test_without_a_proper_key_nothing_is_signed(monkeypatch: pytest.MonkeyPatch, key: str | None, said: str) -> None:
    monkeypatch.delenv("STENOBUS_INGEST_UPLOAD_KEY", raising=False)
    if key:
        monkeypatch.setenv("STENOBUS_INGEST_UPLOAD_KEY", key)
    found = CliRunner().invoke(ingest, ["url", "--type", "application/pdf"])
    assert found.exit_code == 1 and said in found.output and "Traceback" not in found.output


async def test_the_command_serves_until_it_is_told_to_stop(stage: Stage, tmp_path: Path) -> None:
    """The whole way: a process of its own, an address of the command, a stop by a signal."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "STENOBUS_NATS_URL": stage.settings.nats_url or "",
        "STENOBUS_DATA_DIR": str(tmp_path),
        "STENOBUS_INGEST_UPLOAD_KEY": KEY,
    }
    command = "from stenobus_ingest.ingest_command import ingest; ingest()"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", command, "serve", "--port", str(port), env=environment, stderr=asyncio.subprocess.PIPE
    )
    try:
        door = Door(port, stage, now=[time.time()])
        await eventually(lambda: answers(f"http://127.0.0.1:{port}/healthz"))
        assert (await door.put(door.token(), b"hello"))[0] == 201
        assert len(await door.uploads()) == 1
        process.terminate()
        _, said = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 0 and said.decode().endswith("Stopped.\n") and "Traceback" not in said.decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


# --- S3 -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with aws.endpoint() as url:
        for name, value in aws.environment(url).items():
            monkeypatch.setenv(name, value)
        client = presigned.client()
        client.create_bucket(Bucket="inbox")
        yield client


def test_a_signed_put_binds_type_length_and_newness(s3: Any) -> None:
    made = presigned.put(s3, "inbox", presigned.new_key("in", "../a b.pdf"), "application/pdf", 5, 60)
    query = parse_qs(urlsplit(made["url"]).query)
    assert set(query["X-Amz-SignedHeaders"][0].split(";")) >= {
        "content-length",
        "content-type",
        "if-none-match",
        "host",
    }
    assert query["X-Amz-Expires"] == ["60"]
    assert made["uri"].startswith("s3://inbox/in/") and made["uri"].endswith("/a-b.pdf") and ".." not in made["uri"]
    assert send(made, b"hello") == 200
    assert send(made, b"other") == 412, "nothing that lies there is replaced"


def test_a_signed_form_binds_key_type_and_size(s3: Any) -> None:
    made = presigned.post(s3, "inbox", "in/1/a.pdf", "application/pdf", 100, 60)
    policy = json.loads(base64.b64decode(made["fields"]["policy"]))
    conditions = policy["conditions"]
    assert ["content-length-range", 1, 100] in conditions and {"Content-Type": "application/pdf"} in conditions
    assert {"key": "in/1/a.pdf"} in conditions and {"bucket": "inbox"} in conditions
    assert send(made, b"hello") in {200, 204}


def test_the_command_prints_addresses_of_s3(s3: Any) -> None:
    asked = ["url", "--type", "application/pdf", "--s3", "inbox", "--name", "a.pdf"]
    form = json.loads(CliRunner().invoke(ingest, asked).output)
    assert form["method"] == "POST" and form["fields"]["key"].startswith("uploads/")
    single = json.loads(CliRunner().invoke(ingest, [*asked, "--bytes", "5"]).output)
    assert single["method"] == "PUT" and send(single, b"hello") == 200


@pytest.fixture
async def ministack(tmp_path: Path) -> AsyncIterator[str]:
    """An S3 that checks signatures, expiry and policies. Its dependencies are older than ours: name its executable."""
    executable = os.environ.get("STENOBUS_MINISTACK") or shutil.which("ministack")
    if executable is None:
        pytest.skip("ministack is not installed: put it into an environment of its own, and name it STENOBUS_MINISTACK")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(
        [executable], env=environment, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    try:
        await eventually(lambda: answers(url))
        yield url
    finally:
        process.terminate()
        process.wait(20)


async def test_what_does_not_fit_the_signature_is_refused(ministack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but the server runs beside these calls, so they may block."""
    told = {**aws.environment(ministack), "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    client = presigned.client()
    bucket = f"inbox-{uuid.uuid4().hex[:8]}"
    client.create_bucket(Bucket=bucket)
    made = presigned.put(client, bucket, "a.pdf", "application/pdf", 5, 60)
    assert send({**made, "url": made["url"][:-4] + "0000"}, b"hello") == 403
    assert send({**made, "headers": {**made["headers"], "Content-Type": "text/html"}}, b"hello") == 403
    assert send(made, b"hello") == 200
    assert send(made, b"other") == 412
    form = presigned.post(client, bucket, "b.pdf", "application/pdf", 10, 60)
    assert send(form, b"x" * 11) == 400
    assert send({**form, "fields": {**form["fields"], "key": "c.pdf"}}, b"x") == 403
    assert send(form, b"hello") in {200, 204}


def send(made: Mapping[str, Any], body: bytes) -> int:
    """Upload as a browser would; the status of the answer."""
    if made["method"] == "PUT":
        request = urllib.request.Request(made["url"], data=body, headers=made["headers"], method="PUT")
    else:
        mark = "boundary0123456789"
        parts = [
            f'--{mark}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
            for name, value in made["fields"].items()
        ]
        file = f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'.encode()
        data = b"".join([*parts, file, body, f"\r\n--{mark}--\r\n".encode()])
        headers = {"Content-Type": f"multipart/form-data; boundary={mark}"}
        request = urllib.request.Request(made["url"], data=data, headers=headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def answers(url: str) -> bool:
    """Whether a server answers at all."""
    try:
        urllib.request.urlopen(url, timeout=1).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True
