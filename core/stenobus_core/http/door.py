"""Who asks: what was presented, and whether its holder comes too often."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol, TypeVar

from fastapi import HTTPException, Request
from fastapi.security import APIKeyHeader, HTTPBearer

from .guard import Problem
from .pace import Pace

BEARER: Final = HTTPBearer(auto_error=False, description="an API key, or another token that the API takes")
API_KEY: Final = APIKeyHeader(name="X-API-Key", auto_error=False)
#: What every route that asks who it is may answer.
REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    401: {"model": Problem, "description": "No valid API key or token"},
    403: {"model": Problem, "description": "The caller has no right to it"},
    422: {"model": Problem, "description": "A parameter is missing or wrong"},
    429: {"model": Problem, "description": "Too many requests; Retry-After says when to come back"},
    503: {"model": Problem, "description": "What it takes does not answer now"},
}


class Refused(Exception):
    """Nobody known asks; the reason is for the log, not for whoever asked."""


class Holder(Protocol):
    """Somebody who may ask."""

    @property
    def name(self) -> str:
        """For logs and limits."""
        ...

    @property
    def per_minute(self) -> int:
        """Requests a minute."""
        ...


H = TypeVar("H", bound=Holder)


def presented(authorization: str | None, api_key: str | None) -> str:
    """The key or token of ``X-API-Key`` or ``Authorization: Bearer …``. Raises Refused when there is none."""
    scheme, _, bearer = (authorization or "").partition(" ")
    found = api_key or (bearer.strip() if scheme.lower() == "bearer" else "")
    if not found:
        raise Refused("no credentials")
    return found


def admit(request: Request, pace: Pace, find: Callable[[], H]) -> H:
    """The caller, if it is a known one that does not come too often.

    Raises:
        HTTPException: 401, 429.
    """
    try:
        holder = find()
    except Refused as error:
        request.state.refused = str(error)
        raise HTTPException(
            401, "Send a valid API key or token as `Authorization: Bearer …`.", {"WWW-Authenticate": "Bearer"}
        ) from None
    request.state.caller = holder.name
    slow_down(pace, holder.name, holder.per_minute)
    return holder


def slow_down(pace: Pace, who: str, per_minute: int) -> None:
    """Raises HTTPException, 429, for whoever comes too often."""
    if wait := pace.take(who, per_minute):
        detail = f"{per_minute} requests a minute are allowed; come back in {wait:.1f} s."
        raise HTTPException(429, detail, {"Retry-After": str(max(1, round(wait)))})
