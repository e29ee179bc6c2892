"""Finished documents in a bucket of one's choice, over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import boto3
import pytest

from stenobus_contracts import DocReady, DocumentSource, Media, StageUsage, TokenUsage
from stenobus_core import CoreSettings
from stenobus_core.discovery import discover
from stenobus_core.runs import Step
from stenobus_s3.output import Settings, plugin, segment
from stenobus_testing import conformance
from stenobus_testing.stage import Stage
from stenobus_testing.waiting import eventually

from ..support import aws
from ..support.installed import Site

BUCKET = "results"
MARKDOWN, DOCX, TRANSCRIPT = b"# Full disk\n\n\xc3\xa9\n", b"PK docx", b'{"segments": []}'
DOCX_TYPE = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


@pytest.fixture(scope="module", autouse=True)
def surroundings(endpoint: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        aws.enter(environment, endpoint, OUTPUT_BUCKET=BUCKET)
        yield


@pytest.fixture(scope="module", autouse=True)
def bucket(surroundings: None) -> Any:
    bucket = boto3.resource("s3", region_name=aws.REGION).Bucket(BUCKET)
    bucket.create()
    return bucket


async def document(stage: Stage, **metadata: Any) -> DocReady:
    """A finished document with its parts in the blob store."""
    return DocReady(
        title="Full disk",
        source=DocumentSource(
            title="Full disk", transcript=Media(uri="file:///talks/full disk.json"), metadata=metadata
        ),
        markdown=await stage.put(MARKDOWN, "text/markdown"),
        docx=await stage.put(DOCX, DOCX_TYPE),
        transcript=await stage.put(TRANSCRIPT, "application/json"),
        method="model",
        stages=(
            StageUsage(stage="write", method="model", tokens=TokenUsage(input=7, output=5), cost_usd=Decimal("0.5")),
        ),
        chunks_processed=3,
        warnings=("a warning",),
    )


async def step(stage: Stage) -> Step:
    (found,) = [step for step in await stage.steps() if step.handler == "s3-output"]
    return found


async def test_the_parts_and_the_result_lie_under_the_execution_id(stage: Stage, bucket: Any) -> None:
    await stage.run(plugin)
    await stage.publish(await document(stage, execution_id="exec-42"), run="exec-42-2")
    await stage.run_until_idle()
    place = f"s3://{BUCKET}/exec-42"
    wanted = {
        "document.md": (MARKDOWN, "text/markdown"),
        "document.docx": (DOCX, DOCX_TYPE),
        "transcript.json": (TRANSCRIPT, "application/json"),
    }
    for name, (content, content_type) in wanted.items():
        found = bucket.Object(f"exec-42/{name}").get()
        assert (found["Body"].read(), found["ContentType"]) == (content, content_type)
    result = json.loads(bucket.Object("exec-42/result.json").get()["Body"].read())
    assert result["statusCode"] == 200
    body = result["body"]
    assert (body["execution_id"], body["run"]) == ("exec-42", "exec-42-2")
    assert (body["markdown_uri"], body["docx_uri"]) == (f"{place}/document.md", f"{place}/document.docx")
    assert body["tokens_used"] == {"input": 7, "output": 5, "total": 12}
    assert (body["cost_usd"], body["chunks_processed"], body["warnings"]) == (0.5, 3, ["a warning"])
    assert 0 <= body["duration_seconds"] < 60
    assert (await step(stage)).facts["outputs"] == {
        "markdown": f"{place}/document.md",
        "docx": f"{place}/document.docx",
        "transcript": f"{place}/transcript.json",
        "result": f"{place}/result.json",
    }
    times = {object.key.partition("/")[2]: object.last_modified for object in bucket.objects.filter(Prefix="exec-42/")}
    assert set(times) == {*wanted, "result.json"} and times["result.json"] == max(times.values())


async def test_a_run_that_nobody_gave_an_execution_id_has_its_own_name_and_the_prefix_is_a_setting(
    stage: Stage, bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STENOBUS_S3_OUTPUT_PREFIX", "/team/docs")
    await stage.run(plugin)
    await stage.publish(await document(stage), run="talk-7")
    await stage.run_until_idle()
    assert bucket.Object("team/docs/talk-7/document.md").get()["Body"].read() == MARKDOWN


@pytest.mark.parametrize(
    ("execution_id", "name"),
    [
        ("exec-42", "exec-42"),
        ("arn:aws:states/exec 1", "arn%3Aaws%3Astates%2Fexec%201"),
        ("../../secrets", "..%2F..%2Fsecrets"),
        ("..", "%2E%2E"),
        ("año", "a%C3%B1o"),
    ],
)
def test_an_execution_id_is_one_folder(execution_id: str, name: str) -> None:
    assert segment(execution_id) == name


async def test_a_newer_document_of_the_execution_takes_the_place(stage: Stage, bucket: Any) -> None:
    await stage.run(plugin)
    await stage.publish(await document(stage, execution_id="again"))
    await stage.run_until_idle()
    newer = await document(stage, execution_id="again")
    await stage.publish(newer.model_copy(update={"markdown": await stage.put(b"# Newer", "text/markdown")}))
    await stage.run_until_idle()
    assert bucket.Object("again/document.md").get()["Body"].read() == b"# Newer"


async def test_a_missing_bucket_is_one_sentence_among_the_dead_letters(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTPUT_BUCKET", "no-such-bucket")
    await stage.run(plugin)
    await stage.publish(await document(stage, execution_id="x"))
    outcome = await stage.run_until_idle()
    (letter,) = outcome.letters
    assert letter.letter.reason == "permanent"
    assert "s3://no-such-bucket/x/document.md: the bucket does not exist" in letter.letter.message
    assert (await step(stage)).status == "failed"


async def test_a_trial_leaves_the_bucket_alone(stage: Stage, bucket: Any) -> None:
    await stage.run(plugin, shadow="trial")
    await stage.publish(await document(stage, execution_id="trial"))
    await eventually(lambda: stage.settled("s3-output", "DOC"))
    assert not list(bucket.objects.filter(Prefix="trial/"))


def test_without_a_bucket_the_plugin_is_off(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.install("s3-output", "", entry="stenobus_s3.output:plugin")
    found = discover(CoreSettings(plugins=("s3-output",)))
    assert "s3-output" in found.plugins
    monkeypatch.setenv("OUTPUT_BUCKET", "")
    found = discover(CoreSettings(plugins=("s3-output",)))
    assert "s3-output" in found.off and not found.plugins and not found.broken
    monkeypatch.setenv("OUTPUT_BUCKET", "No Bucket")
    found = discover(CoreSettings(plugins=("s3-output",)))
    assert "STENOBUS_S3_OUTPUT_BUCKET" in found.broken["s3-output"]
    monkeypatch.delenv("OUTPUT_BUCKET")
    assert Settings.load("s3-output", bucket="other").bucket == "other"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    return Site(tmp_path / "site", monkeypatch)


async def example(stage: Stage) -> DocReady:
    return await document(stage, execution_id="conformance")


TestConformance = conformance(plugin, examples=[example])
