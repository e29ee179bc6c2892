"""Settings: a value given in code or on the command line wins over the environment, which wins over the file.

The file is ``$STENOBUS_CONFIG``, else ``stenobus.toml`` in the working folder, else ``config.toml`` in the user's
configuration folder. Its table ``[core]`` holds the host's settings, and ``[NAME]`` those of the plugin NAME.
"""

from __future__ import annotations

import os
import tomllib
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import platformdirs
from pydantic import Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings import SettingsError as UnreadableSetting

from stenobus_bus import Access, Limits

from .errors import SettingsError

_section: ContextVar[str] = ContextVar("section", default="core")


class PluginSettings(BaseSettings):
    """Base of a plugin's settings: ``STENOBUS_<PLUGIN>_<FIELD>`` in the environment, ``[plugin]`` in the file."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True)

    @classmethod
    def load(cls, section: str, **overrides: Any) -> Self:
        """Read the settings of a section.

        Raises:
            SettingsError: a value is missing or wrong; the message names the setting.
        """
        prefix = "STENOBUS_" if section == "core" else f"STENOBUS_{section.upper().replace('-', '_')}_"
        token = _section.set(section)
        try:
            return cls(_env_prefix=prefix, **overrides)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"]))
            variable = f"{prefix}{place.partition('.')[0].upper()}"
            where = f"{variable} (or {place} in [{section}])" if place else f"The settings in [{section}]"
            raise SettingsError(f"{where}: {first['msg']}.") from error
        except UnreadableSetting as error:  # a list or table in the environment that is no JSON
            raise SettingsError(f"A setting {prefix}… is no JSON ({error}).") from error
        finally:
            _section.reset(token)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Code, environment, file, in this order."""
        section = _section.get()
        table = settings_file().get(section, {})
        if not isinstance(table, dict):
            raise SettingsError(f"The settings file: {section} must be a table, written as [{section}].")
        return init_settings, env_settings, InitSettingsSource(settings_cls, table)


class CoreSettings(PluginSettings):
    """The host's own settings, ``STENOBUS_<FIELD>``."""

    model_config = SettingsConfigDict(env_prefix="STENOBUS_", extra="ignore", frozen=True)

    nats_url: str | None = Field(default=None, description="NATS server; the embedded one when absent")
    nats_creds: Path | None = Field(
        default=None, description="file with this process's nkey seed, as `stenobus bus users` writes it, or a JWT"
    )
    nats_tls_ca: Path | None = Field(
        default=None, description="file with the CA of the server's certificate; the system's CAs when absent"
    )
    nats_tls_cert: Path | None = Field(default=None, description="file with the client's own certificate")
    nats_tls_key: Path | None = Field(default=None, description="file with the key of the client's certificate")
    nats_inbox: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$",
        description="prefix of the subjects that answers come to; follows from the nkey when absent",
    )
    nats_port: int = Field(
        default=4222, ge=0, le=65535, description="preferred port of the embedded server; 0 picks one"
    )
    data_dir: Path = Field(
        default_factory=lambda: platformdirs.user_data_path("stenobus"),
        description="folder of the embedded server's streams and of local indexes",
    )
    bucket: str = Field(default="stenobus", pattern=r"^[A-Za-z0-9_-]+$", description="NATS object bucket for blobs")
    replicas: int = Field(
        default=1, ge=1, le=5, description="servers of a NATS cluster that hold a copy of each stream and bucket"
    )
    blob_store: str = Field(default="nats", description="where new blobs go, by URI scheme: nats, file, s3")
    file_roots: Annotated[tuple[Path, ...], NoDecode] = Field(
        default=(), description="folders that file:// URIs may point into, separated by commas; anywhere when empty"
    )
    plugins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="plugins to load, separated by commas; all installed ones when empty"
    )
    plugins_off: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="plugins to leave out, separated by commas"
    )
    schedules: dict[str, str] = Field(
        default={}, description="other times for schedules: plugin.name to six cron fields, and a time zone behind them"
    )
    schedules_off: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="schedules that must not run (plugin.name, or a plugin), separated by commas"
    )
    ack_wait: float = Field(
        default=30.0, ge=1, description="seconds of silence after which an event is delivered again"
    )
    grace: float = Field(default=20.0, ge=0, description="seconds running handlers get at a stop")
    alert_threshold: int = Field(
        default=10, ge=0, description="dead letters of one handler in a window that publish a bus.alert; 0 for none"
    )
    alert_window: float = Field(default=300.0, ge=1, description="seconds of that window")
    cache: bool = Field(default=True, description="reuse stage results with equal inputs")
    shadow: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9_-]{1,64}$",
        description="try handlers out: every output goes to this shadow, and nothing behind them works on it",
    )
    metrics_port: int | None = Field(
        default=None, ge=0, le=65535, description="port of /metrics, /healthz and /readyz; 0 picks one, off when absent"
    )
    metrics_host: str = Field(default="127.0.0.1", description="address that the metrics port listens on")
    max_event_bytes: int = Field(
        default=Limits().body, ge=1024, description="bytes an event's body may have, fetched ones included"
    )
    max_event_depth: int = Field(default=Limits().depth, ge=8, description="levels an event's JSON may be nested")
    max_event_values: int = Field(
        default=Limits().values, ge=1000, description="values an event's JSON may have in all its arrays and objects"
    )
    max_headers: int = Field(default=Limits().headers, ge=16, description="headers a message may have")
    max_header_bytes: int = Field(
        default=Limits().header_bytes, ge=2048, description="bytes a message's headers may have"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least severe log level"
    )
    log_format: Literal["auto", "json", "console"] = Field(
        default="auto", description="auto: console on a terminal, JSON elsewhere"
    )

    @field_validator(
        "nats_url", "nats_creds", "nats_tls_ca", "nats_tls_cert", "nats_tls_key", "nats_inbox", mode="before"
    )
    @classmethod
    def _unset(cls, value: object) -> object:
        return value or None  # Compose files pass variables that nobody set as empty ones

    @field_validator("plugins", "plugins_off", "schedules_off", "file_roots", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @property
    def limits(self) -> Limits:
        """What an event may cost before it is parsed."""
        return Limits(
            body=self.max_event_bytes,
            depth=self.max_event_depth,
            values=self.max_event_values,
            headers=self.max_headers,
            header_bytes=self.max_header_bytes,
        )

    @property
    def access(self) -> Access:
        """Credentials and certificates for the configured server."""
        return Access(self.nats_creds, self.nats_tls_ca, self.nats_tls_cert, self.nats_tls_key, self.nats_inbox)


def settings_file() -> dict[str, Any]:
    """The settings file's content, empty when there is none.

    Raises:
        SettingsError: the file is named but missing, or is no TOML.
    """
    named = os.environ.get("STENOBUS_CONFIG")
    candidates = (
        [Path(named)] if named else [Path("stenobus.toml"), platformdirs.user_config_path("stenobus") / "config.toml"]
    )
    for path in candidates:
        try:
            return tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise SettingsError(f"The settings file {path} cannot be read: {error}.") from error
    if named:
        raise SettingsError(f"The settings file {named} (STENOBUS_CONFIG) does not exist.")
    return {}
