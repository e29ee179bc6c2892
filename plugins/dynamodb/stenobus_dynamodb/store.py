"""Steps in a table: every write conditional, every read by key or index, never a scan."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import ClientError

from stenobus_core import PermanentError
from stenobus_core.runs import Step

from . import schema
from .errors import code, explained
from .settings import Settings

#: Runs that are known to have their item: writing it again would change nothing.
_KNOWN: Final = 10_000


class DynamoStore:
    """A table behind boto3, which blocks: every call runs in a worker thread.

    Nothing is tried again here, and botocore's own retries are off: the mirror that writes, or the person who reads,
    decides that alone.

    Raises:
        PermanentError: somebody has to change the table, credentials, permissions or settings first.
        RetryableError: the endpoint cannot be reached, throttles or fails.
    """

    def __init__(self, settings: Settings, table: str) -> None:
        self._settings, self._table = settings, table
        self._keep = timedelta(days=settings.keep_days)
        self._known: dict[str, None] = {}
        self._opening = threading.Lock()
        self._opened: Any = None

    async def put(self, step: Step) -> bool:
        """Write a step unless a newer state of it, or this one, is stored."""
        return await asyncio.to_thread(self._put, step)

    async def steps(self, run: str) -> list[Step]:
        """The steps of a run in order of their start."""
        return await asyncio.to_thread(self._steps, run)

    async def latest(self, limit: int) -> list[str]:
        """Names of the runs that began last, from one query per month."""
        return await asyncio.to_thread(self._latest, limit)

    async def check(self) -> None:
        """Whether the table is there and has the keys and the index it needs."""
        await asyncio.to_thread(self._check)

    async def create(self) -> bool:
        """Make the table, wait until it is there, and let it forget what has expired.

        Returns:
            Whether it was not there before.
        """
        return await asyncio.to_thread(self._create)

    async def close(self) -> None:
        """Release the connections."""
        if self._opened is not None:
            await asyncio.to_thread(self._opened.close)

    def _client(self) -> Any:
        with self._opening:  # a client may be used by many threads, but made by one only
            if self._opened is None:
                self._opened = Session().client(
                    "dynamodb",
                    region_name=os.environ.get("AWS_REGION"),  # boto3 itself knows AWS_DEFAULT_REGION only
                    config=Config(
                        connect_timeout=self._settings.connect_timeout,
                        read_timeout=self._settings.read_timeout,
                        retries={"mode": "standard", "total_max_attempts": 1},
                    ),
                )
            return self._opened

    def _put(self, step: Step) -> bool:
        with explained(self._table):
            if step.run not in self._known:
                self._write(schema.run_item(step, self._keep), ConditionExpression="attribute_not_exists(began)")
                self._known[step.run] = None
                if len(self._known) > _KNOWN:
                    del self._known[next(iter(self._known))]
            return self._write(schema.step_item(step, self._keep), **schema.unless_newer(step))

    def _write(self, item: schema.Item, **condition: Any) -> bool:
        try:
            self._client().put_item(TableName=self._table, Item=item, **condition)
        except ClientError as error:
            if code(error) != "ConditionalCheckFailedException":
                raise
            return False
        return True

    def _steps(self, run: str) -> list[Step]:
        found = self._query(
            KeyConditionExpression="run = :run AND step > :marker",
            ExpressionAttributeValues={":run": {"S": run}, ":marker": {"S": schema.RUN}},
            ProjectionExpression="#state",
            ExpressionAttributeNames={"#state": "state"},
            ConsistentRead=True,
        )
        steps = [Step.model_validate_json(item["state"]["S"]) for item in found]
        return sorted(steps, key=lambda step: step.started)

    def _latest(self, limit: int) -> list[str]:
        runs: list[str] = []
        for month in schema.months(datetime.now(UTC), self._keep):
            found = self._query(
                IndexName=schema.INDEX,
                KeyConditionExpression="#month = :month",
                ExpressionAttributeNames={"#month": "month"},
                ExpressionAttributeValues={":month": {"S": month}},
                ScanIndexForward=False,
                Limit=limit,
            )
            for item in found:
                runs.append(item["run"]["S"])
                if len(runs) >= limit:
                    return runs
        return runs

    def _query(self, **query: Any) -> Iterator[schema.Item]:
        """The items page by page, no further than somebody looks."""
        start: dict[str, Any] = {}
        while True:
            with explained(self._table):
                page = self._client().query(TableName=self._table, **query, **start)
            yield from page["Items"]
            if not page.get("LastEvaluatedKey"):
                return
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    def _check(self) -> None:
        with explained(self._table):
            found = self._client().describe_table(TableName=self._table)["Table"]
        indexes = {index["IndexName"]: index["KeySchema"] for index in found.get("GlobalSecondaryIndexes") or ()}
        wanted = schema.table(self._table)["KeySchema"], schema.keys("month", "began")
        if (_sorted(found["KeySchema"]), _sorted(indexes.get(schema.INDEX) or [])) != tuple(map(_sorted, wanted)):
            raise PermanentError(
                f"The DynamoDB table {self._table} has other keys than run and step, or no index {schema.INDEX} with "
                "month and began: `stenobus dynamodb schema` shows what is needed; name another by TRACKING_TABLE."
            )

    def _create(self) -> bool:
        with explained(self._table):
            client = self._client()
            try:
                client.create_table(**schema.table(self._table))
                new = True
            except ClientError as error:
                if code(error) != "ResourceInUseException":
                    raise
                new = False
            client.get_waiter("table_exists").wait(TableName=self._table, WaiterConfig={"Delay": 2, "MaxAttempts": 60})
            self._check()
            described = client.describe_time_to_live(TableName=self._table)["TimeToLiveDescription"]
            if described.get("TimeToLiveStatus") not in {"ENABLED", "ENABLING"}:
                client.update_time_to_live(TableName=self._table, **schema.time_to_live())
            return new


def _sorted(keys: list[dict[str, str]]) -> list[dict[str, str]]:
    return sorted(keys, key=lambda key: key["AttributeName"])
