"""Amazon Bedrock's Converse API, through boto3, which blocks: every call runs in a thread of the target's own."""

from __future__ import annotations

import asyncio
import json
import os
import re
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import boto3.session
import urllib3.exceptions
from botocore import exceptions as aws
from botocore.config import Config
from botocore.eventstream import ParserError
from botocore.parsers import ResponseParserError

from stenobus_contracts import LlmRequest, TokenUsage

from .. import structured, tokens
from ..failures import Code, Failure, retry_after
from ..settings import Target
from . import NO_IMAGES, Completion, Piece

#: Threads of a target that states no concurrency.
_THREADS: Final = 16
#: Classes of failure by the error's name. Within a stream its status says nothing: botocore makes each of them a 400.
_CODES: Final[dict[str, Code]] = {
    "throttlingexception": "throttled",
    "toomanyrequestsexception": "throttled",
    "servicequotaexceededexception": "throttled",
    "serviceunavailableexception": "overloaded",
    "internalserverexception": "overloaded",
    "internalfailure": "overloaded",
    "modelnotreadyexception": "overloaded",
    "modelerrorexception": "overloaded",
    "modelstreamerrorexception": "overloaded",
    "modeltimeoutexception": "transport",
    "accessdeniedexception": "auth",
    "unrecognizedclientexception": "auth",
    "invalidsignatureexception": "auth",
    "incompletesignature": "auth",
    "missingauthenticationtokenexception": "auth",
    "expiredtokenexception": "auth",
    "expiredtoken": "auth",
}
_CONTEXT: Final = re.compile(
    r"too long|too many (input )?tokens|context (length|window)|maximum (number of )?tokens|input length", re.IGNORECASE
)
_FILTERED: Final = frozenset({"guardrail_intervened", "content_filtered"})
_SPOILT: Final = frozenset({"malformed_model_output", "malformed_tool_use"})


class Bedrock:
    """One target's client. It asks once per call: botocore's own retries are off.

    Credentials come from where boto3 looks for them.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        threads = target.concurrency or _THREADS
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=f"bedrock-{target.name}")
        self._making = threading.Lock()
        self._made: Any = None
        self._config = Config(
            retries={"total_max_attempts": 1, "mode": "standard"},
            connect_timeout=target.connect_timeout,
            read_timeout=target.timeout,
            max_pool_connections=threads,
        )

    async def close(self) -> None:
        """Close the connections. Calls that nobody waits for any more end at the target's timeout."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._made is not None:
            self._made.close()

    async def complete(
        self, request: LlmRequest, piece: Piece | None = None, images: Mapping[str, bytes] = NO_IMAGES
    ) -> Completion:
        """Ask once, within the target's timeout for the whole completion.

        Raises:
            Failure: in the class that the service's answer, or its absence, belongs to.
        """
        if request.response_schema is not None:
            structured.check_schema(request.response_schema)
        gone = threading.Event()
        try:
            async with asyncio.timeout(self._target.timeout):
                answer = await asyncio.get_running_loop().run_in_executor(
                    self._threads, self._converse, self._body(request), gone
                )
        except (TimeoutError, aws.ReadTimeoutError) as error:
            raise self._failure("transport", f"did not answer within {self._target.timeout:g} s") from error
        except aws.ClientError as error:  # those within a stream among them
            raise self._refused(error) from error
        except (aws.NoCredentialsError, aws.PartialCredentialsError, aws.CredentialRetrievalError) as error:
            raise self._failure("auth", f"has no credentials: {error}") from error
        except (
            aws.ConnectionError,
            aws.HTTPClientError,
            aws.ResponseStreamingError,
            urllib3.exceptions.HTTPError,
        ) as error:
            raise self._failure("transport", f"cannot be reached, or broke off: {error}") from error
        except (ParserError, ResponseParserError) as error:
            raise self._failure("transport", f"answered something that is not Converse: {error}") from error
        except (aws.BotoCoreError, ValueError) as error:  # a wrong region, endpoint or parameter
            raise self._failure("bad_request", f"cannot be asked like this: {error}") from error
        finally:
            gone.set()
        return self._completion(request, answer)

    def _converse(self, body: dict[str, Any], gone: threading.Event) -> dict[str, Any]:
        """In a thread: the whole answer, as Converse gives it."""
        client = self._client()
        if not self._target.stream:
            whole: dict[str, Any] = client.converse(**body)
            return whole
        stream = client.converse_stream(**body)["stream"]
        try:
            return self._gathered(stream, gone)
        finally:
            stream.close()

    def _gathered(self, stream: Any, gone: threading.Event) -> dict[str, Any]:
        """What the events of a stream add up to. The last one carries the usage."""
        text: list[str] = []
        stop, usage = None, None
        for event in stream:
            if gone.is_set():
                break
            text.append(event.get("contentBlockDelta", {}).get("delta", {}).get("text", ""))
            stop = event.get("messageStop", {}).get("stopReason", stop)
            usage = event.get("metadata", {}).get("usage", usage)
        if stop is None:
            raise self._failure("transport", "ended its stream before the answer was complete", text="".join(text))
        return {"output": {"message": {"content": [{"text": "".join(text)}]}}, "stopReason": stop, "usage": usage}

    def _client(self) -> Any:
        with self._making:
            if self._made is None:
                target = self._target
                # boto3 itself knows AWS_DEFAULT_REGION only.
                self._made = boto3.session.Session().client(
                    "bedrock-runtime",
                    region_name=target.region or os.environ.get("AWS_REGION"),
                    endpoint_url=target.base_url if "base_url" in target.model_fields_set else None,
                    config=self._config,
                )
            return self._made

    def _body(self, request: LlmRequest) -> dict[str, Any]:
        target = self._target
        system = [{"text": message.content} for message in request.messages if message.role == "system"]
        turns: list[dict[str, Any]] = []
        for message in request.messages:
            if message.role == "system":
                continue
            if turns and turns[-1]["role"] == message.role:  # Converse wants them to take turns
                turns[-1]["content"].append({"text": message.content})
            else:
                turns.append({"role": message.role, "content": [{"text": message.content}]})
        limits: dict[str, Any] = {"temperature": request.temperature}
        if request.max_output_tokens is not None:
            limits["maxTokens"] = request.max_output_tokens
        body: dict[str, Any] = {"modelId": target.model, "messages": turns}
        if request.response_schema is not None:
            schema = structured.bounded(request.response_schema, target.bound_items, target.bound_characters)
            if target.structured == "json_schema":
                wanted = {"name": structured.name(request.task), "schema": json.dumps(schema)}
                body["outputConfig"] = {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": wanted}}}
            else:
                system.insert(0, {"text": structured.instruction(schema)})
        if system:
            body["system"] = system
        if kept := {name: limit for name, limit in limits.items() if name not in target.omit}:
            body["inferenceConfig"] = kept
        if target.extra:
            body["additionalModelRequestFields"] = target.extra
        return body

    def _completion(self, request: LlmRequest, answer: dict[str, Any]) -> Completion:
        if "stopReason" not in answer:  # botocore takes whatever comes with a 200, a proxy's page among it
            raise self._failure("transport", "answered something that is not a Converse answer")
        content = answer.get("output", {}).get("message", {}).get("content", [])
        # A lone surrogate, which JSON can spell, would fail in everything that is written as UTF-8.
        text = "".join(block.get("text", "") for block in content).encode(errors="replace").decode()
        usage, stop = _usage(request, answer.get("usage"), text), answer["stopReason"]
        known: dict[str, Any] = {"usage": usage, "text": text, "model": self._target.model}
        if stop in _FILTERED:
            raise self._failure("content_filter", "declined to answer this request", **known)
        if stop == "max_tokens":
            what = f"stopped at {usage.output} tokens before the answer was complete"
            what += "; raise max_output_tokens or ask for less"
            raise self._failure("truncated", what, **known)
        if stop == "model_context_window_exceeded":
            raise self._failure("context_too_long", "ran out of its context window; send less", **known)
        if stop in _SPOILT:
            raise self._failure("invalid_answer", f"could not finish a well-formed answer ({stop})", **known)
        data = None
        if request.response_schema is not None:
            try:
                data = structured.parse(text, request.response_schema)
            except Failure as failure:
                raise Failure(failure.code, failure.message, **known) from failure
        finish = "stop" if stop in {"end_turn", "stop_sequence"} else stop
        return Completion(text=text, data=data, model=self._target.model, finish_reason=finish, usage=usage)

    def _refused(self, error: aws.ClientError) -> Failure:
        """The failure class of an error that the service names."""
        name, message = error.response["Error"].get("Code", ""), error.response["Error"].get("Message", "")
        answer = error.response.get("ResponseMetadata", {})
        code = _CODES.get(name.casefold())
        if code is None:
            too_long = _CONTEXT.search(message) and name.casefold() == "validationexception"
            broken = int(answer.get("HTTPStatusCode", 400)) >= 500
            code = "context_too_long" if too_long else "overloaded" if broken else "bad_request"
        delay = retry_after(answer.get("HTTPHeaders", {}))
        return self._failure(code, f"answered {name}: {message}", delay=delay)

    def _failure(self, code: Code, what: str, **details: Any) -> Failure:
        sentence = f"The target {self._target.name} {' '.join(what.split())}"
        return Failure(code, sentence if len(sentence) <= 600 else sentence[:599] + "…", **details)


def _usage(request: LlmRequest, counted: dict[str, int] | None, text: str) -> TokenUsage:
    """What the service counted, or an estimate labelled as one."""
    if counted is not None:
        return TokenUsage(input=counted.get("inputTokens", 0), output=counted.get("outputTokens", 0))
    return TokenUsage(input=tokens.estimate(request), output=tokens.of_text(text), estimated=True)
