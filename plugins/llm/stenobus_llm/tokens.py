"""How many tokens a prompt takes, without asking the server."""

from __future__ import annotations

import json
import math

from stenobus_contracts import LlmRequest

#: Characters per token of the estimate. English prose has four or more, so the estimate errs on the safe side.
CHARACTERS_PER_TOKEN = 3.5
#: Tokens a chat template adds to each message.
PER_MESSAGE = 4
#: Tokens of an image: vendors scale a large one down to about as many.
PER_IMAGE = 1600


def estimate(request: LlmRequest) -> int:
    """Estimated tokens of the prompt: its messages, the tools, and the schema of the wanted answer."""
    characters = sum(len(message.content) for message in request.messages)
    characters += sum(
        len(call.name) + len(call.arguments) for message in request.messages for call in message.tool_calls
    )
    characters += sum(len(tool.model_dump_json()) for tool in request.tools)
    if request.response_schema is not None:
        characters += len(json.dumps(request.response_schema))
    images = sum(len(message.images) for message in request.messages)
    return math.ceil(characters / CHARACTERS_PER_TOKEN) + PER_MESSAGE * len(request.messages) + PER_IMAGE * images


def of_text(text: str) -> int:
    """Estimated tokens of a text."""
    return math.ceil(len(text) / CHARACTERS_PER_TOKEN)
