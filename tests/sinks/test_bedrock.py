"""The Bedrock sink: the contract of all sinks, and what is Bedrock's own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest

from stenobus_core import PermanentError, RetryableError
from stenobus_sinks.port import Sink
from stenobus_sinks.sinks.bedrock import Settings, doctor
from stenobus_sinks.sinks.bedrock.sink import Bedrock
from stenobus_testing.waiting import eventually, still

from ..support import aws
from .contract import SinkContract
from .desk import Desk
from .fakes.bedrock import AGENT, FakeBedrock
from .fakes.gate import S3Gate


class Place:
    """The fake, its bucket, and the settings that lead there."""

    step = 5
    refused = ("This is unreadable.", "FAILED: The file cannot be read")

    def __init__(self, fake: FakeBedrock, gate: S3Gate, **settings: Any) -> None:
        self.fake, self.gate, self.settings = fake, gate, {"attempts": 1, "patience": 60.0, **settings}
        self.servers = [fake.server, gate]
        self._sinks: dict[str, Sink] = {}
        self.secrets = [aws.environment("")["AWS_SECRET_ACCESS_KEY"]]

    def opened(self) -> Sink:
        key = repr((self.settings, sorted(os.environ.items())))
        if key not in self._sinks:
            self._sinks[key] = Bedrock(Settings.load("kb-bedrock", **self.settings))
        return self._sinks[key]

    def jobs_record(self) -> Any:
        return self.fake.stored("kb/state/DS12345678/jobs.json")

    def clear(self) -> None:
        self.fake.clear()

    async def close(self) -> None:
        for sink in self._sinks.values():
            await sink.close()

    def texts(self, collection: str) -> dict[str, str]:
        return {
            attributes["document"]: text
            for attributes, text in self.fake.found()
            if attributes["collection"] == collection
        }

    def writes(self) -> int:
        asking = {"GetIngestionJob", "GetKnowledgeBaseDocuments", "ListDataSources"}
        return len(self.gate.writes) + sum(n for name, n in self.fake.calls.items() if name not in asking)

    def busy(self, times: int) -> None:
        names = ["ThrottlingException", "ServiceQuotaExceededException", "ConflictException"]
        for operation in ("StartIngestionJob", "GetIngestionJob", "IngestKnowledgeBaseDocuments"):
            known = names if operation.startswith("Start") else names[:1]
            self.fake.refuse[operation] = [known[number % len(known)] for number in range(times)]


@pytest.fixture
def place(bedrock: FakeBedrock, account: S3Gate) -> Place:
    return Place(bedrock, account)


class TestJobs(SinkContract):
    """Documents come in by jobs."""


class TestDirect(SinkContract):
    """Documents come in by name, and not at once."""

    @pytest.fixture
    def place(self, bedrock: FakeBedrock, account: S3Gate) -> Place:
        bedrock.lag = 1
        return Place(bedrock, account, ingestion="direct")


@pytest.fixture
async def desk(place: Place) -> AsyncIterator[Desk]:
    yield Desk(place.opened)
    place.fake.going.set()
    await place.close()


async def test_events_that_come_while_a_job_runs_share_the_next(place: Place, desk: Desk) -> None:
    place.fake.going.clear()
    first = asyncio.create_task(desk.sync(desk.event(d0="Number 0."), 1))
    await eventually(lambda: place.fake.calls["GetIngestionJob"] >= 1)
    rest = [asyncio.create_task(desk.sync(desk.event(**{f"d{n}": f"Number {n}."}), n + 1)) for n in range(1, 10)]
    await eventually(lambda: place.jobs_record().get("wanted") == 10)
    await still(lambda: len(place.fake.jobs) == 1, 0.2)
    place.fake.going.set()
    assert [(await task).added for task in (first, *rest)] == [1] * 10
    assert len(place.texts("handbook")) == 10
    assert len(place.fake.jobs) == 2


async def test_somebody_elses_job_is_waited_for(place: Place, desk: Desk) -> None:
    foreign = place.fake.start_foreign_job()
    syncing = asyncio.create_task(desk.sync(desk.event(a="The whale."), 1))
    await eventually(lambda: place.fake.calls["StartIngestionJob"] >= 2)
    foreign.status = "COMPLETE"
    assert (await syncing).added == 1


async def test_patience_has_an_end(place: Place, desk: Desk) -> None:
    place.settings["patience"] = 0.1
    place.fake.start_foreign_job()
    error, _ = await desk.fails(desk.event(a="The whale."), 1)
    assert isinstance(error, RetryableError) and "in progress" in str(error)


async def test_the_next_process_goes_on_with_the_job(place: Place, desk: Desk) -> None:
    place.fake.going.clear()
    event = desk.event(a="The whale.")
    killed = asyncio.create_task(desk.sync(event, 1))
    await eventually(lambda: place.fake.calls["GetIngestionJob"] >= 2)
    killed.cancel()
    await asyncio.gather(killed, return_exceptions=True)
    place.fake.going.set()
    assert (await desk.sync(event, 1)).added == 1
    assert len(place.fake.jobs) == 1


async def test_a_job_that_failed_says_why_and_is_tried_again(place: Place, desk: Desk) -> None:
    place.fake.ends = [("FAILED", ["The role may not read the bucket.", "The role may not read the bucket."])]
    error, told = await desk.fails(desk.event(a="The whale."), 1)
    assert isinstance(error, RetryableError) and told is None
    assert str(error).endswith("ingestion job JOB0000000 failed: The role may not read the bucket..")
    assert (await desk.sync(desk.event(a="The whale."), 1)).added == 1
    assert len(place.fake.jobs) == 2


async def test_a_job_that_was_stopped_is_tried_again(place: Place, desk: Desk) -> None:
    place.fake.ends = [("STOPPED", [])]
    error, _ = await desk.fails(desk.event(a="The whale."), 1)
    assert isinstance(error, RetryableError) and "stopped" in str(error)
    assert (await desk.sync(desk.event(a="The whale."), 1)).added == 1


async def test_a_job_that_has_seen_nothing_is_suspicious(place: Place, desk: Desk) -> None:
    place.fake.ends = [("EMPTY", [])]
    error, _ = await desk.fails(desk.event(a="The whale."), 1)
    assert isinstance(error, PermanentError)
    assert "has seen no document at all, although there are some in s3://knowledge/kb/current/" in str(error)
    assert (await desk.sync(desk.event(a="The whale."), 1)).added == 1  # nothing was written down as brought in


async def test_an_emptied_knowledge_base_is_not_suspicious(place: Place, desk: Desk) -> None:
    await desk.sync(desk.event(a="The whale."), 1)
    assert (await desk.sync(desk.event(delete=("a",)), 2)).deleted == 1


async def test_direct_calls_hold_as_many_documents_as_the_model_allows(place: Place, desk: Desk) -> None:
    place.settings["ingestion"] = "direct"
    await desk.sync(desk.event(**{f"d{n:02}": f"Number {n}." for n in range(23)}), 1)
    assert place.fake.calls["IngestKnowledgeBaseDocuments"] == 3
    await desk.sync(desk.event(delete=tuple(f"d{n:02}" for n in range(12))), 2)
    assert place.fake.calls["DeleteKnowledgeBaseDocuments"] == 2
    assert len(place.texts("handbook")) == 11


async def test_documents_that_do_not_arrive_in_time_are_tried_again(place: Place, desk: Desk) -> None:
    place.settings.update(ingestion="direct", patience=0.1)
    place.fake.lag = 1000
    error, _ = await desk.fails(desk.event(a="The whale."), 1)
    assert isinstance(error, RetryableError) and "1 documents are still" in str(error)


async def test_an_agent_is_prepared_only_when_asked(place: Place, desk: Desk) -> None:
    await desk.sync(desk.event(a="The whale."), 1)
    assert place.fake.calls["PrepareAgent"] == 0
    place.settings["agent_id"] = AGENT
    await desk.sync(desk.event(a="The walrus."), 2)
    assert place.fake.calls["PrepareAgent"] == 1 and place.fake.agent_status == "PREPARED"
    await desk.sync(desk.event(a="The walrus."), 3)
    assert place.fake.calls["PrepareAgent"] == 1
    place.fake.agent_ends = "FAILED"
    error, _ = await desk.fails(desk.event(a="The seal."), 4)
    assert "Agent AG12345678 cannot be prepared: The model is not there." in str(error)


@pytest.mark.parametrize(
    ("sources", "sentence"),
    [
        ([], "Knowledge base KB12345678 has no data source: create one"),
        (["DS00000001", "DS00000002"], "several data sources: name one by STENOBUS_KB_BEDROCK_DATA_SOURCE_ID: DS0"),
    ],
)
async def test_the_data_source_is_found_or_its_lack_explained(
    place: Place, desk: Desk, sources: list[str], sentence: str
) -> None:
    place.fake.data_sources = sources
    error, _ = await desk.fails(desk.event(a="The whale."), 1)
    assert isinstance(error, PermanentError) and sentence in str(error)


async def test_a_wrong_data_source_is_explained(place: Place, desk: Desk) -> None:
    place.settings["data_source_id"] = "NOSUCHDATA"
    error, _ = await desk.fails(desk.event(a="The whale."), 1)
    assert isinstance(error, PermanentError) and "does not exist, or not in this region" in str(error)


async def test_missing_and_wrong_credentials_are_explained(
    place: Place, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    error, _ = await desk.fails(desk.event(a="The whale."), 1)
    assert isinstance(error, PermanentError) and "credentials are refused (UnrecognizedClientException)" in str(error)
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    error, _ = await desk.fails(desk.event(a="The whale."), 1)
    assert isinstance(error, PermanentError) and "no usable AWS credentials" in str(error)


async def test_a_document_that_bedrock_would_not_take_is_told_by_name(place: Place, desk: Desk) -> None:
    long = desk.document("long", "text", metadata={"essay": "x" * 11_000})
    event = desk.event(a="The whale.", empty=" \n").model_copy()
    event = event.model_copy(update={"upsert": (*event.upsert, long)})
    error, told = await desk.fails(event, 1)
    assert "empty: it has no text" in str(error) and "long: its metadata has 11" in str(error)
    assert told is not None and (told.added, told.failed) == (1, 2)


def test_the_doctor_compares_the_data_source_with_the_settings(place: Place) -> None:
    settings = Settings.load("kb-bedrock")
    assert all(check.ok for check in doctor(settings)), doctor(settings)
    elsewhere = doctor(settings.model_copy(update={"prefix": "other/"}))
    assert [check.detail for check in elsewhere if not check.ok] == [
        "reads kb/current/: set its inclusion prefix to other/current/"
    ]
    (found,) = doctor(settings.model_copy(update={"data_source_id": "NOSUCHDATA"}))
    assert not found.ok and "does not exist" in found.detail
    (found,) = doctor(settings.model_copy(update={"bucket": None}))
    assert not found.ok and "STENOBUS_KB_BEDROCK_BUCKET" in found.detail


async def test_a_new_data_source_over_the_same_folder_is_filled(place: Place, desk: Desk) -> None:
    event = desk.event(a="The whale.")
    await desk.sync(event, 1)
    place.fake.index.clear()
    place.fake.data_sources = ["DS00000002"]
    place.settings["data_source_id"] = "DS00000002"
    assert (await desk.sync(event, 2)).added == 1
    assert place.texts("handbook") == {"a": "The whale."}


async def test_a_job_whose_start_was_not_heard_of_is_found_again(place: Place, desk: Desk) -> None:
    event = desk.event(a="The whale.")
    place.fake.server.after = lambda request: not request.path.endswith("/ingestionjobs/")
    error, _ = await desk.fails(event, 1)
    assert isinstance(error, RetryableError)
    place.fake.server.after = lambda request: None
    assert (await desk.sync(event, 1)).added == 1
    assert len(place.fake.jobs) == 1


async def test_what_is_told_of_the_version_before_is_not_believed(place: Place, desk: Desk) -> None:
    place.settings["ingestion"], place.fake.lag = "direct", 1
    await desk.sync(desk.event(a="The whale."), 1)
    await desk.sync(desk.event(a="The walrus."), 2)
    assert [held.late for held in place.fake.index.values()] == [[]]


async def test_a_newer_file_stays_although_nobody_remembers_it(place: Place, desk: Desk) -> None:
    await desk.sync(desk.event(a="newer"), 5)
    place.fake.forget("kb/state/DS12345678/collections/handbook.json")
    done = await desk.sync(desk.event(a="older"), 4)
    assert (done.added, done.unchanged) == (0, 1)
    assert place.texts("handbook") == {"a": "newer"}
