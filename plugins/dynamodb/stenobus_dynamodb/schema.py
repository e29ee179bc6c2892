"""The table: its keys, its index, and the items in it.

========== ============================ ===================================================================
item       ``run``, ``step``            attributes
========== ============================ ===================================================================
a step     the run, handler.event[.replay]  ``status`` ``handler`` … for people and queries, ``state``: all of it
a run      the run, ``#run``            ``month`` and ``began``: its place in the index ``latest``
========== ============================ ===================================================================

Every item has ``expires``, the seconds since the epoch after which DynamoDB may remove it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from stenobus_core.runs import Step, Try

#: Sort key of the item that stands for the run; every handler's name sorts behind it.
RUN: Final = "#run"
INDEX: Final = "latest"
#: Bytes of a step's state, far enough below DynamoDB's 400 KB per item.
_LARGEST: Final = 256_000
#: Characters that are left of a text in a step that is larger.
_SHORTENED: Final = 1_000
#: How much a host's clock may be wrong by. An attempt that began so much later than the one before is newer, whatever
#: its number: a replay in place counts from 1 again.
SKEW: Final = timedelta(minutes=1)

Item = dict[str, dict[str, Any]]


def table(name: str) -> dict[str, Any]:
    """What CreateTable takes."""
    return {
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [
            {"AttributeName": attribute, "AttributeType": "S"} for attribute in ("run", "step", "month", "began")
        ],
        "KeySchema": keys("run", "step"),
        "GlobalSecondaryIndexes": [
            {
                "IndexName": INDEX,
                "KeySchema": keys("month", "began"),
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
        ],
    }


def time_to_live() -> dict[str, Any]:
    """What UpdateTimeToLive takes beside the table's name."""
    return {"TimeToLiveSpecification": {"Enabled": True, "AttributeName": "expires"}}


def keys(partition: str, sort: str) -> list[dict[str, str]]:
    """A key schema."""
    return [{"AttributeName": partition, "KeyType": "HASH"}, {"AttributeName": sort, "KeyType": "RANGE"}]


def step_item(step: Step, keep: timedelta) -> Item:
    """The item of a step."""
    shown = _bounded(step)
    columns = {
        "run": step.run,
        "step": step.key.removeprefix(f"{step.run}."),
        "handler": step.handler,
        "event": step.event_id,
        "subject": step.subject,
        "status": step.status,
        "message": shown.message,
        "reason": step.reason,
        "started": _time(step.started),
        "finished": _time(step.finished) if step.finished else None,
        "newness": newness(step),
        "state": shown.model_dump_json(exclude_none=True),
    }
    numbers = {
        "attempt": step.attempt,
        "progress": step.progress,
        "seconds": step.seconds,
        "expires": _expires(step, keep),
    }
    return {
        **{name: {"S": text} for name, text in columns.items() if text is not None},
        **{name: {"N": str(number)} for name, number in numbers.items() if number is not None},
    }


def run_item(step: Step, keep: timedelta) -> Item:
    """The item of a run, made from the first step that is seen of it."""
    return {
        "run": {"S": step.run},
        "step": {"S": RUN},
        "month": {"S": month(step.started)},
        "began": {"S": _time(step.started)},
        "expires": {"N": str(_expires(step, keep))},
    }


def unless_newer(step: Step) -> dict[str, Any]:
    """The condition under which a step may be written.

    What is stored must be older: an earlier attempt, or an earlier state of the same one. Attempts far apart in time
    are told apart by when they began, see :data:`SKEW`.
    """
    return {
        "ConditionExpression": (
            "attribute_not_exists(newness) OR started < :before OR (newness < :newness AND started < :after)"
        ),
        "ExpressionAttributeValues": {
            ":newness": {"S": newness(step)},
            ":before": {"S": _time(step.started - SKEW)},
            ":after": {"S": _time(step.started + SKEW)},
        },
    }


def newness(step: Step) -> str:
    """:attr:`Step.order` as a text that sorts the same."""
    attempt, started, status, changed = step.order
    return f"{attempt:06d} {_time(started)} {status} {_time(changed)}"


def month(when: datetime) -> str:
    """The partition of the index that a time belongs to: ``2026-01``."""
    return f"{when.astimezone(UTC):%Y-%m}"


def months(until: datetime, keep: timedelta) -> list[str]:
    """The partitions that hold runs which are still kept, the newest first."""
    found, first = [month(until)], month(until - keep)
    day = until.astimezone(UTC)
    while found[-1] > first:
        day = day.replace(day=1) - timedelta(days=1)
        found.append(month(day))
    return found


def _time(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _expires(step: Step, keep: timedelta) -> int:
    return int((step.started + keep).timestamp())


def _bounded(step: Step) -> Step:
    """The step, or what is left of one that is too large for an item."""
    if len(step.model_dump_json(exclude_none=True).encode()) <= _LARGEST:
        return step
    tries = tuple(
        Try(attempt=each.attempt, started=each.started, seconds=each.seconds, error=each.error[:_SHORTENED])
        for each in step.tries
    )
    facts = {name: value for name, value in step.facts.items() if isinstance(value, int | float | bool)}
    facts["left_out"] = sorted(step.facts.keys() - facts.keys())[:100]  # type: ignore[assignment]
    message = step.message and step.message[:_SHORTENED]
    return step.model_copy(update={"tries": tries, "facts": facts, "message": message})
