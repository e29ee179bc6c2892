"""The HTTP API of the monitor."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client.exposition import choose_encoder

from stenobus_bus import BusError
from stenobus_core.http.figures import Figures
from stenobus_core.http.guard import Guard, problems, unavailable
from stenobus_core.http.keys import KeysUnusable
from stenobus_core.http.pace import Pace
from stenobus_core.session import connect
from stenobus_core.settings import CoreSettings

from ..actions.approvals import Approvals
from ..store import Store
from . import actions, incidents, quiet
from .callers import Reader
from .keys import Keys


def create(core: CoreSettings, keys: Keys, approvals: Approvals) -> FastAPI:
    """The application.

    Args:
        core: says where the bus is.
        keys: who may ask for what.
        approvals: signs for keys that may approve, where the key of approvals is here.
    """

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as resources:
            session = await resources.enter_async_context(connect(core, name="stenobus monitor api"))
            app.state.bus, app.state.store = session.bus, await Store.open(session.bus)
            yield

    app = FastAPI(
        title="Stenobus monitor",
        version="1",
        description="What is wrong, why, what is done about it, and what people say of that.",
        lifespan=life,
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
    )
    figures = Figures("stenobus_monitor_api")
    app.state.keys, app.state.approvals, app.state.pace, app.state.figures = keys, approvals, Pace(), figures
    for router in (incidents.router, quiet.router, actions.router):
        app.include_router(router)
    app.add_api_route("/healthz", _alive, include_in_schema=False)
    app.add_api_route("/metrics", _metrics, include_in_schema=False)
    app.add_middleware(Guard, figures=figures, name="monitor.api")
    problems(app)

    @app.exception_handler(BusError)
    @app.exception_handler(KeysUnusable)
    async def _(request: Request, error: Exception) -> JSONResponse:
        structlog.get_logger("monitor.api").error("trouble", error=str(error), request_id=request.state.request_id)
        return unavailable(request, "The bus or the keys do not answer now; the log of the server says why.", 5)

    return app


async def _alive() -> Response:
    return Response("alive\n", media_type="text/plain")


async def _metrics(request: Request, _: Reader) -> Response:
    encode, kind = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(request.app.state.figures.registry), media_type=kind)
