"""One job per invocation of an AWS Lambda function: the handler is ``stenobus_core.aws_lambda.lambda_handler``."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import Any, Final

import structlog

from stenobus_bus import BusError

from .aws_events import Nothing, is_classic, job_event
from .discovery import discover
from .errors import StenobusError
from .job import Job, JobError
from .logs import configure
from .once import processed
from .plugin import Plugin
from .settings import CoreSettings

log = structlog.get_logger(__name__)

#: The one folder that a function may write to; what is in it is there again when the instance is used again.
_FOLDER: Final = Path("/tmp/stenobus")  # noqa: S108
#: Bytes that have to be free there at the beginning; else what earlier invocations left is removed. AWS gives 512 MiB.
_ROOM: Final = 256 * 1024 * 1024
#: Seconds before the function's time limit at which a job is broken off: a tenth of the time, within these bounds.
_RESERVE: Final = (8.0, 20.0)
#: Most seconds that whatever goes on beside the job gets at its end: what an earlier invocation left, copies of runs.
_GRACE: Final = 5.0


def lambda_handler(event: Any, context: Any) -> dict[str, Any]:
    """Process one job, on an embedded server in /tmp unless STENOBUS_NATS_URL names another.

    Whoever sends the classic job event gets the classic response, failures included. Behind a notification (SQS,
    EventBridge, S3) nobody reads a response: there a failure is raised, so that it is delivered again or kept.

    Args:
        event: see :func:`stenobus_core.aws_events.job_event`.
        context: AWS's; its ``get_remaining_time_in_millis`` says when to stop.

    Raises:
        JobError: a job behind a notification failed.
    """
    try:
        return _handle(event, float(context.get_remaining_time_in_millis()) / 1000)
    except Nothing as reason:
        log.info("lambda.nothing_to_do", reason=str(reason))
        return {"statusCode": 200, "body": {"ignored": str(reason)}}
    except JobError as error:
        log.error("lambda.failed", error=error.error, message=str(error))
        if is_classic(event):
            return error.response
        raise


def _handle(event: Any, seconds: float) -> dict[str, Any]:
    results = os.environ.get("STENOBUS_S3_OUTPUT_BUCKET") or os.environ.get("OUTPUT_BUCKET")
    job = Job.from_classic(json.dumps(job_event(event, results)))
    try:
        found = _settings()
        discovered = discover(found)
        for name, why in discovered.broken.items():
            log.error("plugin.broken", plugin=name, error=why)
        plugins = list(discovered.plugins.values())
        _check_results(found, plugins)
        return asyncio.run(_process(found, plugins, job, seconds))
    except (StenobusError, BusError) as error:
        if isinstance(error, JobError):
            raise
        raise JobError(str(error), status=500, error="Failed") from error


def _settings() -> CoreSettings:
    """The settings; where no data folder is named, one in /tmp, which is emptied when there is little room."""
    found = CoreSettings.load("core")
    if "data_dir" not in found.model_fields_set:
        os.environ["STENOBUS_DATA_DIR"] = str(_FOLDER)  # for plugins too
        found = CoreSettings.load("core")
    configure(found)
    if found.data_dir == _FOLDER and _FOLDER.exists():
        free = shutil.disk_usage(_FOLDER).free
        if free < _ROOM:
            log.info("lambda.tidied", folder=str(_FOLDER), free=free)
            shutil.rmtree(_FOLDER)
    return found.model_copy(update={"grace": min(found.grace, _GRACE)})


def _check_results(found: CoreSettings, plugins: list[Plugin]) -> None:
    """Results in this instance's memory or on its disk are of no use to anybody."""
    delivers = any(handler.delivers for plugin in plugins for handler in plugin.handlers)
    kept = found.blob_store not in {"nats", "file"} or (found.blob_store == "nats" and found.nats_url)
    if not (delivers or kept):
        raise JobError(
            "The results would be lost with this instance: set OUTPUT_BUCKET, STENOBUS_BLOB_STORE=s3 or "
            "STENOBUS_NATS_URL.",
            status=500,
            error="NowhereToPutResults",
        )


async def _process(found: CoreSettings, plugins: list[Plugin], job: Job, seconds: float) -> dict[str, Any]:
    least, most = _RESERVE
    reserve = min(max(least, seconds / 10), most)
    limit = asyncio.timeout(seconds - reserve)
    try:
        async with limit, processed(found, plugins, job) as (outcome, _):
            return outcome.response({})
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise JobError(
            f"The job {job.execution_id} did not end in the function's time: {seconds:.0f} s were left at its begin, "
            f"{reserve:.0f} s of them for the end. The bus keeps its finished stages; send the same event again to go "
            "on, or give the function more time.",
            status=500,
            error="TimeLimit",
        ) from error
