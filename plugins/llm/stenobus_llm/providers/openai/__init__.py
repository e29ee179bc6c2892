"""Any server that speaks OpenAI's chat completions: OpenAI itself, vLLM, LiteLLM, llama.cpp and others."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, Final

import httpx2
import openai

from stenobus_contracts import LlmRequest, TokenUsage
from stenobus_core.tokens import tokens_of

from ... import structured, tokens
from ...failures import Failure
from ...settings import Target
from .. import NO_IMAGES, Completion, Piece
from ..patience import Patience
from . import wire
from .answer import LONGEST, Answer, Endless
from .body import body, messages, tools
from .events import Events
from .failures import Failures, Refusal
from .http import Broken, bounded, leftovers, parts, whole
from .wire import LARGEST, Malformed

_DONE: Final = b"[DONE]"


class _Refused(Exception):
    """The server says no in the middle of its answer."""


class OpenAI:
    """One target's client. It asks once per call: the SDK's own retries are off.

    The SDK makes the request and reads refusals. What a good answer brings is read here, bounded, at a fraction of the
    cost of the SDK's models.
    """

    def __init__(self, target: Target) -> None:
        try:
            key = target.key()
        except LookupError as error:
            raise Failure("auth", f"The target {target.name} has no API key: {error.args[0]}.") from error
        self._target = target
        secret = key.get_secret_value() if key else None
        self._failures = Failures(target.name, secret)
        timeout = openai.Timeout(None, connect=target.connect_timeout)  # the rest is for Patience to keep
        self._client = openai.AsyncOpenAI(
            # Without a key of its own the SDK would send OPENAI_API_KEY to whatever server this target is.
            api_key=secret or "none",
            base_url=target.base_url,
            max_retries=0,
            timeout=timeout,
            default_headers={"Accept-Encoding": "identity"},
            http_client=openai.DefaultAsyncHttpxClient(timeout=timeout, event_hooks={"response": [bounded]}),
        )
        self._model = target.model

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def complete(
        self, request: LlmRequest, piece: Piece | None = None, images: Mapping[str, bytes] = NO_IMAGES
    ) -> Completion:
        """Ask the server once, within the target's timeouts.

        With ``piece`` the answer is streamed; it ends up the same. While ``piece`` takes its time, nothing more is read
        and no timeout runs. Its own errors go through as they are.

        Raises:
            Failure: in the class that the server's answer, or its absence, belongs to. Of an answer that broke off it
                has the text so far, and an estimate of what that took.
        """
        if request.response_schema is not None:
            structured.check_schema(request.response_schema)
        answer, patience = Answer(), Patience(self._target.timeout, self._target.silence)
        try:
            try:
                await self._ask(request, answer, patience, piece, images)
            except TimeoutError as error:
                if not patience.over:
                    raise  # of who takes the pieces
                if answer.finish is None:
                    raise self._late(request, answer, patience) from error
            return self._completion(request, answer)
        except (openai.OpenAIError, httpx2.HTTPError, Broken, Malformed, Endless, _Refused) as error:
            raise self._failed(request, answer, error) from error

    async def _ask(
        self, request: LlmRequest, answer: Answer, patience: Patience, piece: Piece | None, images: Mapping[str, bytes]
    ) -> None:
        async with patience:
            answer.model = self._model or await self._first_model()
            asked = body(request, self._target, answer.model, images, stream=piece is not None)
            # Not by chat.completions.create: it takes a millisecond to look every field up in its types.
            sent = await self._client.post(
                "/chat/completions",
                body=asked | self._target.extra,
                cast_to=object,
                stream=True,
                stream_cls=openai.AsyncStream[object],
            )
            async with sent:
                await self._read(sent.response, answer, piece, patience)

    async def count(self, request: LlmRequest) -> int:
        """Tokens of the prompt, as vLLM's /tokenize counts them with the model's chat template.

        Raises:
            Failure: the server does not offer it, or does not say.
        """
        url = httpx2.URL(self._target.base_url.rstrip("/").removesuffix("/v1") + "/tokenize")
        try:
            asked: dict[str, Any] = {
                "model": self._model or await self._first_model(),
                "messages": messages(request, self._target, NO_IMAGES),
            }
            if request.tools:
                asked["tools"] = tools(request)
            if kwargs := self._target.extra.get("chat_template_kwargs"):
                asked["chat_template_kwargs"] = kwargs
            response = await self._client.post(str(url), body=asked, cast_to=httpx2.Response)
            return wire.count(response.content)
        except (openai.OpenAIError, httpx2.HTTPError, Broken, Malformed) as error:
            raise self._failed(request, Answer(), error) from error

    async def _first_model(self) -> str:
        async with self._client.models.with_streaming_response.list() as response:
            listed = wire.models(await whole(response.http_response, LARGEST))
        if not listed:
            raise self._failures.of("bad_request", "lists no model; set the target's model")
        self._model = listed[0]
        return self._model

    # --- reading -----------------------------------------------------------------------------------------------------

    async def _read(self, response: httpx2.Response, answer: Answer, piece: Piece | None, patience: Patience) -> None:
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if piece is not None and kind != "application/json":  # there are servers that do not stream
            await self._stream(response, answer, piece, patience)
            if answer.finish is None:  # what follows it, the usage, may be missing: the answer is whole
                raise Broken("it ended before the answer was complete")
            return
        reply = _good(wire.reply(await whole(response, LARGEST)))
        answer.add(reply)
        if not any(choice.message for choice in reply.choices):
            raise Malformed("it has no message")
        answer.finish = answer.finish or "stop"

    async def _stream(self, response: httpx2.Response, answer: Answer, piece: Piece, patience: Patience) -> None:
        events = Events()
        try:
            async with contextlib.aclosing(parts(response)) as coming:
                async for part in coming:
                    if answer.begun:
                        patience.heard()
                    for event in events.feed(part):
                        if event == _DONE:
                            await leftovers(coming)
                            return
                        if text := answer.add(_good(wire.reply(event))):
                            await patience.during(piece(text))
        except Broken:
            if answer.finish is None:
                raise

    # --- what came of it ---------------------------------------------------------------------------------------------

    def _completion(self, request: LlmRequest, answer: Answer) -> Completion:
        calls, known = answer.tool_calls(), self._known(request, answer)
        usage: TokenUsage = known["usage"]
        if answer.finish == "content_filter" or answer.refused:
            raise self._failures.of("content_filter", "declined to answer this request", **known)
        if answer.finish == "length":
            limit = f"{usage.output} tokens" if not usage.estimated else "its limit"
            what = f"stopped at {limit} before the answer was complete; raise max_output_tokens or ask for less"
            raise self._failures.of("truncated", what, **known)
        data = None
        if request.response_schema is not None and not calls:
            try:
                data = structured.parse(answer.text, request.response_schema)
            except Failure as failure:
                raise Failure(failure.code, failure.message, **known) from failure
        return Completion(data=data, tool_calls=calls, finish_reason=answer.finish or "stop", **known)

    def _late(self, request: LlmRequest, answer: Answer, patience: Patience) -> Failure:
        what = f"did not answer within {self._target.timeout:g} s"
        if patience.silent:
            what = f"fell silent for {self._target.silence:g} s in the middle of its answer"
        return self._failures.of("transport", what, **self._spent(request, answer))

    def _failed(self, request: LlmRequest, answer: Answer, error: Exception) -> Failure:
        spent = self._spent(request, answer)
        match error:
            case openai.APIStatusError():
                return self._failures.refused(Refusal.status_of(error))
            case _Refused():
                return self._failures.refused(Refusal.within_stream(error.args[0]), **spent)
            case openai.APITimeoutError():
                return self._failures.of("transport", f"cannot be reached within {self._target.connect_timeout:g} s")
            case openai.APIConnectionError() | httpx2.HTTPError():
                return self._failures.of("transport", f"cannot be reached: {error.__cause__ or error}")
            case Broken():
                return self._failures.of("transport", f"broke off its answer: {error}", **spent)
            case Endless():
                what = f"wrote {LONGEST} characters and did not end; set max_output_tokens, or ask for less"
                return self._failures.of("truncated", what, **spent)
        what = f"answered something that is not a chat completion: {error}"
        return self._failures.of("transport", what, **spent)

    def _spent(self, request: LlmRequest, answer: Answer) -> dict[str, Any]:
        """What is known of an answer that broke off; nothing when it had not even begun to come."""
        return self._known(request, answer) if answer.heard else {}

    def _known(self, request: LlmRequest, answer: Answer) -> dict[str, Any]:
        """What the server counted, or an estimate labelled as one, and what the model wrote."""
        estimated = TokenUsage(input=tokens.estimate(request), output=tokens_of(answer.so_far), estimated=True)
        return {"usage": answer.usage or estimated, "text": answer.text, "model": answer.model}


def _good(reply: wire.Reply) -> wire.Reply:
    """The reply, unless it is an error: some servers send it with a status of 200, as in a stream all do.

    Raises:
        _Refused: it is.
    """
    if reply.error is not None:
        raise _Refused(reply.error)
    return reply
