"""The job in what AWS hands a function."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from stenobus_core.aws_events import Nothing, is_classic, job_event
from stenobus_core.job import JobError

CLASSIC = {"execution_id": "exec-1", "transcription_s3_uri": "s3://talks/a.json", "customer": 7}


def sqs(*bodies: Any) -> dict[str, Any]:
    return {"Records": [{"eventSource": "aws:sqs", "messageId": str(n), "body": body} for n, body in enumerate(bodies)]}


def s3(key: str, name: str = "ObjectCreated:Put", bucket: str = "talks", **thing: Any) -> dict[str, Any]:
    found = {"bucket": {"name": bucket}, "object": {"key": key, "size": 9, "sequencer": "0A", **thing}}
    return {"Records": [{"eventSource": "aws:s3", "eventName": name, "s3": found}]}


def bridge(source: str, kind: str, detail: Any) -> dict[str, Any]:
    return {"version": "0", "id": "1", "source": source, "detail-type": kind, "detail": detail}


@pytest.mark.parametrize(
    "event",
    [
        CLASSIC,
        sqs(json.dumps(CLASSIC)),
        bridge("acme.jobs", "Job", CLASSIC),
        sqs(json.dumps(bridge("acme.jobs", "Job", CLASSIC))),
    ],
    ids=["itself", "SQS", "EventBridge", "EventBridge in SQS"],
)
def test_the_classic_event_is_found_in_its_wrappings(event: Any) -> None:
    assert job_event(event) == CLASSIC
    assert is_classic(event) == (event is CLASSIC)


@pytest.mark.parametrize(
    ("event", "kind", "uri"),
    [
        (s3("2026/disk+full.JSON"), "transcription_s3_uri", "s3://talks/2026/disk full.JSON"),
        (s3("a%C3%B1o%2B1.mp4"), "video_s3_uri", "s3://talks/año+1.mp4"),
        (sqs(json.dumps(s3("talk.vtt"))), "transcription_s3_uri", "s3://talks/talk.vtt"),
        (
            bridge("aws.s3", "Object Created", {"bucket": {"name": "talks"}, "object": {"key": "a+b%20.wav"}}),
            "video_s3_uri",
            "s3://talks/a+b%20.wav",
        ),
    ],
)
def test_a_new_object_is_a_job(event: Any, kind: str, uri: str) -> None:
    found = job_event(event)
    assert found[kind] == uri
    assert set(found) == {kind, "execution_id"}
    assert job_event(event) == found  # the same notification, the same job


def test_another_version_of_an_object_is_another_job() -> None:
    jobs = [job_event(s3("talk.mp4", sequencer=number))["execution_id"] for number in ("0A", "0B")]
    assert jobs[0] != jobs[1] and all(job.startswith("talk-") for job in jobs)


@pytest.mark.parametrize(
    ("event", "why"),
    [
        ({"Service": "Amazon S3", "Event": "s3:TestEvent"}, "tests its notifications"),
        (sqs(json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent"})), "tests its notifications"),
        (s3("talk.mp4", "ObjectRemoved:Delete"), "s3://talks/talk.mp4 is not new"),
        (bridge("aws.s3", "Object Deleted", {"bucket": {"name": "b"}, "object": {"key": "k"}}), "s3://b/k is not new"),
        (s3("exec-1/transcript.json", bucket="results"), "lies in the bucket of results"),
        (s3("2026/"), "is a folder"),
    ],
)
def test_what_is_no_job_and_was_never_meant_to_be_one_is_no_error(event: Any, why: str) -> None:
    with pytest.raises(Nothing, match=why):
        job_event(event, results="results")


@pytest.mark.parametrize(
    ("event", "why"),
    [
        (sqs("{}", "{}"), "2 records, and this function takes one job at a time"),
        (sqs("no json"), "body of the SQS message is no JSON"),
        (sqs(7), "body of the SQS message is no JSON"),
        (s3(""), "names no bucket and key"),
        (bridge("aws.s3", "Object Created", {"bucket": "b", "object": []}), "names no bucket and key"),
        ({}, "none that this function knows"),
        ([], "none that this function knows"),
        (None, "none that this function knows"),
        ("text", "none that this function knows"),
        ({"Records": "x"}, "none that this function knows"),
        ({"Records": [1]}, "none that this function knows"),
        ({"Records": [{"eventSource": "aws:kinesis"}]}, "none that this function knows"),
        ({"video_s3_uri": "s3://a/b"}, "none that this function knows"),
    ],
)
def test_everything_else_is_one_sentence(event: Any, why: str) -> None:
    with pytest.raises(JobError, match=why) as caught:
        job_event(event)
    assert (caught.value.status, caught.value.error) == (400, "InvalidEvent")


def test_wrappings_without_end_are_refused() -> None:
    event: Any = CLASSIC
    for _ in range(9):
        event = bridge("acme", "Wrapped", event)
    with pytest.raises(JobError, match="none that this function knows"):
        job_event(event)


def test_the_handler_needs_no_boto3() -> None:
    check = "import sys, stenobus_core.aws_lambda; sys.exit(any(m.startswith('boto') for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0
