"""What the tests of the router share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from .chat import OpenAIServer

LLM_NAMES = (
    "LLM_INT4_HOST", "LLM_INT4_PORT", "LLM_FP16_HOST", "LLM_FP16_PORT", "LLM_TIMEOUT", "LLM_ROUTING_STRATEGY",
    "BEDROCK_MODEL_ID", "AWS_REGION",
)  # fmt: skip


@pytest.fixture
async def server() -> AsyncIterator[OpenAIServer]:
    server = OpenAIServer()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture(autouse=True)
def no_keys_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have an account; the tests must not see it."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_API_BASE", "OPENAI_MODEL", *LLM_NAMES):
        monkeypatch.delenv(name, raising=False)
