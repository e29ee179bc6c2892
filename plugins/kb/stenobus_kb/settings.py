"""Settings of the knowledge base."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from stenobus_core.settings import CoreSettings, PluginSettings


class Settings(PluginSettings):
    """Where the index lies and what goes into it by itself."""

    path: Path | None = Field(default=None, description="the index; kb.sqlite in the data folder when absent")
    collection: str = Field(
        default="documents",
        pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$",
        description="collection that finished documents go into",
    )

    @property
    def index_path(self) -> Path:
        """The index's file."""
        return self.path or CoreSettings.load("core").data_dir / "kb.sqlite"
