"""The run record in DynamoDB, over HTTP."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from click.testing import CliRunner

from stenobus_bus import Bus, RetryPolicy
from stenobus_core import CoreSettings, PermanentError, RetryableError
from stenobus_core.mirror import Mirror
from stenobus_core.run_stores import Copies
from stenobus_core.runs import Runs
from stenobus_core.services import topology
from stenobus_dynamodb import run_store, schema
from stenobus_dynamodb.cli import dynamodb
from stenobus_testing.run_store_contract import NOON, CopiesContract, RunStoreContract, seconds
from stenobus_testing.waiting import eventually

from ..support.aws import Answer, Gatekeeper, endpoint, enter, environment

TABLE = "runs"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with endpoint() as url:
        yield url


@pytest.fixture(autouse=True)
def aws(url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    enter(monkeypatch, url, TRACKING_TABLE=TABLE)


@pytest.fixture(scope="module")
def client(url: str) -> Any:
    """The server, as somebody else sees it."""
    names = environment(url)
    return boto3.client(
        "dynamodb",
        endpoint_url=url,
        region_name=names["AWS_REGION"],
        aws_access_key_id="x",
        aws_secret_access_key="x",
    )


@pytest.fixture(scope="module")
def table(url: str, client: Any) -> str:
    with pytest.MonkeyPatch.context() as environment:
        enter(environment, url)
        made = CliRunner().invoke(dynamodb, ["create", "--table", TABLE])
    assert made.output == "The table runs is made.\n"
    return TABLE


def opened() -> Any:
    found = run_store(CoreSettings())
    assert found is not None
    return found


@pytest.fixture
async def store(table: str) -> AsyncIterator[Copies]:
    store = opened()
    yield store
    await store.close()


@pytest.fixture
def gate(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gatekeeper]:
    """Stands before the endpoint."""
    gate = Gatekeeper(url)
    monkeypatch.setenv("AWS_ENDPOINT_URL", gate.url)
    yield gate
    gate.close()


step = RunStoreContract.step


class TestContract(CopiesContract):
    @pytest.fixture
    def store(self, store: Copies) -> Copies:
        return store


# --- what lies in the table ------------------------------------------------------------------------------------------


async def test_a_step_can_be_read_without_our_code_and_expires(client: Any, store: Copies) -> None:
    await store.put(step("plain", status="failed", attempt=2, reason="permanent", message="No disk.", seconds=1.5))
    items = client.query(
        TableName=TABLE, KeyConditionExpression="run = :r", ExpressionAttributeValues={":r": {"S": "plain"}}
    )["Items"]
    run, found = items
    assert run["step"] == {"S": "#run"} and run["month"] == {"S": f"{NOON:%Y-%m}"}
    assert found["step"] == {"S": "asr.event-1"}
    assert found["status"] == {"S": "failed"} and found["message"] == {"S": "No disk."}
    assert found["attempt"] == {"N": "2"} and found["seconds"] == {"N": "1.5"}
    assert int(found["expires"]["N"]) == int((NOON + timedelta(days=90)).timestamp())
    assert client.describe_time_to_live(TableName=TABLE)["TimeToLiveDescription"] == {
        "AttributeName": "expires",
        "TimeToLiveStatus": "ENABLED",
    }


async def test_the_days_to_keep_are_a_setting(client: Any, table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STENOBUS_DYNAMODB_KEEP_DAYS", "2")
    await opened().put(step("brief"))
    key = {"run": {"S": "brief"}, "step": {"S": "asr.event-1"}}
    item = client.get_item(TableName=TABLE, Key=key)["Item"]
    assert int(item["expires"]["N"]) == int((NOON + timedelta(days=2)).timestamp())


async def test_runs_of_earlier_months_are_found_as_long_as_they_are_kept(store: Copies) -> None:
    now = datetime.now(UTC)
    for days in (80, 45, 120):
        begin = now - timedelta(days=days)
        await store.put(step(f"days-{days}", started=begin, changed=begin))
    found = [run for run in await store.latest(1000) if run.startswith("days-")]
    assert found == ["days-45", "days-80"]


async def test_nothing_is_ever_scanned_and_a_listing_asks_no_further_than_it_must(table: str, gate: Gatekeeper) -> None:
    store = opened()
    for number in range(5):
        await store.put(step(f"few-{number}", started=datetime.now(UTC)))
    gate.seen.clear()
    assert len(await store.latest(3)) == 3
    assert gate.seen == ["Query"]
    await store.steps("few-1")
    assert set(gate.seen) == {"Query"}


async def test_the_run_itself_is_written_once(table: str, gate: Gatekeeper) -> None:
    store = opened()
    for number in range(3):
        await store.put(step("once", event_id=f"e{number}"))
    assert gate.seen == ["PutItem"] * 4


def test_months_go_back_as_far_as_runs_are_kept() -> None:
    at = datetime(2026, 3, 31, 23, 59, tzinfo=UTC)
    assert schema.months(at, timedelta(days=90)) == ["2026-03", "2026-02", "2026-01", "2025-12"]
    assert schema.months(at, timedelta(days=30)) == ["2026-03"]


# --- what can be wrong -----------------------------------------------------------------------------------------------


def sentence(caught: pytest.ExceptionInfo[Exception]) -> str:
    text = str(caught.value)
    assert "\n" not in text and text.endswith(".") and "a-secret" not in text
    return text


def test_without_a_table_there_is_no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKING_TABLE", "")
    assert run_store(CoreSettings()) is None
    monkeypatch.setenv("STENOBUS_DYNAMODB_TABLE", "other")
    assert run_store(CoreSettings()) is not None


async def test_a_missing_table_says_how_to_make_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKING_TABLE", "nowhere")
    store = opened()
    for use in (store.check(), store.put(step("x")), store.steps("x"), store.latest(1)):
        with pytest.raises(PermanentError, match="table nowhere does not exist: make it by `stenobus dynamodb create`"):
            await use


async def test_a_table_with_other_keys_is_refused(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = schema.table("other-keys")
    wanted["KeySchema"] = schema.keys("step", "run")
    client.create_table(**wanted)
    without = schema.table("no-index")
    del without["GlobalSecondaryIndexes"]
    without["AttributeDefinitions"] = without["AttributeDefinitions"][:2]
    client.create_table(**without)
    for name in ("other-keys", "no-index"):
        monkeypatch.setenv("TRACKING_TABLE", name)
        with pytest.raises(PermanentError, match="stenobus dynamodb schema"):
            await opened().check()


def test_the_command_makes_the_table_once_and_shows_what_it_makes(table: str) -> None:
    again = CliRunner().invoke(dynamodb, ["create"])
    assert again.output == "The table runs was there already.\n"
    shown = json.loads(CliRunner().invoke(dynamodb, ["schema", "--table", TABLE]).output)
    assert shown == schema.table(TABLE)


def test_the_command_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRACKING_TABLE")
    assert "Name the table by --table or TRACKING_TABLE" in CliRunner().invoke(dynamodb, ["create"]).output
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    refused = CliRunner().invoke(dynamodb, ["create", "--table", "runs"])
    assert refused.exit_code == 1 and "set AWS_ACCESS_KEY_ID" in refused.output


async def test_an_endpoint_that_is_down_may_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free.getsockname()[1]}")
    with pytest.raises(RetryableError) as caught:
        await opened().put(step("x"))
    assert "cannot be reached" in sentence(caught)


@pytest.mark.parametrize(("setting", "value"), [("AWS_ENDPOINT_URL", "nonsense"), ("AWS_PROFILE", "absent")])
async def test_a_wrong_setting_is_permanent(monkeypatch: pytest.MonkeyPatch, setting: str, value: str) -> None:
    monkeypatch.setenv(setting, value)
    with pytest.raises(PermanentError) as caught:
        await opened().check()
    assert "set up wrongly" in sentence(caught)


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (Answer(400, "ProvisionedThroughputExceededException"), RetryableError, "throttled"),
        (Answer(400, "ThrottlingException"), RetryableError, "throttled"),
        (Answer(400, "RequestLimitExceeded"), RetryableError, "throttled"),
        (Answer(500, "InternalServerError"), RetryableError, "failing"),
        (Answer(503), RetryableError, "failing"),
        (Answer(400, "AccessDeniedException"), PermanentError, "dynamodb:PutItem"),
        (Answer(400, "UnrecognizedClientException"), PermanentError, "renew them"),
        (Answer(400, "ExpiredTokenException"), PermanentError, "renew them"),
        (Answer(400, "ValidationException", message="Key is\n odd."), PermanentError, "Key is odd"),
        (Answer(200, silence=0.5), RetryableError, "cannot be reached"),
    ],
)
async def test_every_answer_becomes_one_sentence_at_the_first_time(
    gate: Gatekeeper, monkeypatch: pytest.MonkeyPatch, answer: Answer, error: type[Exception], said: str
) -> None:
    monkeypatch.setenv("STENOBUS_DYNAMODB_READ_TIMEOUT", "0.2")
    gate.answer = lambda operation: answer
    store = opened()
    for number, use in enumerate((store.put(step("x")), store.steps("x"), store.latest(1), store.check())):
        with pytest.raises(error) as caught:
            await use
        assert said in sentence(caught)
        assert len(gate.seen) == number + 1  # botocore did not try again by itself


# --- behind the bus --------------------------------------------------------------------------------------------------


@pytest.fixture
def bus_topology() -> list[Any]:
    return topology("stenobus")


async def test_a_throttled_table_gets_every_step_in_the_end_and_no_old_one(
    bus: Bus, table: str, gate: Gatekeeper
) -> None:
    refused = [0]

    def throttle(operation: str) -> Answer | None:
        refused[0] += 1
        return None if refused[0] % 3 == 0 else Answer(400, "ThrottlingException")

    runs, store = await Runs.open(bus), opened()
    mirror = Mirror(bus, "dynamodb", store, retry=RetryPolicy(base=0.005, cap=0.01))
    gate.answer = throttle
    await mirror.start()  # it may be throttled from the first moment on
    for number in range(12):
        await runs.put(step("busy", event_id=f"e{number:02}"))
    done = [step("busy", event_id=f"e{number:02}", status="done", changed=seconds(number + 1)) for number in range(12)]
    await asyncio.gather(*(runs.put(each) for each in done))
    await mirror.stop(30)
    gate.answer = lambda operation: None
    assert await store.steps("busy") == done
    await store.close()


async def test_two_mirrors_share_the_work(bus: Bus, table: str) -> None:
    runs, stores = await Runs.open(bus), [opened(), opened()]
    mirrors = [Mirror(bus, "dynamodb", store) for store in stores]
    for mirror in mirrors:
        await mirror.start()
    steps = [step("shared", event_id=f"e{number:02}", started=seconds(number)) for number in range(30)]
    await asyncio.gather(*(runs.put(each) for each in steps))

    async def copied() -> bool:
        return await stores[0].steps("shared") == steps

    await eventually(copied)
    for mirror in mirrors:
        await mirror.stop()
