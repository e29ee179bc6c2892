"""Settings of the monitor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from stenobus_core.settings import PluginSettings


class Settings(PluginSettings):
    """What is watched, how closely, and when somebody hears of it."""

    on: bool = Field(default=False, description="watch this installation")
    engine: Path | None = Field(
        default=None,
        description="socket of the container engine, read-only is enough; containers are not watched without",
    )
    containers: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("*",), description="names of the containers that are watched, wildcards allowed, separated by commas"
    )
    nats_creds: Path | None = Field(
        default=None, description="credentials of an operator, who may see all handlers; those of the host when absent"
    )
    reconcile: float = Field(default=30.0, ge=1, description="seconds between two looks at all containers")
    poll: float = Field(default=5.0, ge=0.1, description="seconds between two looks at the bus and the run record")
    follows: dict[str, str] = Field(
        default={"asr.done": "doc.ready"},
        description="subject to the subject that has to follow in the same run; their content is checked as well",
    )
    patience: float = Field(
        default=900.0, ge=1, description="seconds the second of them may take while nobody knows what is usual"
    )
    disks: Annotated[tuple[Path, ...], NoDecode] = Field(
        default=(), description="folders whose disks are watched, separated by commas; the data folder when empty"
    )
    group_wait: float = Field(
        default=0.3, ge=0, le=60, description="seconds an incident waits for what belongs to it before it is told"
    )
    settle: float = Field(
        default=30.0, ge=0, description="seconds something must stay well before its incident counts as resolved"
    )
    thresholds: dict[str, int] = Field(
        default={}, description="signs within ten minutes that a kind of incident needs before it opens; 1 by default"
    )

    @field_validator("containers", "disks", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
