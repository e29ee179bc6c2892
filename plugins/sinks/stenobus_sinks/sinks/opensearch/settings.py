"""Which cluster, how to get in, and where vectors come from."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from stenobus_core import PluginSettings


class Settings(PluginSettings):
    """``STENOBUS_KB_OPENSEARCH_*``."""

    url: str | None = Field(
        default=None,
        pattern=r"^https?://[^@\s]+$",
        description="address of the cluster, such as https://search.example.com:9200; off when absent",
    )
    prefix: str = Field(
        default="kb-",
        pattern=r"^[a-z0-9][a-z0-9_-]{0,40}$",
        description="beginning of the names of indexes, aliases and pipelines",
    )
    username: str | None = Field(default=None, description="user of basic authentication")
    password: SecretStr | None = Field(default=None, description="that user's password")
    password_file: Path | None = Field(default=None, description="file that holds the password")
    password_secret: str | None = Field(
        default=None, description="secret in AWS Secrets Manager that holds the password; NAME#KEY for a JSON object"
    )
    aws: bool = Field(default=False, description="sign requests with boto3's credentials, for a domain on AWS")
    ca_file: Path | None = Field(default=None, description="CA of the cluster's certificate; the system's when absent")
    vectors: Literal["none", "pipeline", "endpoint"] = Field(
        default="none",
        description="none: words alone; pipeline: an ingest pipeline of the cluster; endpoint: an embeddings server",
    )
    pipeline: str | None = Field(
        default=None, description="ingest pipeline that puts a vector of passages.text into passages.vector"
    )
    model_id: str | None = Field(
        default=None, description="the cluster's own id of the model behind the pipeline, which queries need"
    )
    dimension: int = Field(default=384, ge=1, le=16_000, description="numbers of a vector")
    embeddings_url: str | None = Field(
        default=None, description="server that speaks OpenAI's embeddings protocol, such as http://host:8000/v1"
    )
    embeddings_model: str = Field(default="", description="its model")
    embeddings_key: SecretStr | None = Field(default=None, description="its key")
    embeddings_key_file: Path | None = Field(default=None, description="file that holds its key")
    embeddings_key_secret: str | None = Field(default=None, description="secret in AWS Secrets Manager with its key")
    bulk_bytes: int = Field(
        default=5_000_000, ge=10_000, le=100_000_000, description="bytes of one bulk request, roughly"
    )
    poll: float = Field(default=2.0, gt=0, description="seconds before what was refused as too much is sent again")
    patience: float = Field(default=300.0, gt=0, description="seconds that an overloaded cluster is waited for")
    timeout: float = Field(default=60.0, gt=0, description="seconds one request may take")

    @field_validator(
        "url",
        "username",
        "password",
        "password_file",
        "password_secret",
        "ca_file",
        "pipeline",
        "model_id",
        "embeddings_url",
        "embeddings_key",
        "embeddings_key_file",
        "embeddings_key_secret",
        mode="before",
    )
    @classmethod
    def _unset(cls, value: object) -> object:
        return value or None  # Compose files pass variables that nobody set as empty ones

    @model_validator(mode="after")
    def _vectors_have_a_source(self) -> Settings:
        if self.vectors == "pipeline" and self.pipeline is None:
            raise ValueError("vectors = pipeline needs the name of an ingest pipeline")
        if self.vectors == "endpoint" and (self.embeddings_url is None or not self.embeddings_model):
            raise ValueError("vectors = endpoint needs embeddings_url and embeddings_model")
        return self
