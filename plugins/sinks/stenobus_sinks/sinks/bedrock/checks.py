"""What the doctor looks at: whether the data source reads what is written for it."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from stenobus_core import Check
from stenobus_core.errors import StenobusError

if TYPE_CHECKING:
    from .settings import Settings

#: Seconds for each step of a look.
_PATIENCE: Final = 5.0


def checks(settings: Settings) -> list[Check]:
    """Settings first, then the knowledge base, its data source and the bucket as they are."""
    if find_spec("boto3") is None:
        return [Check("boto3", False, "is not installed: pip install 'stenobus-sinks[bedrock]'")]
    if settings.knowledge_base_id is None:
        return [Check("knowledge base", False, "none is named: set STENOBUS_KB_BEDROCK_KNOWLEDGE_BASE_ID")]
    if settings.bucket is None:
        return [Check("bucket", False, "none is named: set STENOBUS_KB_BEDROCK_BUCKET")]
    from stenobus_bus.errors import HandlerError

    try:
        return list(_looked_at(settings, settings.knowledge_base_id, settings.bucket))
    except (HandlerError, StenobusError) as error:
        return [Check("knowledge base", False, str(error))]


def _looked_at(settings: Settings, knowledge_base: str, bucket: str) -> list[Check]:
    from ...aws import client, explained
    from .jobs import MISSING
    from .records import NO_BUCKET, RIGHTS
    from .sink import only_data_source

    with explained(f"Knowledge base {knowledge_base}"):
        agents: Any = client("bedrock-agent", _PATIENCE, _PATIENCE, attempts=1)
        s3: Any = client("s3", _PATIENCE, _PATIENCE, attempts=1)
    source = settings.data_source_id or only_data_source(agents, knowledge_base)
    with explained(f"Data source {source} of {knowledge_base}", MISSING, "bedrock:GetDataSource"):
        found = agents.get_data_source(knowledgeBaseId=knowledge_base, dataSourceId=source)["dataSource"]
    with explained(f"s3://{bucket}", NO_BUCKET, RIGHTS):
        s3.list_objects_v2(Bucket=bucket, Prefix=settings.prefix, MaxKeys=1)
    folder = f"{settings.prefix}current/"
    return [
        Check("knowledge base", True, f"{knowledge_base}, data source {source}, {settings.ingestion}"),
        _source_check(found, bucket, folder),
        Check("bucket", True, f"s3://{bucket}/{folder}"),
    ]


def _source_check(source: Any, bucket: str, folder: str) -> Check:
    """Whether a data source reads the folder, and nothing else."""
    kind = source["dataSourceConfiguration"]["type"]
    if kind != "S3":
        return Check("data source", False, f"is of type {kind}: name one of type S3")
    read = source["dataSourceConfiguration"].get("s3Configuration", {})
    arn, prefixes = read.get("bucketArn", ""), read.get("inclusionPrefixes") or [""]
    if arn.rpartition(":")[2] != bucket:
        return Check("data source", False, f"reads {arn}, not the bucket {bucket}")
    if prefixes != [folder]:
        some = ", ".join(prefixes) if prefixes != [""] else "the whole bucket"
        return Check("data source", False, f"reads {some}: set its inclusion prefix to {folder}")
    return Check("data source", source["status"] == "AVAILABLE", f"reads s3://{bucket}/{folder}: {source['status']}")
