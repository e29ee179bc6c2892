"""Where and how blobs are kept in S3."""

from __future__ import annotations

from pydantic import Field, field_validator

from stenobus_core import PluginSettings


class Settings(PluginSettings):
    """``STENOBUS_S3_*``. Region, endpoint and credentials are boto3's own (``AWS_*``)."""

    bucket: str | None = Field(default=None, description="bucket to store in; reading needs none")
    prefix: str = Field(default="stenobus/", description="folder of the stored keys; empty for the bucket's root")
    attempts: int = Field(default=4, ge=1, le=20, description="tries of one request, with growing pauses")
    connect_timeout: float = Field(default=5, gt=0, description="seconds until a connection must stand")
    read_timeout: float = Field(default=60, gt=0, description="seconds the endpoint may stay silent")

    @field_validator("prefix")
    @classmethod
    def _is_a_folder(cls, prefix: str) -> str:
        return folder(prefix)


def folder(prefix: str) -> str:
    """A prefix as the beginning of keys: empty, or without a slash at its beginning and with one at its end."""
    name = prefix.strip("/")
    return f"{name}/" if name else ""
