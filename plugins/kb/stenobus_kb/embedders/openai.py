"""Any server that speaks OpenAI's embeddings API: OpenAI, vLLM, Ollama, text-embeddings-inference."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import httpx2
import numpy as np

from ..errors import EmbedderRefused, EmbedderUnavailable
from .vectors import checked

if TYPE_CHECKING:
    from . import Role, Vectors

#: Texts of one request, and characters of one text: longer ones are beyond what such models read.
_AT_ONCE: Final = 64
_LONGEST: Final = 24_000
#: Bytes of an answer.
_MOST: Final = 64 * 1024 * 1024


class OpenAiEmbedder:
    """Asks once per batch; whoever calls decides about trying again.

    Args:
        base_url: such as ``http://127.0.0.1:8000/v1``.
        model: as the server calls it.
        api_key: sent as a bearer token; none when None.
        dimension: asks for vectors of so many numbers; what the model has when None.
        prefixes: put before a passage, and before a question.
        timeout: seconds for one request.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        api_key: str | None = None,
        dimension: int | None = None,
        prefixes: tuple[str, str] = ("", ""),
        timeout: float = 60.0,
    ) -> None:
        self._name, self._asked, self._prefixes = model, dimension, prefixes
        self.model = f"openai/{model}" + (f" after {prefixes[0]!r}" if prefixes[0] else "")
        headers = {"accept-encoding": "identity"} | ({"authorization": f"Bearer {api_key}"} if api_key else {})
        self._client = httpx2.Client(base_url=base_url.rstrip("/") + "/", headers=headers, timeout=timeout)
        self._where = f"{model} at {self._client.base_url.host}"
        self._lock = threading.Lock()

    @cached_property
    def dimension(self) -> int:
        """Numbers per vector; asks the server when the settings do not say."""
        with self._lock:
            return self._asked or int(self._request(["dimension"]).shape[1])

    def embed(self, texts: Sequence[str], role: Role = "passage") -> Vectors:
        """One row per text, of length 1.

        Raises:
            EmbedderUnavailable: no connection, no answer in time, 408, 429 or 5xx.
            EmbedderRefused: any other answer, such as a wrong key or model.
        """
        prefix = self._prefixes[role == "query"]
        rows = [
            self._request([(prefix + text)[:_LONGEST] for text in texts[start : start + _AT_ONCE]])
            for start in range(0, len(texts), _AT_ONCE)
        ]
        return np.concatenate(rows) if rows else np.zeros((0, self.dimension), dtype=np.float32)

    def _request(self, texts: list[str]) -> Vectors:
        body: dict[str, Any] = {"model": self._name, "input": texts, "encoding_format": "float"}
        if self._asked is not None:
            body["dimensions"] = self._asked
        try:
            with self._client.stream("POST", "embeddings", json=body) as response:
                parts, size = [], 0
                for part in response.iter_raw():
                    size += len(part)
                    if size > _MOST:
                        raise EmbedderRefused(f"{self._where} answered with more than {_MOST} bytes.")
                    parts.append(part)
        except httpx2.HTTPError as error:
            raise EmbedderUnavailable(f"{self._where} does not answer ({type(error).__name__}): try again.") from error
        status = response.status_code
        if status in {408, 429} or status >= 500:
            raise EmbedderUnavailable(f"{self._where} answered {status}: try again later.")
        if status != 200:
            hint = "look at STENOBUS_KB_EMBEDDING_API_KEY" if status in {401, 403} else "look at the model and address"
            raise EmbedderRefused(f"{self._where} answered {status}: {hint}.")
        try:
            data = sorted(json.loads(b"".join(parts))["data"], key=lambda item: item["index"])
            rows = [item["embedding"] for item in data]
        except (ValueError, KeyError, TypeError) as error:
            raise EmbedderRefused(f"{self._where} answered with no list of embeddings.") from error
        return checked(rows, len(texts), self._asked, self._where)
