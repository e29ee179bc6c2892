"""Why a completion failed, in a handful of classes that retries, fallback and askers can decide by."""

from __future__ import annotations

import email.utils
import math
import random
import time
from collections.abc import Mapping
from typing import Final, Literal

from stenobus_contracts import LlmError, TokenUsage

Code = Literal[
    "throttled",
    "overloaded",
    "transport",
    "truncated",
    "invalid_answer",
    "context_too_long",
    "over_limit",
    "over_budget",
    "content_filter",
    "auth",
    "bad_request",
    "unsupported",
]

#: What may pass by itself: the server asked to wait, is busy, or was not reached.
TRANSIENT: frozenset[Code] = frozenset({"throttled", "overloaded", "transport"})
#: What the same request to the same model would end in again.
FINAL: frozenset[Code] = frozenset({"truncated", "invalid_answer", "context_too_long", "over_limit"})

#: Seconds before the second try, doubled for each further one, up to the longest.
_BASE: Final = 2.0
_LONGEST: Final = 120.0
#: A server may ask for a longer pause; the bus does not park a request longer than this.
_PARKED: Final = 600.0


def pause(attempt: int, wanted: float | None = None) -> float:
    """Seconds to wait after a failed attempt.

    Exponential with full jitter, so that those who failed together do not come back together.

    Args:
        attempt: number of the attempt that failed, from 1.
        wanted: seconds the server asked to wait: never less, and up to a quarter more.
    """
    if wanted is not None:
        return wanted * random.uniform(1, 1.25)
    return random.uniform(0, min(_LONGEST, _BASE * 2.0 ** min(attempt - 1, 32)))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of Retry-After, in either of its forms."""
    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return None
    return min(max(seconds, 0.0), _PARKED) if math.isfinite(seconds) else None


class Failure(Exception):
    """No usable completion.

    Args:
        code: the class of the failure.
        message: one sentence that says what to do.
        delay: seconds the server asked to wait.
        retryable: whether the same request may succeed later; by default what the class says.
        usage: tokens that were spent all the same.
        text: what the model wrote all the same.
        model: the model that was asked.
    """

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        delay: float | None = None,
        retryable: bool | None = None,
        usage: TokenUsage | None = None,
        text: str = "",
        model: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.delay = delay
        self.retryable = code in TRANSIENT if retryable is None else retryable
        self.usage = usage or TokenUsage()
        self.text = text
        self.model = model

    @property
    def finish_reason(self) -> str | None:
        """Why the model stopped, in OpenAI's words, where that is what failed."""
        return {"truncated": "length", "content_filter": "content_filter"}.get(self.code)

    @property
    def error(self) -> LlmError:
        """The failure as the asker hears of it."""
        return LlmError(code=self.code, message=self.message, retryable=self.retryable, final=self.code in FINAL)
