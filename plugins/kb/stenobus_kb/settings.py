"""Settings of the knowledge base."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr

from stenobus_core.settings import CoreSettings, PluginSettings


class Settings(PluginSettings):
    """Where the index lies and what goes into it by itself."""

    path: Path | None = Field(default=None, description="the index; kb.sqlite in the data folder when absent")
    collection: str = Field(
        default="documents",
        pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$",
        description="collection that finished documents go into",
    )

    api_keys: Path | None = Field(
        default=None, description="file of the API's keys; kb-keys.json in the data folder when absent"
    )
    jwt_key: SecretStr | None = Field(
        default=None, description="takes JSON Web Tokens signed with this: a PEM public key, or a shared secret"
    )
    jwt_key_file: Path | None = Field(default=None, description="file that holds jwt_key")
    jwt_audience: str = Field(default="stenobus", min_length=1, description="what the claim aud has to say")
    jwt_issuer: str | None = Field(default=None, description="what the claim iss has to say; anything when absent")
    jwt_per_minute: int = Field(default=600, ge=1, description="requests a minute of each subject of a token")

    @property
    def api_keys_path(self) -> Path:
        """The file of the API's keys."""
        return self.api_keys or CoreSettings.load("core").data_dir / "kb-keys.json"

    @property
    def index_path(self) -> Path:
        """The index's file."""
        return self.path or CoreSettings.load("core").data_dir / "kb.sqlite"
