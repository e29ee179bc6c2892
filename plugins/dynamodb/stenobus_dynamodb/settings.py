"""Which table, and for how long."""

from __future__ import annotations

from pydantic import AliasChoices, Field, field_validator

from stenobus_core import PluginSettings


class Settings(PluginSettings):
    """``STENOBUS_DYNAMODB_*``. Region, endpoint and credentials are boto3's own (``AWS_*``)."""

    table: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9_.-]{3,255}$",
        validation_alias=AliasChoices("table", "STENOBUS_DYNAMODB_TABLE", "TRACKING_TABLE"),
        description="table that the run record is copied to; off when absent",
    )
    keep_days: int = Field(default=90, ge=1, le=3650, description="days after its beginning that a run is kept")
    connect_timeout: float = Field(default=5, gt=0, description="seconds until a connection must stand")
    read_timeout: float = Field(default=10, gt=0, description="seconds the endpoint may stay silent")

    @field_validator("table", mode="before")
    @classmethod
    def _unset(cls, value: object) -> object:
        return value or None  # Compose files pass variables that nobody set as empty ones
