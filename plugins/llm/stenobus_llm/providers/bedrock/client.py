"""One target's client. boto3 blocks: every call has a thread of its own."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import boto3.session
from botocore.config import Config

from stenobus_contracts import LlmRequest

from ... import structured
from ...failures import Failure
from ...settings import Target
from .. import NO_IMAGES, Completion, Piece
from ..patience import Patience
from .answer import completion, usage
from .body import body
from .call import Answer, Call, Gone
from .failures import classed, failed, unable
from .stream import Gathering
from .wire import Wire

#: Calls at once of a target that states no concurrency.
_THREADS: Final = 16


class Bedrock:
    """Asks once per call: botocore's own retries are off. Credentials come from where boto3 looks for them."""

    def __init__(self, target: Target) -> None:
        self._target = target
        threads = target.concurrency or _THREADS
        self._threads = asyncio.Semaphore(threads)
        self._making = threading.Lock()
        self._made: Any = None
        self._config = Config(
            retries={"total_max_attempts": 1, "mode": "standard"},
            connect_timeout=target.connect_timeout,
            read_timeout=target.timeout,
            max_pool_connections=threads,
        )

    async def close(self) -> None:
        """Close the connections that no call uses."""
        if self._made is not None:
            self._made.close()

    async def complete(
        self, request: LlmRequest, piece: Piece | None = None, images: Mapping[str, bytes] = NO_IMAGES
    ) -> Completion:
        """Ask once, within the target's timeouts.

        With ``piece`` the answer is streamed; it ends up the same. While ``piece`` takes its time, at most a few texts
        more are read, and no timeout runs. Its own errors go through as they are.

        Raises:
            Failure: in the class that the service's answer, or its absence, belongs to. Of an answer that broke off it
                has the text so far, and an estimate of what that took.
        """
        if request.response_schema is not None:
            structured.check_schema(request.response_schema)
        asked = body(self._target, request, images)
        gathering = Gathering(self._target)
        try:
            answer = await self._ask(asked, piece, gathering)
        except Failure as failure:
            if gathering.text:  # it is paid for all the same
                failure.usage, failure.model = usage(request, None, gathering.text), self._target.model
                failure.text = gathering.text if failure.code != "truncated" else ""
            raise
        return completion(self._target, request, answer)

    async def _ask(self, asked: dict[str, Any], piece: Piece | None, gathering: Gathering) -> Answer:
        patience = Patience(self._target.timeout, self._target.silence)
        try:
            async with patience:
                await self._threads.acquire()
                call = Call()
                work = partial(self._work, asked, call, None if piece is None else gathering)
                try:
                    call.start(work, self._threads.release, f"bedrock-{self._target.name}")
                except RuntimeError:  # no thread is to be had
                    self._threads.release()
                    raise
                return await call.answer(piece, patience)
        except TimeoutError as error:
            if not patience.over:
                raise  # of who takes the pieces
            if gathering.whole:
                return gathering.answer()
            what = f"did not answer within {self._target.timeout:g} s"
            if patience.silent:
                what = f"fell silent for {self._target.silence:g} s in the middle of its answer"
            raise failed(self._target, "transport", what) from error

    # --- in a call's thread ------------------------------------------------------------------------------------------

    def _work(self, asked: dict[str, Any], call: Call, gathering: Gathering | None) -> Answer:
        """The whole answer, as Converse gives it."""
        try:
            client = self._client()
        except Exception as error:
            raise unable(self._target, error) from error
        self._wire.carry(call)
        try:
            if gathering is None:
                whole: Answer = client.converse(**asked)
                return whole
            stream = client.converse_stream(**asked)["stream"]
            try:
                for event in stream:
                    text = gathering.take(event)
                    if gathering.begun:
                        call.text(text)
            finally:
                stream.close()
            return gathering.answer()
        except (Failure, Gone):
            raise
        except Exception as error:
            if gathering is not None and gathering.whole:
                return gathering.answer()
            raise classed(self._target, error) from error

    def _client(self) -> Any:
        with self._making:
            if self._made is None:
                target = self._target
                # boto3 itself knows AWS_DEFAULT_REGION only.
                made = boto3.session.Session().client(
                    "bedrock-runtime",
                    region_name=target.region or os.environ.get("AWS_REGION"),
                    endpoint_url=target.base_url if "base_url" in target.model_fields_set else None,
                    config=self._config,
                )
                self._wire, self._made = Wire(target, made), made
            return self._made
