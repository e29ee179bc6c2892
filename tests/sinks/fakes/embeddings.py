"""A server that speaks OpenAI's embeddings protocol: a vector says how often letters occur."""

from __future__ import annotations

import json

from .http import HttpServer, Reply, Request


class FakeEmbeddings:
    def __init__(self, key: str, dimension: int = 8) -> None:
        self.key, self.dimension, self.texts = key, dimension, 0
        self.busy = 0
        self.server = HttpServer(self._answer)
        self.url = f"{self.server.url}/v1"

    def close(self) -> None:
        self.server.close()

    def _answer(self, request: Request) -> Reply:
        if request.headers.get("authorization") != f"Bearer {self.key}":
            return Reply(401, b'{"error": {"message": "Incorrect API key provided"}}')
        if self.busy:
            self.busy -= 1
            return Reply(429, b'{"error": {"message": "Rate limit reached"}}')
        asked = json.loads(request.body)
        if (request.method, request.path) != ("POST", "/v1/embeddings") or asked.keys() != {
            "model", "input", "encoding_format",
        }:  # fmt: skip
            return Reply(400, b'{"error": {"message": "Unrecognized request argument"}}')
        if not all(asked["input"]):
            return Reply(400, b'{"error": {"message": "$.input is invalid."}}')
        self.texts += len(asked["input"])
        data = [
            {"object": "embedding", "index": number, "embedding": self._vector(text)}
            for number, text in enumerate(asked["input"])
        ]
        return Reply(200, json.dumps({"object": "list", "data": data[::-1], "model": asked["model"]}).encode())

    def _vector(self, text: str) -> list[float]:
        return [1.0 + text.lower().count(chr(97 + place)) for place in range(self.dimension)]
