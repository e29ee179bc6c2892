"""Answers the documents' tasks from the transcript alone: every sentence verbatim, with its time.

No model, no network, no cost, and the same answer every time. Anything else it refuses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from stenobus_bus.errors import first_fault
from stenobus_contracts import EXTRACT, MAP, OUTLINE, WRITE, LlmRequest, Model, Task, TokenUsage

from ...failures import Failure
from .. import NO_IMAGES, Completion, Piece
from .extract import extract
from .matrix import problem_matrix
from .outline import outline
from .write import write

MODEL = "extractive-2"
_TASKS: dict[str, tuple[Task, Callable[[Any], Model]]] = {
    EXTRACT.name: (EXTRACT, extract),
    MAP.name: (MAP, problem_matrix),
    OUTLINE.name: (OUTLINE, outline),
    WRITE.name: (WRITE, write),
}


def refusal(request: LlmRequest) -> Failure | None:
    """Why the provider cannot answer a request, or None when it can."""
    if request.task not in _TASKS:
        return Failure(
            "unsupported",
            f"The task {request.task} needs a language model, and none is configured: set OPENAI_API_KEY or "
            "OPENAI_BASE_URL, or add a target to the settings of llm. Without a model only "
            f"{', '.join(_TASKS)} are answered.",
        )
    if request.inputs is None:
        return Failure("unsupported", f"Without a language model, {request.task} is answered from inputs; send them.")
    return None


class Extractive:
    """The provider. It keeps nothing between requests."""

    async def close(self) -> None:
        """There is nothing to close."""

    async def complete(
        self, request: LlmRequest, piece: Piece | None = None, images: Mapping[str, bytes] = NO_IMAGES
    ) -> Completion:
        """Answer with the task's own output, as data and as JSON text.

        Raises:
            Failure: unsupported for another task; bad_request for inputs of the wrong shape.
        """
        if (failure := refusal(request)) is not None:
            raise failure
        task, answer = _TASKS[request.task]
        try:
            inputs = task.inputs.model_validate(request.inputs)
        except ValidationError as error:
            raise Failure(
                "bad_request", f"The inputs of {request.task} are wrong at {first_fault(error, 'their top')}."
            ) from error
        output = await asyncio.to_thread(answer, inputs)
        return Completion(
            text=output.model_dump_json(exclude_none=True),
            data=output.model_dump(mode="json", exclude_none=True),
            model=MODEL,
            usage=TokenUsage(),
        )
