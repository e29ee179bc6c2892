"""Which knowledge base, and how it gets its documents."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, field_validator

from stenobus_core import PluginSettings

#: Bedrock's own form of the ids of knowledge bases, data sources, agents and jobs.
_ID: Final = r"^[0-9a-zA-Z]{10}$"
Id = Annotated[str, Field(pattern=_ID)]


class Settings(PluginSettings):
    """``STENOBUS_KB_BEDROCK_*``. Region, endpoint and credentials are boto3's own (``AWS_*``)."""

    knowledge_base_id: Id | None = Field(default=None, description="knowledge base to keep up to date; off when absent")
    data_source_id: Id | None = Field(
        default=None, description="its data source for the bucket; needed only where it has several"
    )
    bucket: str | None = Field(
        default=None, pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", description="bucket of the data source"
    )
    prefix: str = Field(
        default="stenobus-kb/",
        max_length=40,
        description="folder in the bucket; the data source must read its sub-folder current/ and nothing else",
    )
    ingestion: Literal["job", "direct"] = Field(
        default="job",
        description="job: one that looks for what changed, for all events that wait; direct: a few documents per call",
    )
    agent_id: Id | None = Field(
        default=None, description="agent to prepare after every change; new data alone does not need it"
    )
    poll: float = Field(default=5.0, gt=0, description="seconds between two looks at a job or at documents")
    patience: float = Field(
        default=3600.0, gt=0, description="seconds that a busy service, or documents on their way, are waited for"
    )
    attempts: int = Field(default=4, ge=1, le=20, description="tries of one request to the bucket, with growing pauses")
    connect_timeout: float = Field(default=5.0, gt=0, description="seconds until a connection must stand")
    read_timeout: float = Field(default=60.0, gt=0, description="seconds the endpoint may stay silent")

    @field_validator("knowledge_base_id", "data_source_id", "bucket", "agent_id", mode="before")
    @classmethod
    def _unset(cls, value: object) -> object:
        return value or None  # Compose files pass variables that nobody set as empty ones

    @field_validator("prefix")
    @classmethod
    def _is_a_folder(cls, prefix: str) -> str:
        name = prefix.strip("/")
        return f"{name}/" if name else ""
