"""Settings of the ingest plugin."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from stenobus_contracts.kb import Collection
from stenobus_core import PluginSettings, SettingsError

from .extracted import Bounds
from .grants import SHORTEST_KEY


class Settings(PluginSettings):
    """What is read, within which bounds, and where it goes."""

    collection: Collection = Field(default="documents", description="collection that documents go into")
    collections: dict[str, Collection] = Field(
        default={}, description="other collections, by the beginning of the address; the longest one counts"
    )
    ignored: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="beginnings of addresses whose notifications are ignored, separated by commas"
    )
    principals: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="who may find documents whose event names nobody, separated by commas; all when empty"
    )
    formats: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="formats to read, separated by commas; the others are left alone; all when empty"
    )
    analysis: Literal["auto", "model", "rule"] = Field(
        default="auto",
        description="who finds title, summary, dates and names: auto takes rules where there is no language model",
    )
    target: str | None = Field(default=None, description="name of the provider to ask; the router chooses when absent")
    request_timeout: float = Field(default=600, gt=0, description="seconds to wait for the answer")
    prompt_characters: int = Field(
        default=24_000, ge=1000, description="characters of a document that the model sees; of longer ones both ends"
    )
    max_bytes: int = Field(default=64 * 1024 * 1024, gt=0, description="largest file that is read, in bytes")
    max_pages: int = Field(default=2000, gt=0, description="most pages, slides or sheets")
    max_rows: int = Field(default=100_000, gt=0, description="most rows of all tables of a file")
    max_characters: int = Field(default=5_000_000, gt=0, description="longest text that a file may become")
    max_unpacked_bytes: int = Field(
        default=512 * 1024 * 1024, gt=0, description="bytes that an archive such as DOCX may unpack to"
    )
    max_memory_bytes: int = Field(
        default=1024 * 1024 * 1024, ge=256 * 1024 * 1024, description="address space of the process that reads one file"
    )
    max_seconds: int = Field(default=60, ge=1, le=900, description="seconds of computing that one file may take")

    upload_key: SecretStr | None = Field(
        default=None, description="key that upload addresses are signed with, at least 32 characters"
    )
    upload_key_file: Path | None = Field(
        default=None, description="file with such keys, one a line: the first one signs, all of them are accepted"
    )

    @field_validator("principals", "formats", "ignored", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @property
    def bounds(self) -> Bounds:
        """Limits on one document."""
        return Bounds(
            pages=self.max_pages,
            rows=self.max_rows,
            characters=self.max_characters,
            unpacked=self.max_unpacked_bytes,
        )

    @property
    def upload_keys(self) -> tuple[str, ...]:
        """Keys of upload addresses, the one that signs first; empty when there are none.

        Raises:
            SettingsError: the file cannot be read, or a key is too short.
        """
        keys = [self.upload_key.get_secret_value()] if self.upload_key else []
        if self.upload_key_file:
            try:
                lines = self.upload_key_file.read_text(encoding="utf-8").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise SettingsError(f"The file of upload keys {self.upload_key_file} cannot be read.") from error
            keys += [line.strip() for line in lines if line.strip()]
        if any(len(key) < SHORTEST_KEY for key in keys):
            raise SettingsError(f"An upload key needs at least {SHORTEST_KEY} characters: `openssl rand -hex 32`.")
        return tuple(keys)

    def collection_of(self, uri: str) -> str:
        """The collection that what lies at an address goes into."""
        found = max((start for start in self.collections if uri.startswith(start)), key=len, default=None)
        return self.collection if found is None else self.collections[found]
