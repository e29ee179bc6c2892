"""Settings of the knowledge base."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, SecretStr

from stenobus_core.settings import CoreSettings, PluginSettings

from .fusion import Ranking

if TYPE_CHECKING:
    from .embedders import Embedder


class Settings(PluginSettings):
    """Where the index lies and what goes into it by itself."""

    path: Path | None = Field(default=None, description="the index; kb.sqlite in the data folder when absent")
    collection: str = Field(
        default="documents",
        pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$",
        description="collection that finished documents go into",
    )

    embedder: Literal["hashed", "onnx", "openai", "bedrock", "none"] = Field(
        default="hashed", description="who turns text into vectors; none searches words alone"
    )
    embedding_model: str | None = Field(
        default=None, description="folder of an onnx model, or what openai or bedrock call theirs"
    )
    embedding_base_url: str | None = Field(default=None, description="address of an openai server, or of bedrock's")
    embedding_api_key: SecretStr | None = Field(default=None, description="bearer token of the openai server")
    embedding_region: str | None = Field(default=None, description="AWS region of bedrock")
    passage_prefix: str = Field(default="", max_length=200, description="what the model wants before a passage")
    query_prefix: str = Field(default="", max_length=200, description="what the model wants before a question")
    embedding_dimension: int | None = Field(
        default=None, ge=16, le=4096, description="numbers per vector; what the model has when absent, 384 for hashed"
    )
    removals_percent: float = Field(
        default=15.0, ge=0, le=100, description="share of a source's documents that its listing may remove at once"
    )
    removals_floor: int = Field(
        default=10, ge=0, description="number of documents that it may remove at once in any case"
    )
    keep_days: float = Field(
        default=30.0, ge=0, le=3650, description="days for which what was removed can be brought back"
    )
    rrf_k: float = Field(default=20.0, gt=0, description="reciprocal rank fusion: the larger, the flatter")
    depth: int = Field(default=100, ge=10, le=1000, description="passages that words and vectors contribute each")
    words_weight: float = Field(default=1.0, ge=0, description="weight of the words in the ranking")
    vectors_weight: float = Field(default=1.0, ge=0, description="weight of the vectors in the ranking")
    min_similarity: float = Field(
        default=0.05, ge=-1, le=1, description="cosine below which a passage has nothing to do with the question"
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
    def ranking(self) -> Ranking:
        """How words and vectors become one list."""
        return Ranking(self.rrf_k, self.depth, self.words_weight, self.vectors_weight, self.min_similarity)

    def make_embedder(self) -> Embedder | None:
        """The embedder, None when words are to be searched alone."""
        from .embedders.choice import chosen

        return chosen(self)

    @property
    def api_keys_path(self) -> Path:
        """The file of the API's keys."""
        return self.api_keys or CoreSettings.load("core").data_dir / "kb-keys.json"

    @property
    def index_path(self) -> Path:
        """The index's file."""
        return self.path or CoreSettings.load("core").data_dir / "kb.sqlite"
