"""The function as AWS calls it: one job per invocation, again and again in one instance."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from stenobus_core import aws_lambda
from stenobus_core.aws_lambda import lambda_handler
from stenobus_core.job import JobError

from ..support import aws
from ..support.installed import Site

#: A reader of finished documents whose work belongs to the job, and who waits until somebody makes a file.
HOLDER = '''
    import asyncio
    from pathlib import Path

    from stenobus_contracts import DocReady
    from stenobus_core import Context, Plugin

    plugin = Plugin("holder")


    @plugin.handler(delivers=True)
    async def hold(event: DocReady, ctx: Context) -> None:
        """Wait."""
        while not Path("gate").exists():
            await asyncio.sleep(0.01)
'''


class Invocation:
    """AWS's context."""

    def __init__(self, seconds: float = 120) -> None:
        self.seconds = seconds

    def get_remaining_time_in_millis(self) -> int:
        return int(self.seconds * 1000)


@pytest.fixture(autouse=True)
def function(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """An instance of the function: its folder and its environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    folder = tmp_path / "tmp" / "stenobus"
    folder.parent.mkdir()
    monkeypatch.setattr(aws_lambda, "_FOLDER", folder)
    with aws.endpoint() as url:
        more = {
            "OUTPUT_BUCKET": "results",
            "STENOBUS_NATS_PORT": "0",
            "STENOBUS_PLUGINS": "documents,llm,s3-output,holder",
        }
        aws.enter(monkeypatch, url, STENOBUS_DATA_DIR="", **more)
        monkeypatch.delenv("STENOBUS_DATA_DIR")  # and whatever the function sets goes with the test
        yield folder
    assert not any((folder / "nats" / "ports").glob("*.ports")), "a nats-server was left running"


@pytest.fixture
def s3(function: Path, aws_transcript: Path) -> Any:
    s3 = boto3.client("s3", region_name=aws.REGION)
    for bucket in ("talks", "results"):
        s3.create_bucket(Bucket=bucket)
    s3.upload_file(str(aws_transcript), "talks", "disk full.json")
    return s3


def job(execution_id: str, uri: str = "s3://talks/disk full.json") -> dict[str, Any]:
    return {"execution_id": execution_id, "transcription_s3_uri": uri}


def runs(answer: dict[str, Any]) -> str:
    assert answer["statusCode"] == 200, answer
    found: str = answer["body"]["run"]
    return found


def test_one_job_per_invocation_and_a_warm_instance_goes_on_where_it_was(function: Path, s3: Any) -> None:
    first = lambda_handler(job("exec-1"), Invocation())
    assert runs(first) == "exec-1"
    assert first["body"]["docx_uri"] == "s3://results/exec-1/document.docx"
    assert json.loads(json.dumps(first)) == first  # as AWS encodes it
    assert s3.get_object(Bucket="results", Key="exec-1/document.docx")["Body"].read(2) == b"PK"
    second = lambda_handler(job("exec-2"), Invocation())
    assert set(second["body"]["stages_cached"]) >= {"documents-write", "documents-output"}
    assert function.exists()


def test_behind_a_notification_a_failure_is_raised_and_for_its_sender_it_is_the_answer(s3: Any) -> None:
    gone = job("gone", "s3://talks/nothing.json")
    answer = lambda_handler(gone, Invocation())
    assert answer["statusCode"] == 400
    assert "s3://talks/nothing.json" in answer["body"]["message"]
    message = {"Records": [{"eventSource": "aws:sqs", "body": json.dumps(gone)}]}
    with pytest.raises(JobError, match=r"s3://talks/nothing\.json"):
        lambda_handler(message, Invocation())
    created = {"bucket": {"name": "talks"}, "object": {"key": "disk+full.json", "sequencer": "0A"}}
    notification = {"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": created}]}
    place = lambda_handler(notification, Invocation())["body"]["markdown_uri"]
    assert place.startswith("s3://results/disk-full-")
    test = lambda_handler({"Service": "Amazon S3", "Event": "s3:TestEvent"}, Invocation())
    assert test == {"statusCode": 200, "body": {"ignored": "S3 tests its notifications."}}


def test_at_the_time_limit_it_says_so_and_the_same_event_goes_on_with_the_same_run(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Site(tmp_path / "site", monkeypatch).install("holder", HOLDER)
    stopped = lambda_handler(job("exec-1"), Invocation(12))
    assert (stopped["statusCode"], stopped["body"]["error"]) == (500, "TimeLimit")
    assert "send the same event again to go on" in stopped["body"]["message"]
    before = s3.get_object(Bucket="results", Key="exec-1/result.json")["LastModified"]

    other = lambda_handler(job("exec-1", "s3://talks/another.json"), Invocation())
    assert "run exec-1-2;" in other["body"]["message"]  # another job by the same id is another run
    (tmp_path / "gate").touch()
    done = lambda_handler(job("exec-1"), Invocation())
    assert runs(done) == "exec-1"
    assert s3.get_object(Bucket="results", Key="exec-1/result.json")["LastModified"] == before  # done once
    assert runs(lambda_handler(job("exec-1"), Invocation())) == "exec-1-3"  # it has ended; this is a new one


def test_no_time_at_all_is_said_at_once(s3: Any) -> None:
    answer = lambda_handler(job("exec-1"), Invocation(3))
    assert answer["body"]["error"] == "TimeLimit"


def test_results_that_nobody_could_fetch_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OUTPUT_BUCKET")
    answer = lambda_handler(job("exec-1"), Invocation())
    assert (answer["statusCode"], answer["body"]["error"]) == (500, "NowhereToPutResults")
    assert "set OUTPUT_BUCKET" in answer["body"]["message"]


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ({"execution_id": "x"}, "needs video_s3_uri or transcription_s3_uri"),
        ({"execution_id": 7, "video_s3_uri": "s3://a/b"}, "execution_id"),
    ],
)
def test_a_broken_event_is_the_senders_fault(event: Any, message: str) -> None:
    answer = lambda_handler(event, Invocation())
    assert (answer["statusCode"], answer["body"]["error"]) == (400, "InvalidEvent")
    assert message in answer["body"]["message"]


def test_a_folder_that_leaves_little_room_is_emptied(function: Path, s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    runs(lambda_handler(job("exec-1"), Invocation()))
    monkeypatch.setattr(aws_lambda, "_ROOM", 1 << 60)
    again = lambda_handler(job("exec-1"), Invocation())
    assert again["body"]["stages_cached"] == [] and runs(again) == "exec-1"
