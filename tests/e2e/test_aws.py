"""The classic job with everything on AWS: recording and transcript in S3, results in S3, the record in DynamoDB."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import boto3
import pytest
from docx import Document

from ..support import aws
from .conftest import Stenobus

SECRET = aws.environment("")["AWS_SECRET_ACCESS_KEY"]


@pytest.fixture
def s3(stenobus: Stenobus, monkeypatch: pytest.MonkeyPatch, aws_transcript: Path) -> Iterator[Any]:
    """S3 with a transcript in the bucket `talks` and an empty bucket `results`, and the table `runs` in DynamoDB."""
    with aws.endpoint() as url:
        aws.enter(monkeypatch, url)
        s3 = boto3.client("s3", region_name=aws.REGION)
        for bucket in ("talks", "results"):
            s3.create_bucket(Bucket=bucket)
        s3.upload_file(str(aws_transcript), "talks", "2026/disk full.json")
        stenobus.environment |= {"OUTPUT_BUCKET": "results", "TRACKING_TABLE": "runs"}
        stenobus("dynamodb", "create")
        yield s3


def job(stenobus: Stenobus, execution_id: str, **event: Any) -> str:
    name = f"{execution_id}.json"
    (stenobus.folder / name).write_text(json.dumps({"execution_id": execution_id, **event}))
    return name


def test_the_classic_job_with_everything_on_aws(stenobus: Stenobus, s3: Any) -> None:
    event = job(
        stenobus,
        "exec-42",
        video_s3_uri="s3://talks/2026/disk full.mp4",
        transcription_s3_uri="s3://talks/2026/disk full.json",
        video_metadata={"duration": 150, "size_bytes": 1234},
    )

    done = stenobus("process", "--event", event, "--json")

    answer = json.loads(done.stdout)
    body = answer["body"]
    assert answer["statusCode"] == 200
    assert (body["execution_id"], body["stages_completed"]) == ("exec-42", 6)
    place = "s3://results/exec-42"
    assert (body["markdown_uri"], body["docx_uri"]) == (f"{place}/document.md", f"{place}/document.docx")
    assert body["result_uri"] == f"{place}/result.json"

    def read(name: str) -> bytes:
        content: bytes = s3.get_object(Bucket="results", Key=f"exec-42/{name}")["Body"].read()
        return content

    assert "root cause" in read("document.md").decode().lower()
    assert Document(BytesIO(read("document.docx"))).paragraphs
    assert json.loads(read("transcript.json"))["segments"]
    stored = json.loads(read("result.json"))
    assert stored["statusCode"] == 200
    differs = {"duration_seconds"}  # the answer comes a moment after the result
    assert {name: value for name, value in stored["body"].items() if name not in differs} == {
        name: value for name, value in body.items() if name not in differs
    }
    assert 0 < stored["body"]["duration_seconds"] <= body["duration_seconds"] + 1

    stenobus.environment["STENOBUS_DATA_DIR"] = str(stenobus.folder / "elsewhere")  # another bus, the same table
    steps = stenobus.json("status", "exec-42")["steps"]
    assert {step["handler"] for step in steps} > {"documents-write", "kb-ready", "s3-output"}
    assert {step["status"] for step in steps} == {"done"}
    assert "exec-42" in stenobus("status").stdout
    again = stenobus.json("process", "--event", event)["body"]
    assert again["run"] == "exec-42-2"  # the name is taken, as the table knows
    assert SECRET not in done.stderr + done.stdout


def test_a_job_without_an_output_bucket_may_name_objects_in_s3(stenobus: Stenobus, s3: Any) -> None:
    stenobus.environment |= {"OUTPUT_BUCKET": "", "TRACKING_TABLE": ""}
    event = job(stenobus, "exec-s3", transcription_s3_uri="s3://talks/2026/disk full.json")
    body = stenobus.json("process", "--event", event, "--out", "out")["body"]
    assert body["docx_uri"].endswith("/out/disk-full.docx")
    assert not s3.list_objects_v2(Bucket="results")["KeyCount"]


def test_what_is_missing_is_one_sentence(stenobus: Stenobus, s3: Any) -> None:
    gone = job(stenobus, "exec-gone", transcription_s3_uri="s3://talks/nothing.json")
    answer = stenobus.json("process", "--event", gone, expect=2)
    assert answer["statusCode"] == 400
    assert "s3://talks/nothing.json" in answer["body"]["message"]
    event = job(stenobus, "exec-1", transcription_s3_uri="s3://talks/2026/disk full.json")
    stenobus.environment["OUTPUT_BUCKET"] = "no-such-bucket"
    answer = stenobus.json("process", "--event", event, expect=1)
    assert (answer["statusCode"], answer["body"]["error"]) == (500, "DeliveryFailed")
    assert "s3://no-such-bucket/exec-1/document.md: the bucket does not exist" in answer["body"]["message"]
    stenobus.environment |= {"OUTPUT_BUCKET": "results", "TRACKING_TABLE": "nowhere"}
    answer = stenobus.json("process", "--event", event, expect=1)
    assert (
        "The DynamoDB table nowhere does not exist: make it by `stenobus dynamodb create`" in answer["body"]["message"]
    )
    assert SECRET not in json.dumps(answer)
