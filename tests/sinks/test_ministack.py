"""The Bedrock sink against ministack, an emulator of AWS by others: jobs, documents, what Retrieve finds.

It lives in an environment of its own, since it pins other versions of boto3: `make test-ministack` sets it up. It would
listen on every address, so it is started here on loopback alone.
"""

from __future__ import annotations

import os
import socket
import subprocess
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
import pytest

from stenobus_sinks.sinks.bedrock import Settings, doctor
from stenobus_sinks.sinks.bedrock.sink import Bedrock
from stenobus_testing.waiting import eventually

from ..support import aws
from .desk import Desk

PYTHON = os.environ.get("STENOBUS_MINISTACK_PYTHON")
pytestmark = pytest.mark.skipif(PYTHON is None, reason="make test-ministack sets up what it needs")
BUCKET, ROLE = "knowledge", "arn:aws:iam::000000000000:role/kb"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("ministack")
    command = [str(PYTHON), "-m", "hypercorn", "ministack.app:app", "--bind", f"127.0.0.1:{port}"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder), "GATEWAY_PORT": str(port)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait(10)


@pytest.fixture
async def known(url: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A knowledge base over a bucket: its id, and that of its data source."""

    def answers() -> bool:
        with suppress(OSError):
            return bool(urllib.request.urlopen(f"{url}/_ministack/health", timeout=2).status == 200)
        return False

    await eventually(answers, within=60)
    aws.enter(monkeypatch, url, AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test")
    boto3.client("s3", region_name=aws.REGION).create_bucket(Bucket=BUCKET)
    agents = boto3.client("bedrock-agent", region_name=aws.REGION)
    vectors: Any = {
        "vectorKnowledgeBaseConfiguration": {"embeddingModelArn": "arn:aws:bedrock:::foundation-model/titan"}
    }
    knowledge_base = agents.create_knowledge_base(
        name="handbook", roleArn=ROLE, knowledgeBaseConfiguration={"type": "VECTOR", **vectors}
    )["knowledgeBase"]["knowledgeBaseId"]
    s3 = {"bucketArn": f"arn:aws:s3:::{BUCKET}", "inclusionPrefixes": ["stenobus-kb/current/"]}
    source = agents.create_data_source(
        knowledgeBaseId=knowledge_base,
        name="bucket",
        dataSourceConfiguration={"type": "S3", "s3Configuration": s3},
    )["dataSource"]["dataSourceId"]
    return {"knowledge_base_id": knowledge_base, "data_source_id": source}


@pytest.fixture
async def desk(known: dict[str, str]) -> AsyncIterator[Desk]:
    own = Settings.load("kb-bedrock", **known, bucket=BUCKET, poll=0.1, patience=30)
    sink = Bedrock(own)
    yield Desk(lambda: sink)
    await sink.close()


async def test_what_is_synced_can_be_retrieved(desk: Desk, known: dict[str, str]) -> None:
    assert (await desk.sync(desk.event(a="The whale sings at night.", b="The lion sleeps."), 1)).added == 2
    runtime = boto3.client("bedrock-agent-runtime", region_name=aws.REGION)

    def found(words: str) -> str:
        answer = runtime.retrieve(knowledgeBaseId=known["knowledge_base_id"], retrievalQuery={"text": words})
        return " ".join(result["content"]["text"] for result in answer["retrievalResults"])

    assert "The whale sings at night." in found("whale")
    done = await desk.sync(desk.event(a="The walrus dives.", delete=("b",)), 2)
    assert (done.updated, done.deleted) == (1, 1)
    assert "walrus" in found("walrus") and "whale" not in found(
        "whale"
    )  # its jobs remove nothing, so the lion may stay


def test_the_doctor_is_content(known: dict[str, str], tmp_path: Path) -> None:
    checks = doctor(Settings.load("kb-bedrock", **known, bucket=BUCKET))
    assert all(check.ok for check in checks), checks
