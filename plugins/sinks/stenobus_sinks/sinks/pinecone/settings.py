"""Which index, how to get in, and where vectors come from."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field, SecretStr, field_validator, model_validator

from stenobus_core import PluginSettings


class Settings(PluginSettings):
    """``STENOBUS_KB_PINECONE_*``."""

    host: str | None = Field(
        default=None,
        pattern=r"^(https?://)?[^@/\s]+/?$",
        description="host of the index, as Pinecone's console shows it; off when absent",
    )
    api_key: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("api_key", "STENOBUS_KB_PINECONE_API_KEY", "PINECONE_API_KEY"),
        description="API key",
    )
    api_key_file: Path | None = Field(default=None, description="file that holds the API key")
    api_key_secret: str | None = Field(
        default=None, description="secret in AWS Secrets Manager that holds the API key; NAME#KEY for a JSON object"
    )
    prefix: str = Field(
        default="", pattern=r"^[A-Za-z0-9_-]{0,40}$", description="beginning of the names of namespaces"
    )
    vectors: Literal["integrated", "endpoint"] = Field(
        default="integrated", description="integrated: the index has a model; endpoint: an embeddings server"
    )
    text_field: str = Field(
        default="text", pattern=r"^[A-Za-z0-9_]{1,64}$", description="field that the index's own model reads"
    )
    embeddings_url: str | None = Field(
        default=None, description="server that speaks OpenAI's embeddings protocol, such as http://host:8000/v1"
    )
    embeddings_model: str = Field(default="", description="its model")
    embeddings_key: SecretStr | None = Field(default=None, description="its key")
    embeddings_key_file: Path | None = Field(default=None, description="file that holds its key")
    embeddings_key_secret: str | None = Field(default=None, description="secret in AWS Secrets Manager with its key")
    poll: float = Field(default=1.0, gt=0, description="seconds between two looks at whether a change can be seen")
    patience: float = Field(default=300.0, gt=0, description="seconds that a change, or a busy index, is waited for")
    timeout: float = Field(default=30.0, gt=0, description="seconds one request may take")

    @field_validator(
        "host",
        "api_key",
        "api_key_file",
        "api_key_secret",
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
        if self.vectors == "endpoint" and (self.embeddings_url is None or not self.embeddings_model):
            raise ValueError("vectors = endpoint needs embeddings_url and embeddings_model")
        return self
