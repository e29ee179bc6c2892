"""A gate before a real endpoint: everything passes, unless a test says otherwise."""

from __future__ import annotations

import http.client
from urllib.parse import urlsplit

from .http import HttpServer, Reply, Request


class S3Gate(HttpServer):
    """Passes requests on to the endpoint behind it."""

    def __init__(self, behind: str) -> None:
        self._behind = urlsplit(behind)
        super().__init__(self._pass)

    def _pass(self, request: Request) -> Reply:
        connection = http.client.HTTPConnection(self._behind.hostname or "", self._behind.port)
        try:
            connection.request(request.method, request.target, request.body, request.headers)
            answer = connection.getresponse()
            body = answer.read()
            left_out = {"content-length", "connection", "transfer-encoding", "date", "server"}
            headers = {name: value for name, value in answer.getheaders() if name.lower() not in left_out}
            return Reply(answer.status, body, headers)
        finally:
            connection.close()

    @property
    def writes(self) -> list[str]:
        """Keys that were written or removed, as often as that was tried."""
        return [request.path for request in self.requests if request.method in {"PUT", "DELETE", "POST"}]
