"""Any server that speaks OpenAI's chat completions: OpenAI itself, vLLM, LiteLLM, llama.cpp and others."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any

import openai
from openai.types.chat import ChatCompletion

from stenobus_contracts import LlmRequest, TokenUsage

from .. import structured, tokens
from ..failures import Code, Failure, retry_after
from ..settings import Target
from . import NO_IMAGES, Completion, Piece

_CONTEXT = re.compile(
    r"context[ _]length|context window|maximum context|max_model_len|too many tokens|prompt is too long", re.IGNORECASE
)
_FILTER = re.compile(r"content_filter|content_policy|content management policy", re.IGNORECASE)


class OpenAI:
    """One target's client. It asks once per call: the SDK's own retries are off."""

    def __init__(self, target: Target) -> None:
        try:
            key = target.key()
        except LookupError as error:
            raise Failure("auth", f"The target {target.name} has no API key: {error.args[0]}.") from error
        self._target = target
        # Without a key of its own the SDK would send OPENAI_API_KEY to whatever server this target is.
        self._key = key.get_secret_value() if key else "none"
        self._client = openai.AsyncOpenAI(
            api_key=self._key,
            base_url=target.base_url,
            max_retries=0,
            timeout=openai.Timeout(target.timeout, connect=target.connect_timeout),
        )
        self._model = target.model

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def complete(
        self, request: LlmRequest, piece: Piece | None = None, images: Mapping[str, bytes] = NO_IMAGES
    ) -> Completion:
        """Ask the server once, within the target's timeout for the whole completion.

        Raises:
            Failure: in the class that the server's answer, or its absence, belongs to.
        """
        if request.response_schema is not None:
            structured.check_schema(request.response_schema)
        try:
            async with asyncio.timeout(self._target.timeout):
                model = self._model or await self._first_model()
                answer = await self._client.chat.completions.create(**self._body(request, model))
        except (TimeoutError, openai.APITimeoutError) as error:
            raise self._failure("transport", f"did not answer within {self._target.timeout:g} s") from error
        except openai.APIStatusError as error:
            raise self._refused(error) from error
        except openai.APIConnectionError as error:
            raise self._failure("transport", f"cannot be reached: {error.__cause__ or error}") from error
        except (openai.OpenAIError, ValueError) as error:  # ValueError: the body is not the JSON its header promises
            raise self._failure("transport", f"answered something that is not a chat completion: {error}") from error
        return self._completion(request, model, answer)

    async def _first_model(self) -> str:
        page = await self._client.models.list()
        if not page.data:
            raise self._failure("bad_request", "lists no model; set the target's model")
        self._model = page.data[0].id
        return self._model

    def _body(self, request: LlmRequest, model: str) -> dict[str, Any]:
        target = self._target
        messages: list[dict[str, str]] = [
            {"role": message.role, "content": message.content} for message in request.messages
        ]
        body: dict[str, Any] = {"model": model, "messages": messages, "temperature": request.temperature}
        if request.max_output_tokens is not None:
            body["max_completion_tokens"] = request.max_output_tokens
        if request.response_schema is not None:
            schema = structured.bounded(request.response_schema, target.bound_items, target.bound_characters)
            if target.structured == "json_schema":
                name = structured.name(request.task)
                body["response_format"] = {
                    "type": "json_schema",
                    "json_schema": {"name": name, "schema": schema, "strict": structured.strict(schema)},
                }
            else:
                messages.insert(0, {"role": "system", "content": structured.instruction(schema)})
                if target.structured == "json_object":
                    body["response_format"] = {"type": "json_object"}
        for field in target.omit:
            body.pop(field, None)
        if target.extra:
            body["extra_body"] = target.extra
        return body

    def _completion(self, request: LlmRequest, model: str, answer: ChatCompletion) -> Completion:
        # The SDK builds its models without validation: a wrong server's answer may lack any part of them.
        choices = getattr(answer, "choices", None)
        if not choices or choices[0].message is None:
            raise self._failure("transport", "answered without a completion")
        message, finish = choices[0].message, choices[0].finish_reason or "stop"
        # A lone surrogate, which JSON can spell, would fail in everything that is written as UTF-8.
        text = (message.content or "").encode(errors="replace").decode()
        usage = _usage(request, answer, text)
        model = answer.model or model
        if finish == "content_filter" or getattr(message, "refusal", None):
            raise self._failure("content_filter", "declined to answer this request", usage=usage, model=model)
        if finish == "length":
            limit = f"{usage.output} tokens" if not usage.estimated else "its limit"
            raise self._failure(
                "truncated",
                f"stopped at {limit} before the answer was complete; raise max_output_tokens or ask for less",
                usage=usage,
                text=text,
                model=model,
            )
        data = None
        if request.response_schema is not None:
            try:
                data = structured.parse(text, request.response_schema)
            except Failure as failure:
                raise Failure(failure.code, failure.message, usage=usage, text=text, model=model) from failure
        return Completion(text=text, data=data, model=model, finish_reason=finish, usage=usage)

    def _refused(self, error: openai.APIStatusError) -> Failure:
        """The failure class of an HTTP status other than 2xx."""
        status, said = error.status_code, f"{error.code or ''} {error.message}"
        if status in {400, 413, 422} and (status == 413 or _CONTEXT.search(said)):
            return self._failure("context_too_long", f"refused the prompt as too long: {error.message}")
        if status in {400, 403, 422} and _FILTER.search(said):
            return self._failure("content_filter", f"filtered this request: {error.message}")
        if status == 429:
            spent = error.code == "insufficient_quota"
            verb = "has no quota left" if spent else "is throttling"
            return self._failure(
                "throttled", f"{verb}: {error.message}", delay=retry_after(error.response.headers), retryable=not spent
            )
        if status in {401, 403}:
            return self._failure("auth", f"refused the API key: {error.message}")
        if status in {408, 409, 425}:
            return self._failure("transport", f"answered {status}: {error.message}")
        if status >= 500:
            return self._failure(
                "overloaded", f"answered {status}: {error.message}", delay=retry_after(error.response.headers)
            )
        return self._failure("bad_request", f"refused the request with {status}: {error.message}")

    def _failure(self, code: Code, what: str, **details: Any) -> Failure:
        """A failure in one sentence, without the key should the server have repeated it."""
        sentence = f"The target {self._target.name} {' '.join(what.split())}".replace(self._key, "(key)")
        return Failure(code, sentence if len(sentence) <= 600 else sentence[:599] + "…", **details)


def _usage(request: LlmRequest, answer: ChatCompletion, text: str) -> TokenUsage:
    """What the server counted, or an estimate labelled as one."""
    if answer.usage is not None and answer.usage.prompt_tokens is not None:
        return TokenUsage(input=answer.usage.prompt_tokens, output=answer.usage.completion_tokens or 0)
    return TokenUsage(input=tokens.estimate(request), output=tokens.of_text(text), estimated=True)
