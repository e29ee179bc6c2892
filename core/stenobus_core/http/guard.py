"""What holds for every request: an id, a size, a log line, figures, and errors of one shape."""

from __future__ import annotations

import re
import time
import uuid
from http import HTTPStatus
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .figures import Figures

#: Bytes of a request's body.
LONGEST_BODY: Final = 64 * 1024
_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")

#: Nothing of ours is a page with scripts, belongs into a frame or a cache, or says where somebody came from.
_HEADERS: Final = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"),
)


class Problem(BaseModel):
    """What is wrong with a request (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    request_id: str


class Guard:
    """ASGI middleware around the whole application.

    Args:
        name: of its log.
    """

    def __init__(self, app: ASGIApp, figures: Figures, name: str) -> None:
        self._app, self._figures, self._log = app, figures, structlog.get_logger(name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, with an id that whoever asked may have chosen."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, begun, status, size = time.perf_counter(), False, 500, 0
        state: dict[str, Any] = scope.setdefault("state", {})
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"").decode("latin-1")
        state["request_id"] = given if _ID.fullmatch(given) else uuid.uuid4().hex

        async def limited() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > LONGEST_BODY:
                raise HTTPException(413, f"The body is longer than {LONGEST_BODY} bytes.")
            return message

        async def marked(message: Message) -> None:
            nonlocal begun, status
            if message["type"] == "http.response.start":
                begun, status = True, message["status"]
                message["headers"] = [
                    *message["headers"],
                    (b"x-request-id", state["request_id"].encode()),
                    *_HEADERS,
                ]
            await send(message)

        with self._figures.working.track_inprogress():
            try:
                await self._app(scope, limited, marked)
            except Exception as error:
                self._log.error("failed", request_id=state["request_id"], exc_info=error)
                if begun:
                    raise  # whoever reads the answer has to see that it breaks off
                detail = "Something went wrong; the server's log knows more by the request's id."
                await _problem(Request(scope), 500, detail)(scope, receive, marked)
            finally:
                self._tell(scope, state, status, time.perf_counter() - start)

    def _tell(self, scope: Scope, state: dict[str, Any], status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "none")
        self._figures.requests.labels(route, status).inc()
        self._figures.seconds.labels(route).observe(seconds)
        if route in {"/healthz", "/readyz", "/metrics"} and status < 400:
            return
        self._log.info(
            "request",
            method=scope["method"],
            route=route,
            status=status,
            milliseconds=round(seconds * 1000, 1),
            caller=state.get("caller"),
            refused=state.get("refused"),
            request_id=state["request_id"],
        )


def problems(app: FastAPI) -> None:
    """Answer every error in the shape of RFC 9457, without the text that caused it."""

    @app.exception_handler(HTTPException)
    async def _(request: Request, error: HTTPException) -> JSONResponse:
        return _problem(request, error.status_code, str(error.detail), getattr(error, "headers", None))

    @app.exception_handler(RequestValidationError)
    async def _(request: Request, error: RequestValidationError) -> JSONResponse:
        found = error.errors()[0]
        where = ".".join(str(part) for part in found["loc"] if part not in {"body", "query"})
        return _problem(request, 422, f"{where}: {found['msg']}." if where else f"{found['msg']}.")


def unavailable(request: Request, detail: str, seconds: int) -> JSONResponse:
    """It may work later."""
    return _problem(request, 503, detail, {"Retry-After": str(seconds)})


def _problem(request: Request, status: int, detail: str, headers: Any = None) -> JSONResponse:
    problem = Problem(
        title=HTTPStatus(status).phrase, status=status, detail=detail, request_id=request.state.request_id
    )
    return JSONResponse(
        problem.model_dump(), status, headers=dict(headers or {}), media_type="application/problem+json"
    )
