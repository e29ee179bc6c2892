"""What a server's refusals mean."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import openai

from ...failures import Code, Failure, retry_after

_CONTEXT: Final = re.compile(
    r"context[ _]length|context window|maximum context|max_model_len|too many tokens|prompt is too long", re.IGNORECASE
)
_FILTER: Final = re.compile(r"content_filter|content_policy|content management policy", re.IGNORECASE)
#: What servers call an error whose status they do not say, as it is in the middle of a stream.
_STATUS: Final = (
    (re.compile(r"rate.?limit|quota|throttl|^(tokens|requests)$", re.IGNORECASE), 429),
    (re.compile(r"auth", re.IGNORECASE), 401),
    (re.compile(r"permission", re.IGNORECASE), 403),
    (re.compile(r"bad.?request|invalid|not.?found|context.?length|content", re.IGNORECASE), 400),
    (re.compile(r"timeout", re.IGNORECASE), 408),
)
_LONGEST: Final = 600


@dataclass(frozen=True, slots=True)
class Refusal:
    """A server's no: with a status, or in the middle of its answer."""

    status: int
    message: str
    #: The server's own name for it.
    name: str = ""
    headers: Mapping[str, str] | None = None

    @classmethod
    def status_of(cls, error: openai.APIStatusError) -> Refusal:
        """The no that is a status."""
        # The SDK's message has what JSON says, and nothing of other bodies.
        said = error.message if not isinstance(error.body, str) else f"{error.message} - {error.body[:_LONGEST]}"
        return cls(error.status_code, said, str(error.code or ""), error.response.headers)

    @classmethod
    def within_stream(cls, error: Any) -> Refusal:
        """The no that comes after a good status."""
        if not isinstance(error, dict):
            return cls(500, str(error))
        code, kind = str(error.get("code") or ""), str(error.get("type") or "")
        number = int(code[:4]) if code.isdecimal() else 0
        named = (status for name, status in _STATUS if name.search(code) or name.search(kind))
        status = number if 400 <= number <= 599 else next(named, 500)
        name = code or kind
        return cls(status, str(error.get("message") or name), name)


class Failures:
    """Says in one sentence what a target did, without its key should the server have repeated it."""

    def __init__(self, target: str, key: str | None) -> None:
        self._target, self._key = target, key

    def of(self, code: Code, what: str, **details: Any) -> Failure:
        """A failure of a class; ``what`` the target did."""
        sentence = f"The target {self._target} {' '.join(what.split())}"
        if self._key is not None:
            sentence = sentence.replace(self._key, "(key)")
        return Failure(code, sentence if len(sentence) <= _LONGEST else sentence[: _LONGEST - 1] + "…", **details)

    def refused(self, refusal: Refusal, **details: Any) -> Failure:
        """The failure that a refusal is."""
        status, message = refusal.status, refusal.message
        said = f"{refusal.name} {message}"
        if status in {400, 413, 422} and (status == 413 or _CONTEXT.search(said)):
            return self.of("context_too_long", f"refused the prompt as too long: {message}", **details)
        if status in {400, 403, 422} and _FILTER.search(said):
            return self.of("content_filter", f"filtered this request: {message}", **details)
        delay = retry_after(refusal.headers or {})
        if status == 429:
            spent = refusal.name == "insufficient_quota"
            verb = "has no quota left" if spent else "is throttling"
            return self.of("throttled", f"{verb}: {message}", delay=delay, retryable=not spent, **details)
        if status in {401, 403}:
            return self.of("auth", f"refused the API key: {message}", **details)
        if status in {408, 409, 425}:
            return self.of("transport", f"answered {status}: {message}", **details)
        if status >= 500:
            return self.of("overloaded", f"answered {status}: {message}", delay=delay, **details)
        return self.of("bad_request", f"refused the request with {status}: {message}", **details)
