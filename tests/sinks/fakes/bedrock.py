"""A Bedrock Knowledge Base that keeps its rules: one job at a time, ten documents a call, nothing that its model does
not know, and answers that come late."""

from __future__ import annotations

import json
import threading
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from .http import HttpServer, Reply, Request
from .shapes import Broken, Service, dumps
from .signed import is_signed

KNOWLEDGE_BASE, DATA_SOURCE, AGENT = "KB12345678", "DS12345678", "AG12345678"
_STATUS = {
    "AccessDeniedException": 403,
    "ConflictException": 409,
    "InternalServerException": 500,
    "ResourceNotFoundException": 404,
    "ServiceQuotaExceededException": 402,
    "ThrottlingException": 429,
    "UnrecognizedClientException": 403,
    "ValidationException": 400,
}
_RUNNING = {"STARTING", "IN_PROGRESS", "STOPPING"}


class Refused(Exception):
    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name, self.message = name, message


@dataclass
class Job:
    id: str
    status: str = "STARTING"
    statistics: dict[str, int] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)
    #: What lay in the folder when it began: address to entity tags and text.
    seen: dict[str, tuple[str, str, dict[str, Any]]] = field(default_factory=dict)
    started: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass
class Held:
    """A document that the knowledge base has heard of."""

    text: str
    tag: str
    attributes: dict[str, Any]
    status: str
    reason: str = ""
    updated: datetime = field(default_factory=lambda: datetime.now(UTC))
    #: States that are told before ``status``, one a look.
    late: list[str] = field(default_factory=list)


class FakeBedrock:
    """``bedrock-agent`` over HTTP, in front of a real bucket.

    Args:
        s3: client for the bucket.
        key, secret: of the only user.
    """

    def __init__(self, s3: Any, bucket: str, folder: str, key: str, secret: str) -> None:
        self._s3, self._bucket, self.folder = s3, bucket, folder
        self._user = key, secret
        self._service = Service("bedrock-agent")
        self._lock = threading.Lock()
        self.server = HttpServer(self._answer)
        self.url = self.server.url
        self.calls: Counter[str] = Counter()
        self.jobs: dict[str, Job] = {}
        self._tokens: dict[str, tuple[Any, Any]] = {}
        self.index: dict[str, Held] = {}
        #: Names of errors to answer with, in order, by operation.
        self.refuse: dict[str, list[str]] = {}
        #: Jobs go on only while it is set.
        self.going = threading.Event()
        self.going.set()
        #: Ends of jobs to come: status and reasons.
        self.ends: list[tuple[str, list[str]]] = []
        #: Words that make a document fail.
        self.poison = "unreadable"
        #: Looks during which a document is still on its way in, or still told to be there.
        self.lag = 0
        self.data_sources = [DATA_SOURCE]
        self.agent_status, self.agent_ends = "NOT_PREPARED", "PREPARED"
        #: A foreign job that runs, if any.
        self.complaints: list[str] = []

    def close(self) -> None:
        self.server.close()

    def found(self) -> list[tuple[dict[str, Any], str]]:
        """What can be found: the attributes of its metadata, and the text."""
        return [(held.attributes, held.text) for held in self.index.values() if held.status == "INDEXED"]

    def clear(self) -> None:
        """Forget all documents, and empty the bucket."""
        with self._lock:
            self.index.clear()
            for item in self._s3.list_objects_v2(Bucket=self._bucket).get("Contents", ()):
                self._s3.delete_object(Bucket=self._bucket, Key=item["Key"])

    def stored(self, key: str) -> Any:
        """A JSON object of the bucket; empty when there is none."""
        if not self._s3.list_objects_v2(Bucket=self._bucket, Prefix=key).get("Contents"):
            return {}
        return json.loads(self._s3.get_object(Bucket=self._bucket, Key=key)["Body"].read())

    def forget(self, key: str) -> None:
        """Remove an object of the bucket."""
        self._s3.delete_object(Bucket=self._bucket, Key=key)

    def start_foreign_job(self) -> Job:
        """A job that somebody else started."""
        with self._lock:
            return self._new_job()

    def _answer(self, request: Request) -> Reply:
        with self._lock:
            try:
                if not is_signed(request, "bedrock", *self._user):
                    raise Refused(
                        "UnrecognizedClientException", "The security token included in the request is invalid."
                    )
                try:
                    operation, given = self._service.read(request.method, request.target, request.body)
                except (Broken, ValueError) as error:
                    self.complaints.append(str(error))
                    raise Refused("ValidationException", str(error)) from error
                self.calls[operation.name] += 1
                if self.refuse.get(operation.name):
                    raise Refused(self.refuse[operation.name].pop(0), "Not now.")
                if given.get("knowledgeBaseId", KNOWLEDGE_BASE) != KNOWLEDGE_BASE:
                    raise Refused("ResourceNotFoundException", "Knowledge base not found.")
                if "dataSourceId" in given and given["dataSourceId"] not in self.data_sources:
                    raise Refused("ResourceNotFoundException", "Data source not found.")
                answer = self._once(operation.name, given)
                return Reply(operation.http.get("responseCode", 200), dumps(operation.output_shape, answer))
            except Refused as refused:
                return Reply(
                    _STATUS[refused.name],
                    json.dumps({"message": refused.message}).encode(),
                    {"x-amzn-ErrorType": refused.name},
                )

    def _once(self, name: str, given: dict[str, Any]) -> Any:
        """A call with a client token that was answered before is answered the same way."""
        token = given.pop("clientToken", None)
        if token is None:
            return getattr(self, f"_{name}")(**given)
        if token in self._tokens:
            same, answer = self._tokens[token]
            if same != given:
                raise Refused("ValidationException", "The client token was used with other parameters.")
            return answer
        answer = getattr(self, f"_{name}")(**given)
        self._tokens[token] = dict(given), answer
        return answer

    # --- data sources ------------------------------------------------------------------------------------------------

    def _ListDataSources(self, knowledgeBaseId: str) -> Any:
        now = datetime.now(UTC)
        common = {"knowledgeBaseId": knowledgeBaseId, "status": "AVAILABLE", "updatedAt": now}
        return {
            "dataSourceSummaries": [
                {**common, "dataSourceId": source, "name": f"bucket-{number}"}
                for number, source in enumerate(self.data_sources)
            ]
        }

    def _GetDataSource(self, knowledgeBaseId: str, dataSourceId: str) -> Any:
        now = datetime.now(UTC)
        s3 = {"bucketArn": f"arn:aws:s3:::{self._bucket}", "inclusionPrefixes": [self.folder]}
        return {
            "dataSource": {
                "knowledgeBaseId": knowledgeBaseId,
                "dataSourceId": dataSourceId,
                "name": "bucket",
                "status": "AVAILABLE",
                "dataSourceConfiguration": {"type": "S3", "s3Configuration": s3},
                "createdAt": now,
                "updatedAt": now,
            }
        }

    # --- jobs --------------------------------------------------------------------------------------------------------

    def _StartIngestionJob(self, knowledgeBaseId: str, dataSourceId: str, description: str = "") -> Any:
        if any(job.status in _RUNNING for job in self.jobs.values()):
            raise Refused("ConflictException", "An ingestion job is in progress for this knowledge base.")
        return {"ingestionJob": self._told_job(self._new_job(), knowledgeBaseId, dataSourceId)}

    def _GetIngestionJob(self, knowledgeBaseId: str, dataSourceId: str, ingestionJobId: str) -> Any:
        job = self.jobs.get(ingestionJobId)
        if job is None:
            raise Refused("ResourceNotFoundException", "Ingestion job not found.")
        if job.status == "STARTING":
            job.status = "IN_PROGRESS"
        elif job.status in _RUNNING and self.going.is_set():
            self._end(job)
        return {"ingestionJob": self._told_job(job, knowledgeBaseId, dataSourceId)}

    def _new_job(self) -> Job:
        job = Job(f"JOB{len(self.jobs):07d}", seen=self._folder())
        self.jobs[job.id] = job
        return job

    def _folder(self) -> dict[str, tuple[str, str, dict[str, Any]]]:
        """The documents as they lie there, by address."""
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self.folder)
        keys = [item["Key"] for page in pages for item in page.get("Contents", ())]
        found = {}
        for key in keys:
            if key.endswith(".metadata.json"):
                continue
            found[f"s3://{self._bucket}/{key}"] = self._file(key)
        return found

    def _file(self, key: str) -> tuple[str, str, dict[str, Any]]:
        """Tag of text and metadata, text, attributes."""
        content = self._s3.get_object(Bucket=self._bucket, Key=key)
        metadata = self._s3.get_object(Bucket=self._bucket, Key=f"{key}.metadata.json")
        attributes = json.loads(metadata["Body"].read())["metadataAttributes"]
        for name, value in attributes.items():
            texts = isinstance(value, list) and all(isinstance(part, str) for part in value)
            assert texts or isinstance(value, str | int | float | bool), f"{name} is no attribute: {value!r}"
        return content["ETag"] + metadata["ETag"], content["Body"].read().decode(), attributes

    def _end(self, job: Job) -> None:
        job.status, job.reasons = self.ends.pop(0) if self.ends else ("COMPLETE", [])
        if job.status == "EMPTY":  # it looks elsewhere
            job.status, job.seen = "COMPLETE", {}
            job.statistics = dict.fromkeys(("numberOfDocumentsScanned", "numberOfDocumentsFailed"), 0)
            return
        if job.status != "COMPLETE":
            return
        count: Counter[str] = Counter(numberOfDocumentsScanned=len(job.seen))
        for uri, (tag, text, attributes) in job.seen.items():
            known = self.index.get(uri)
            if known and known.tag == tag and known.status == "INDEXED":
                continue
            if self.poison in text:
                count["numberOfDocumentsFailed"] += 1
                self.index[uri] = Held(text, tag, attributes, "FAILED", "The file cannot be read.")
                job.reasons.append(f'["Encountered error: The file cannot be read. [Files: {uri}]"]')
                continue
            count["numberOfModifiedDocumentsIndexed" if known else "numberOfNewDocumentsIndexed"] += 1
            self.index[uri] = Held(text, tag, attributes, "INDEXED")
        for uri in self.index.keys() - job.seen.keys():
            del self.index[uri]
            count["numberOfDocumentsDeleted"] += 1
        job.statistics = dict(count)

    def _told_job(self, job: Job, knowledge_base: str, data_source: str) -> Any:
        return {
            "knowledgeBaseId": knowledge_base,
            "dataSourceId": data_source,
            "ingestionJobId": job.id,
            "status": job.status,
            "statistics": job.statistics,
            "failureReasons": job.reasons,
            "startedAt": job.started,
            "updatedAt": datetime.now(UTC),
        }

    # --- documents ---------------------------------------------------------------------------------------------------

    def _IngestKnowledgeBaseDocuments(self, knowledgeBaseId: str, dataSourceId: str, documents: Any) -> Any:
        for document in documents:
            uri = document["content"]["s3"]["s3Location"]["uri"]
            key = uri.removeprefix(f"s3://{self._bucket}/")
            if not key.startswith(self.folder):
                raise Refused("ValidationException", f"{uri} lies outside of the data source.")
            tag, text, attributes = self._file(key)
            failed = self.poison in text
            old = self.index.get(uri)
            self.index[uri] = Held(
                text,
                tag,
                attributes,
                "FAILED" if failed else "INDEXED",
                "The file cannot be read." if failed else "",
                datetime.now(UTC) + timedelta(microseconds=1),
                late=[*(["OLD"] if old and self.lag else []), *["PENDING", "STARTING", "IN_PROGRESS"] * self.lag],
            )
        return {
            "documentDetails": [self._detail(d["content"]["s3"]["s3Location"]["uri"], "STARTING") for d in documents]
        }

    def _DeleteKnowledgeBaseDocuments(self, knowledgeBaseId: str, dataSourceId: str, documentIdentifiers: Any) -> Any:
        uris = [identifier["s3"]["uri"] for identifier in documentIdentifiers]
        for uri in uris:
            if uri in self.index:
                self.index[uri].status, self.index[uri].updated = "GONE", datetime.now(UTC)
                self.index[uri].late = ["INDEXED", "DELETING", "DELETE_IN_PROGRESS"] * self.lag
        return {"documentDetails": [self._detail(uri, "DELETING") for uri in uris]}

    def _GetKnowledgeBaseDocuments(self, knowledgeBaseId: str, dataSourceId: str, documentIdentifiers: Any) -> Any:
        details = []
        for uri in (identifier["s3"]["uri"] for identifier in documentIdentifiers):
            held = self.index.get(uri)
            if held is None:
                details.append(self._detail(uri, "NOT_FOUND"))
            elif held.late and self.going.is_set():
                status = held.late.pop(0)
                if status == "OLD":  # still what is told of the version before
                    details.append(self._detail(uri, "INDEXED") | {"updatedAt": held.updated - timedelta(hours=1)})
                else:
                    details.append(self._detail(uri, status))
            elif held.late:
                details.append(self._detail(uri, "IN_PROGRESS"))
            elif held.status == "GONE":
                del self.index[uri]
                details.append(self._detail(uri, "NOT_FOUND"))
            else:
                details.append(self._detail(uri, held.status))
        return {"documentDetails": details}

    def _detail(self, uri: str, status: str) -> dict[str, Any]:
        held = self.index.get(uri)
        more = {"updatedAt": held.updated} if held else {}
        if held and held.reason and status == "FAILED":
            more["statusReason"] = held.reason
        return {
            "knowledgeBaseId": KNOWLEDGE_BASE,
            "dataSourceId": DATA_SOURCE,
            "status": status,
            "identifier": {"dataSourceType": "S3", "s3": {"uri": uri}},
            **more,
        }

    # --- agents ------------------------------------------------------------------------------------------------------

    def _PrepareAgent(self, agentId: str) -> Any:
        self._is_ours(agentId)
        self.agent_status = "PREPARING"
        now = datetime.now(UTC)
        return {"agentId": agentId, "agentStatus": "PREPARING", "agentVersion": "DRAFT", "preparedAt": now}

    def _GetAgent(self, agentId: str) -> Any:
        self._is_ours(agentId)
        now = datetime.now(UTC)
        told, self.agent_status = self.agent_status, self.agent_ends
        return {
            "agent": {
                "agentId": agentId,
                "agentName": "concierge",
                "agentArn": f"arn:aws:bedrock:us-east-1:123456789012:agent/{agentId}",
                "agentVersion": "DRAFT",
                "agentStatus": told,
                "idleSessionTTLInSeconds": 600,
                "agentResourceRoleArn": "arn:aws:iam::123456789012:role/AmazonBedrockExecutionRoleForAgents_x",
                "createdAt": now,
                "updatedAt": now,
                "failureReasons": ["The model is not there."] if told == "FAILED" else [],
            }
        }

    def _is_ours(self, agent: str) -> None:
        if agent != AGENT:
            raise Refused("ResourceNotFoundException", "Agent not found.")
