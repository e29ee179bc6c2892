"""How many tokens a prompt takes, without asking the server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from stenobus_contracts import LlmRequest
from stenobus_core.tokens import tokens_of

#: Tokens a chat template adds to each message.
PER_MESSAGE: Final = 4
#: Tokens of an image, whose size is not known here: what a large one takes at OpenAI and Anthropic.
PER_IMAGE: Final = 1600


def estimate(request: LlmRequest) -> int:
    """Estimated tokens of the prompt: messages, images, tools, and the schema of the wanted answer."""
    images = sum(len(message.images) for message in request.messages)
    return sum(map(tokens_of, _texts(request))) + PER_IMAGE * images + PER_MESSAGE * len(request.messages)


def _texts(request: LlmRequest) -> Iterator[str]:
    for message in request.messages:
        yield message.content
        for call in message.tool_calls:
            yield call.name + call.arguments
    for tool in request.tools:
        yield tool.name + tool.description + json.dumps(tool.parameters)
    if request.response_schema is not None:
        yield json.dumps(request.response_schema)
