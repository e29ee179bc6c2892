"""Amazon Titan's text embeddings on Bedrock."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import boto3.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError

from ..errors import EmbedderRefused, EmbedderUnavailable
from .vectors import checked

if TYPE_CHECKING:
    from . import Role, Vectors

MODEL: Final = "amazon.titan-embed-text-v2:0"
DIMENSION: Final = 1_024
#: Requests at once: the API takes one text each.
_AT_ONCE: Final = 8
#: Characters the model takes.
_LONGEST: Final = 50_000
_PASSING: Final = frozenset(
    {"ThrottlingException", "ServiceUnavailableException", "InternalServerException", "ModelTimeoutException",
     "ModelNotReadyException"}
)  # fmt: skip


class TitanEmbedder:
    """Credentials come from where boto3 looks for them.

    Args:
        model: id of a Titan text embedding model, version 2.
        dimension: 256, 512 or 1,024.
        region: AWS region; what the environment says when None.
        endpoint_url: another address, such as a VPC endpoint's.
    """

    def __init__(
        self, model: str = MODEL, dimension: int = DIMENSION, region: str | None = None, endpoint_url: str | None = None
    ) -> None:
        self._id, self.dimension, self._region, self._endpoint = model, dimension, region, endpoint_url
        self.model = f"bedrock/{model}"

    @cached_property
    def _client(self) -> Any:
        config = Config(
            retries={"total_max_attempts": 3, "mode": "standard"}, read_timeout=60, max_pool_connections=_AT_ONCE
        )
        session = boto3.session.Session(region_name=self._region)
        return session.client("bedrock-runtime", endpoint_url=self._endpoint, config=config)

    def embed(self, texts: Sequence[str], role: Role = "passage") -> Vectors:
        """One row per text, of length 1.

        Raises:
            EmbedderUnavailable: no connection, or AWS is busy.
            EmbedderRefused: no credentials, no access to the model, or no such model.
        """
        try:
            _ = self._client  # made once, before threads want it
            with ThreadPoolExecutor(_AT_ONCE) as threads:
                rows = list(threads.map(self._one, texts))
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in _PASSING:
                raise EmbedderUnavailable(f"Bedrock is busy ({code}): try again later.") from error
            raise EmbedderRefused(f"Bedrock refuses {self._id} ({code}): look at access, region and model.") from error
        except (NoCredentialsError, NoRegionError) as error:
            raise EmbedderRefused(f"Bedrock cannot be asked: {str(error).rstrip('.')}.") from error
        except BotoCoreError as error:
            raise EmbedderUnavailable(f"Bedrock does not answer ({type(error).__name__}): try again.") from error
        if not rows:
            return checked([[0.0] * self.dimension], 1, None, self._id)[:0]
        return checked(rows, len(texts), self.dimension, self._id)

    def _one(self, text: str) -> Any:
        body = {"inputText": text[:_LONGEST] or " ", "dimensions": self.dimension, "normalize": True}
        answer = self._client.invoke_model(
            modelId=self._id, body=json.dumps(body), contentType="application/json", accept="application/json"
        )
        try:
            return json.loads(answer["body"].read())["embedding"]
        except (ValueError, KeyError, TypeError) as error:
            raise EmbedderRefused(f"{self._id} answered with no embedding.") from error
