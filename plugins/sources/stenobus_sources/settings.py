"""Which sources there are, and what they may cost."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from stenobus_contracts.kb import Collection
from stenobus_core.file_store import file_uri
from stenobus_core.settings import CoreSettings, PluginSettings

from .errors import Misconfigured
from .kinds import KINDS

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,29}$")]
Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,30}$")]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PostType(_Table):
    """One type of posts of a site."""

    type: Slug = Field(description="as it stands in /wp-json/wp/v2/<type>")
    collection: Collection = Field(description="collection of the knowledge base that it goes into")
    kind: str = Field(default="page", description="schema of its records: event, question, store, restaurant, page")
    fields: dict[str, tuple[str, ...] | str] = Field(
        default={}, description="where a field of the schema lies in a post, such as {starts = 'acf.fecha_inicio'}"
    )
    may_be_empty: bool = Field(default=False, description="believe the site when it says that there are none at all")

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.kind not in KINDS:
            raise ValueError(f"there is no kind {self.kind!r}; write one of {', '.join(sorted(KINDS))}")
        known = set(KINDS[self.kind].model_fields) - {"id"}
        if unknown := sorted(set(self.fields) - known):
            raise ValueError(f"{self.kind} has no field {unknown[0]!r}; it has {', '.join(sorted(known))}")
        return self


class WordPress(_Table):
    """A WordPress site."""

    name: Name = Field(description="sources are called <name>.<type>")
    url: str = Field(description="address of the site, in front of /wp-json")
    types: tuple[PostType, ...] = Field(min_length=1)
    timezone: str | None = Field(default=None, description="of the site, as IANA has it; the site is asked when absent")
    per_page: int = Field(default=100, ge=1, le=100, description="posts of one request; WordPress gives at most 100")
    rate: float = Field(default=2.0, gt=0, le=100, description="requests per second, over all processes")
    attempts: int = Field(default=5, ge=1, le=20, description="tries of one request")
    timeout: float = Field(default=30.0, gt=0, description="seconds the site may stay silent")
    max_wait: float = Field(default=120.0, gt=0, description="longest Retry-After that is waited for, in seconds")
    max_body: int = Field(default=20_000_000, gt=0, description="bytes of one answer")
    max_pages: int = Field(default=1000, ge=1, description="pages of one listing")
    overlap: float = Field(default=2.0, ge=2.0, description="hours that a pass over changes looks back further")
    user_agent: str = Field(default="stenobus-sources/0.1", min_length=1)
    robots: Literal["obey", "ignore"] = Field(
        default="obey", description="whether the site's robots.txt counts; ignore it on a site of your own"
    )
    username: str | None = Field(default=None, description="for an application password")
    password_env: str | None = Field(default=None, description="variable that holds the application password")

    @field_validator("url")
    @classmethod
    def _address(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise ValueError(f"{url!r} is no address of a site; write https://example.org")
        if parts.username or parts.password:
            raise ValueError("put the password into a variable and name it by password_env, not into the address")
        return url.rstrip("/")

    @field_validator("timezone")
    @classmethod
    def _zone(cls, name: str | None) -> str | None:
        return name if name is None else _checked_zone(name)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.username is None) != (self.password_env is None):
            raise ValueError("username and password_env belong together")
        return self

    @property
    def password(self) -> str | None:
        """The application password. Raises Misconfigured."""
        if self.password_env is None:
            return None
        if not (found := os.environ.get(self.password_env)):
            raise Misconfigured(f"{self.name}: the variable {self.password_env} with the site's password is not set.")
        return found


class Files(_Table):
    """A folder, or the objects under a prefix of a bucket."""

    name: Name
    place: str = Field(description="a folder, or s3://bucket/prefix/")
    collection: Collection
    patterns: tuple[str, ...] = Field(
        default=("*.md", "*.markdown", "*.txt", "*.html", "*.htm"), description="names of the files that count"
    )
    max_bytes: int = Field(default=10_000_000, gt=0, description="size of one file")
    max_files: int = Field(default=100_000, ge=1)
    may_be_empty: bool = Field(default=False, description="believe it when there are no files at all")

    @property
    def uri(self) -> str:
        """The address, with a slash at its end."""
        return _folder(self.place)


class Settings(PluginSettings):
    """Where knowledge comes from, and where what was read is kept."""

    kb: Slug = Field(default="main", description="name of the knowledge base in the addresses of datasets")
    output: str | None = Field(
        default=None, description="folder or s3://bucket/prefix/ for tables and datasets; sources/ in the data folder"
    )
    timezone: str = Field(default="America/Santiago", description="of the times in the names of tables")
    minutes: float = Field(default=60.0, gt=0, description="minutes that a whole run may take")
    sinks: tuple[str, ...] = Field(
        default=(), description="indexes that must confirm what a run sent; any one of them when empty"
    )
    max_bytes: int = Field(default=256_000_000, gt=0, description="bytes that may be read of one source in one run")
    keep_datasets: int = Field(default=7, ge=1, description="latest datasets of each source that are kept")
    wordpress: tuple[WordPress, ...] = Field(default=(), description="WordPress sites")
    files: tuple[Files, ...] = Field(default=(), description="folders and buckets")

    @field_validator("timezone")
    @classmethod
    def _zone(cls, name: str) -> str:
        return _checked_zone(name)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = self.names
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two sources are called {', '.join(sorted(twice))}")
        return self

    @property
    def names(self) -> list[str]:
        """Every source."""
        posts = [f"{site.name}.{kind.type}" for site in self.wordpress for kind in site.types]
        return [*posts, *(files.name for files in self.files)]

    @property
    def output_uri(self) -> str:
        """Where tables and datasets go, with a slash at its end."""
        return _folder(self.output or str(CoreSettings.load("core").data_dir / "sources"))


def _folder(place: str) -> str:
    uri = place if "://" in place else file_uri(Path(place).expanduser())
    return f"{uri.rstrip('/')}/"


def _checked_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"there is no time zone {name!r}; write an IANA name such as America/Santiago") from error
    return name
