"""A target that asks the local Converse server."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import NoRegionError

from stenobus_contracts import LlmRequest, Message
from stenobus_llm.failures import Failure
from stenobus_llm.providers import NO_IMAGES, Completion, Piece
from stenobus_llm.providers.bedrock import Bedrock
from stenobus_llm.settings import Target

from .converse import ConverseServer


@pytest.fixture(autouse=True)
def account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIATEST",
        "AWS_SECRET_ACCESS_KEY": "aws-secret",
        "AWS_REGION": "eu-west-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION", "AWS_BEARER_TOKEN_BEDROCK"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def service() -> Iterator[ConverseServer]:
    service = ConverseServer()
    yield service
    service.stop()


class Asking:
    """Asks the server. Each set of target settings has one client, which keeps its connections."""

    def __init__(self, service: ConverseServer) -> None:
        self._service, self._clients = service, dict[str, Bedrock]()
        #: The pieces that came, where they were wanted.
        self.pieces: list[str] = []

    def client(self, timeout: float = 60, target: Any = None) -> Bedrock:
        known = {"kind": "bedrock", "model": "anthropic.claude:0", "base_url": self._service.url, "timeout": timeout}
        wanted = Target.model_validate({"name": "claude", **known, **(target or {})})
        client = self._clients.setdefault(repr(wanted), Bedrock(wanted))
        with contextlib.suppress(NoRegionError):
            client._client()  # boto3 takes its time, which is not what the timeouts here are about
        return client

    async def __call__(
        self,
        *turns: Message,
        timeout: float = 60,
        target: Any = None,
        stream: bool = False,
        piece: Piece | None = None,
        images: Mapping[str, bytes] = NO_IMAGES,
        **request: Any,
    ) -> Completion:
        messages = turns or (Message(role="user", content="Why?"),)
        asked = LlmRequest(task="acme.ask", messages=messages, **request)
        return await self.client(timeout, target).complete(asked, piece or (self._take if stream else None), images)

    async def fails(self, *turns: Message, **more: Any) -> Failure:
        with pytest.raises(Failure) as caught:
            await self(*turns, **more)
        return caught.value

    async def close(self) -> None:
        for client in self._clients.values():
            await client.close()

    async def _take(self, text: str) -> None:
        self.pieces.append(text)


@pytest.fixture
async def ask(service: ConverseServer) -> AsyncIterator[Asking]:
    asking = Asking(service)
    yield asking
    service.released.set()
    await asking.close()
