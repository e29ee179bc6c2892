"""Where and how blobs are kept in S3."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from stenobus_core import PluginSettings


class Settings(PluginSettings):
    """``STENOBUS_S3_*``. Region, endpoint and credentials are boto3's own (``AWS_*``)."""

    bucket: str | None = Field(default=None, description="bucket to store in; reading needs none")
    prefix: str = Field(default="stenobus/", description="folder of the stored keys; empty for the bucket's root")
    movable: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="folders, s3://bucket/prefix/, whose objects may be moved to quarantine, separated by commas; "
        "those of the prefix may anyway",
    )
    attempts: int = Field(default=4, ge=1, le=20, description="tries of one request, with growing pauses")
    connect_timeout: float = Field(default=5, gt=0, description="seconds until a connection must stand")
    read_timeout: float = Field(default=60, gt=0, description="seconds the endpoint may stay silent")

    @field_validator("prefix")
    @classmethod
    def _is_a_folder(cls, prefix: str) -> str:
        return folder(prefix)

    @field_validator("movable", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("movable")
    @classmethod
    def _are_folders(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_folder_of(each) for each in value)


def _folder_of(uri: str) -> str:
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    if not uri.startswith("s3://") or not bucket:
        raise ValueError(f"{uri!r} is no folder: it should read s3://bucket/prefix/")
    return f"s3://{bucket}/{folder(prefix)}"


def folder(prefix: str) -> str:
    """A prefix as the beginning of keys: empty, or without a slash at its beginning and with one at its end."""
    name = prefix.strip("/")
    return f"{name}/" if name else ""
