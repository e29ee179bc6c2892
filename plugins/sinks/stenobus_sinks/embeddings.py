"""Vectors from a server that speaks OpenAI's embeddings protocol, for indexes that make none themselves."""

from __future__ import annotations

import asyncio
import json
import math
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from typing import Any, Final

from stenobus_core import PermanentError, RetryableError

#: Texts of one request, and characters of all of them: within what small servers take.
_TEXTS: Final = 64
_CHARACTERS: Final = 60_000
#: Longest answer in bytes: 64 vectors of 4096 dimensions in decimal digits, with room.
_ANSWER: Final = 16 * 1024 * 1024


class _Stays(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: the key would travel along."""

    def redirect_request(self, *_: Any) -> None:
        """Nowhere."""


class Embeddings:
    """One model on one server.

    Args:
        url: base address, such as ``http://host:8000/v1``.
        dimension: numbers of each vector; another length is refused.
        timeout: seconds one request may take.
    """

    def __init__(self, url: str, model: str, dimension: int, key: str | None = None, timeout: float = 60.0) -> None:
        if not url.startswith(("http://", "https://")):
            raise PermanentError(f"The embeddings server {url} must be an http:// or https:// address.")
        self._url, self._model, self._dimension = f"{url.rstrip('/')}/embeddings", model, dimension
        self._key, self._timeout = key, timeout
        self._opener = urllib.request.build_opener(_Stays)

    async def vectors(self, texts: Sequence[str]) -> list[list[float]]:
        """A vector for each text, in order.

        Raises:
            PermanentError: the server refuses, or answers with something else than vectors of the dimension.
            RetryableError: it cannot be reached, is overloaded or fails.
        """
        return [vector for part in _parts(texts) for vector in await asyncio.to_thread(self._ask, part)]

    def _ask(self, texts: Sequence[str]) -> list[list[float]]:
        body = json.dumps({"model": self._model, "input": list(texts), "encoding_format": "float"}).encode()
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self._key}"} if self._key else {})
        request = urllib.request.Request(self._url, body, headers, method="POST")  # noqa: S310 - http(s) only, see above
        try:
            with self._opener.open(request, timeout=self._timeout) as answer:
                content = answer.read(_ANSWER + 1)
        except urllib.error.HTTPError as error:
            raise self._refused(error.code) from None
        except (OSError, ValueError) as error:
            raise RetryableError(
                f"The embeddings server {self._url} cannot be reached ({type(error).__name__})."
            ) from None
        if len(content) > _ANSWER:
            raise PermanentError(f"The embeddings server {self._url} answers with more than {_ANSWER} bytes.")
        return self._read(content, len(texts))

    def _refused(self, status: int) -> Exception:
        what = f"The embeddings server {self._url}"
        if status in {401, 403}:
            return PermanentError(f"{what} refuses the key ({status}): set the one it knows.")
        if status in {408, 409, 425, 429} or status >= 500:
            return RetryableError(f"{what} is overloaded or failing ({status}).")
        return PermanentError(f"{what} refuses ({status}): check its address and the model {self._model}.")

    def _read(self, content: bytes, count: int) -> list[list[float]]:
        try:
            data = sorted(json.loads(content)["data"], key=lambda item: item["index"])
            found = [[float(number) for number in item["embedding"]] for item in data]
        except (ValueError, KeyError, TypeError):
            raise PermanentError(f"{self._url} does not answer with embeddings.") from None
        if len(found) != count:
            raise PermanentError(f"{self._url} answers {count} texts with {len(found)} vectors.")
        for vector in found:
            if len(vector) != self._dimension or not all(map(math.isfinite, vector)):
                raise PermanentError(
                    f"{self._url} makes vectors of {len(vector)} numbers, or numbers that are none; the settings say "
                    f"{self._dimension}."
                )
        return found


def _parts(texts: Sequence[str]) -> Iterator[list[str]]:
    part: list[str] = []
    for text in texts:
        if part and (len(part) == _TEXTS or sum(map(len, part)) + len(text) > _CHARACTERS):
            yield part
            part = []
        part.append(text or " ")  # servers refuse empty texts
    if part:
        yield part
