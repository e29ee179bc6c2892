"""Ingestion jobs: one at a time, shared by all events whose documents were written before it began.

All state is one record in the bucket, changed by compare-and-set, so that any process can go on where another one died:

- ``wanted``: number of the last change that wants a job;
- ``covered``: number up to which jobs have ended;
- ``asked``: number of each event that waits, by its token;
- ``job``: the one that runs, with the last number it covers, its client token, and its id once that is known;
- ``done``: the last jobs that ended.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from botocore.exceptions import ClientError
from pydantic import TypeAdapter

from stenobus_core import PermanentError, RetryableError

from ...aws import Busy, code, explained
from ...port import Progress
from .records import Record, Value

ENDED: Final = {"COMPLETE", "FAILED", "STOPPED"}
RIGHTS: Final = "bedrock:StartIngestionJob and bedrock:GetIngestionJob"
#: Jobs that are remembered, for events that look late.
_REMEMBERED: Final = 20
#: Events that may wait at the same time.
_WAITING: Final = 10_000


@dataclass(frozen=True, slots=True)
class Job:
    """One that ended."""

    id: str
    covers: int
    status: str
    statistics: dict[str, int] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()

    @property
    def failed(self) -> int:
        """Documents that it could not take."""
        return self.statistics.get("numberOfDocumentsFailed", 0)

    @property
    def is_empty(self) -> bool:
        """It is complete, and has seen nothing at all."""
        return self.status == "COMPLETE" and not any(self.statistics.values())

    @property
    def why(self) -> str:
        """Its reasons, as a part of a sentence."""
        return "; ".join(dict.fromkeys(" ".join(reason.split()) for reason in self.reasons))[:1000]


_JOB: Final = TypeAdapter(Job)


class Jobs:
    """The jobs of one data source.

    Args:
        client: for ``bedrock-agent``.
        poll: seconds between two looks.
        patience: seconds that another's job, a quota or a crowd is waited for.
    """

    def __init__(
        self, client: Any, record: Record, knowledge_base: str, data_source: str, *, poll: float, patience: float
    ) -> None:
        self._client, self._record = client, record
        self._place = {"knowledgeBaseId": knowledge_base, "dataSourceId": data_source}
        self._what = f"Knowledge base {knowledge_base}, data source {data_source}"
        self._poll, self._patience = poll, patience

    async def cover(self, token: str, *, anew: bool, progress: Progress) -> Job:
        """Wait for a job that began after now, or after the same call of an earlier attempt.

        Args:
            token: of the event.
            anew: something was written since the earlier attempt.

        Raises:
            Busy: the service was busy with other things for all its patience.
            PermanentError: it refuses to start a job.
            RetryableError: the job failed or was stopped, or the service cannot be reached.
        """
        number = await self._record.change(lambda state: _ask(state, token, anew))
        waited = 0.0
        while True:
            job = await self._record.change(lambda state: _claim(state, token, number, self._place))
            if job is None:
                ended = await self._record.change(lambda state: _take(state, token, number))
                if ended is None:
                    raise RetryableError(f"{self._what}: the job that did it is forgotten; another one follows.")
                return ended
            try:
                if job.get("id") is None:
                    await self._start(job)
                    continue
                await self._look(job, progress)
            except Busy:
                if waited >= self._patience:
                    raise
                pause = self._poll * random.uniform(1, 1.5)
                waited += pause
                await progress(0.1, "another job runs, or a quota is used up: waiting")
                await asyncio.sleep(pause)

    async def _start(self, job: Value) -> None:
        """Start a claimed job. Whoever does so twice gets the same job, by its token."""

        def start() -> str:
            with explained(self._what, MISSING, RIGHTS):
                found = self._client.start_ingestion_job(**self._place, clientToken=job["token"])["ingestionJob"]
                return str(found["ingestionJobId"])

        try:
            id = await asyncio.to_thread(start)
        except RetryableError:
            # Of what is written until it can start, nothing shall need another one.
            await self._record.change(lambda state: _release(state, job["token"]))
            raise
        await self._record.change(lambda state: _started(state, job["token"], id))

    async def _look(self, job: Value, progress: Progress) -> None:
        """Look at a running job until it ends, and note how it ended."""

        def look() -> Any:
            with explained(self._what, MISSING, RIGHTS):
                try:
                    return self._client.get_ingestion_job(**self._place, ingestionJobId=job["id"])["ingestionJob"]
                except ClientError as error:
                    if code(error) != "ResourceNotFoundException":
                        raise
                    return None

        found = await asyncio.to_thread(look)
        if found is None:  # forgotten, with the data source it was for: another one takes its place
            await self._record.change(lambda state: _release(state, job["token"]))
            return
        numbers = {name: int(value) for name, value in found.get("statistics", {}).items()}
        if found["status"] not in ENDED:
            scanned = numbers.get("numberOfDocumentsScanned", 0)
            await progress(0.5, f"job {job['id']}: {found['status']}, {scanned} documents scanned")
            await asyncio.sleep(self._poll)
            return
        ended = Job(job["id"], job["covers"], found["status"], numbers, tuple(found.get("failureReasons", ())))
        await self._record.change(lambda state: _end(state, ended))


MISSING: Final = (
    "it does not exist, or not in this region: correct STENOBUS_KB_BEDROCK_KNOWLEDGE_BASE_ID, "
    "STENOBUS_KB_BEDROCK_DATA_SOURCE_ID or AWS_REGION"
)


def judged(job: Job, what: str, folder: str) -> None:
    """Whether a job did its work, apart from single documents.

    Raises:
        PermanentError: it found nothing where there is something.
        RetryableError: it failed, or was stopped.
    """
    if job.status == "FAILED":
        raise RetryableError(f"{what}: ingestion job {job.id} failed: {job.why or 'it gives no reason'}.")
    if job.status == "STOPPED":
        raise RetryableError(f"{what}: somebody stopped the ingestion job {job.id}.")
    if job.is_empty:
        raise PermanentError(
            f"{what}: ingestion job {job.id} is complete and has seen no document at all, although there are some in "
            f"{folder}: let the data source read that folder."
        )


def _ask(state: Value, token: str, anew: bool) -> int:
    asked = state.setdefault("asked", {})
    if anew or token not in asked:
        state["wanted"] = asked[token] = state.get("wanted", 0) + 1
    return int(asked[token])


def _claim(state: Value, token: str, number: int, place: dict[str, str]) -> Value | None:
    """The job that runs, or a new one; None when the number is covered. One step, so that nobody starts a job for what
    another one has just done."""
    if state.get("covered", 0) >= number:
        return None
    if not state.get("job"):
        covers = state["wanted"]
        parts = "\n".join((*place.values(), token, str(covers)))
        state["job"] = {"token": hashlib.sha256(parts.encode()).hexdigest(), "covers": covers, "id": None}
    claimed: Value = state["job"]
    return claimed


def _release(state: Value, token: str) -> None:
    if (state.get("job") or {}).get("token") == token:
        state["job"] = None


def _started(state: Value, token: str, id: str) -> None:
    if (state.get("job") or {}).get("token") == token:
        state["job"]["id"] = id


def _end(state: Value, job: Job) -> None:
    if (state.get("job") or {}).get("id") == job.id:
        state["job"] = None
        state["covered"] = job.covers
        state["done"] = [*state.get("done", []), asdict(job)][-_REMEMBERED:]
        # Events that ended among the dead letters ask no more.
        state["asked"] = {token: number for token, number in state["asked"].items() if number > job.covers - _WAITING}


def _take(state: Value, token: str, number: int) -> Job | None:
    """The job that covers a number, if it is remembered. The number is asked for no longer."""
    state.get("asked", {}).pop(token, None)
    done = [_JOB.validate_python(job) for job in state.get("done", [])]
    return next((job for job in done if job.covers >= number), None)
