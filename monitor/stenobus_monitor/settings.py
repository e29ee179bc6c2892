"""Settings of the monitor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from stenobus_contracts import Level
from stenobus_core.settings import CoreSettings, PluginSettings

from .channels import AnyChannel, Channel


class Query(BaseModel):
    """A figure that is too high above some value."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    expression: str = Field(min_length=1, max_length=2000, description="in PromQL")
    above: float = Field(description="the highest value that is all right")


class CleanPolicy(BaseModel):
    """Old files that may go."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    folder: Path = Field(description="absolute; nothing outside is ever touched, and no link is followed")
    files: tuple[str, ...] = Field(min_length=1, description="names of files, wildcards allowed, in folders below too")
    older: float = Field(ge=3600, description="seconds since their last change")
    keep: int = Field(default=0, ge=0, description="bytes of the newest of them that stay")
    trash: float = Field(
        default=86_400.0, ge=600, description="seconds after which they are removed for good, and give their room"
    )

    @field_validator("folder")
    @classmethod
    def _somewhere(cls, value: Path) -> Path:
        if not value.is_absolute() or ".." in value.parts or len(value.parts) < 3:
            raise ValueError("name an absolute folder at least two levels deep, without ..")
        return value


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
        default=None, description="credentials of the connection that watches; those of the host when absent"
    )
    remedy_creds: Path | None = Field(
        default=None,
        description="credentials of the connection that carries out remedies on the bus; the watching one when absent",
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
    usage: float = Field(default=10.0, ge=0.5, description="seconds between two looks at memory, processors and logs")
    prometheus: str | None = Field(default=None, description="address of a Prometheus server that is asked the queries")
    queries: dict[str, Query] = Field(
        default={}, description="figures of Prometheus: name to expression and the highest value that is all right"
    )
    disks: Annotated[tuple[Path, ...], NoDecode] = Field(
        default=(), description="folders whose disks are watched, separated by commas; the data folder when empty"
    )
    beat: float = Field(
        default=5.0, ge=0.1, le=60, description="seconds between two heartbeats, which a watchdog hears"
    )
    heartbeat_url: SecretStr | None = Field(
        default=None,
        description="address of a dead man's switch elsewhere, which gets a POST a minute while the monitor is well",
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

    diagnose: Literal["rules", "local", "any"] = Field(
        default="local",
        description="who looks for causes: rules alone; models on this host too; or any, which then see the evidence",
    )
    diagnosis_tokens: int = Field(default=6000, ge=200, le=100_000, description="evidence that a model gets, estimated")
    diagnosis_timeout: float = Field(
        default=120.0, gt=0, le=3600, description="seconds for a model's answer; then the rule's conclusion stands"
    )

    trust: float = Field(
        default=0.9,
        ge=0,
        le=1,
        description="precision that a kind of action needs to be automatic: lower bound at 95 %, by people's labels",
    )
    trust_labels: int = Field(default=20, ge=1, description="labels that this takes at least")
    executor: Path | None = Field(
        default=None,
        description="socket of the executor, which alone does things to containers; nothing is done without",
    )
    levels: dict[str, Level] = Field(
        default={},
        description="kind of action (restart.plugin: of a crashed plugin; clean.full: on a full disk, for good) to "
        "observe, propose, approve or automatic",
    )
    approval_key: Path | None = Field(
        default=None,
        description="file with the key of approvals, 32 bytes or more, for those who approve: the command and the HTTP"
        " interface; the monitor itself reads it only where no executor says which approvals hold",
    )
    approval_url: str | None = Field(
        default=None, description="address of the monitor's HTTP interface, for the links in alerts"
    )
    approval_time: float = Field(
        default=3600.0, ge=60, le=86_400, description="seconds for which a proposal can be approved"
    )
    most_memory: int = Field(
        default=8 * 1024**3, ge=1, description="bytes above which no container's limit of memory is raised"
    )

    clean: tuple[CleanPolicy, ...] = Field(default=(), description="old files that may go when a disk is full")

    channels: tuple[AnyChannel, ...] = Field(default=(), description="where alerts go, beside standard output")

    api_keys: Path | None = Field(
        default=None, description="file of the HTTP API's keys; monitor-keys.json in the data folder when absent"
    )

    @property
    def api_keys_path(self) -> Path:
        """The file of the API's keys."""
        return self.api_keys or CoreSettings.load("core").data_dir / "monitor-keys.json"

    @field_validator("channels")
    @classmethod
    def _named_once(cls, value: tuple[Channel, ...]) -> tuple[Channel, ...]:
        names = [channel.name for channel in value]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two channels are called {twice[0]}; every channel needs a name of its own")
        return value

    @field_validator("clean")
    @classmethod
    def _policies_named_once(cls, value: tuple[CleanPolicy, ...]) -> tuple[CleanPolicy, ...]:
        if len({policy.name for policy in value}) < len(value):
            raise ValueError("two policies have the same name")
        return value

    @field_validator("containers", "disks", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
