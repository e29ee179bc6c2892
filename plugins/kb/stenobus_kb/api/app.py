"""The HTTP API over the index: search, collections, documents."""

from __future__ import annotations

import base64
import binascii
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from functools import partial
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request, Response, Security
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials
from prometheus_client.exposition import choose_encoder

from stenobus_core.http.door import API_KEY, BEARER, REFUSALS, admit
from stenobus_core.http.figures import Figures
from stenobus_core.http.guard import Guard, Problem, problems, unavailable
from stenobus_core.http.keys import KeysUnusable
from stenobus_core.http.pace import Pace

from .. import catalogue
from ..errors import KbError
from ..filters import Filter, field_of
from ..search import Hit
from ..search import Query as IndexQuery
from .callers import Caller, Door
from .reading import Busy, Reading
from .shapes import (
    LONGEST_QUERY,
    MOST_NAMES,
    Collections,
    Documents,
    DocumentText,
    Result,
    Results,
    Search,
)

router = APIRouter(prefix="/v1", responses=REFUSALS)


def create(reading: Reading, door: Door | None) -> FastAPI:
    """The application.

    Args:
        reading: the index.
        door: who may ask; None lets everybody see everything.
    """

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        yield
        reading.close()

    app = FastAPI(
        title="Stenobus knowledge base",
        version="1",
        description="Passages of documents and recordings, with the second at which they were said.",
        lifespan=life,
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
    )
    figures = Figures("stenobus_kb")
    app.state.reading, app.state.door, app.state.pace, app.state.figures = reading, door, Pace(), figures
    app.include_router(router)
    app.add_api_route("/healthz", _alive, include_in_schema=False)
    app.add_api_route("/readyz", _ready, include_in_schema=False)
    app.add_api_route("/metrics", _metrics, include_in_schema=False)
    app.add_middleware(Guard, figures=figures, name="kb.api")
    problems(app)
    _troubles(app)
    return app


def _troubles(app: FastAPI) -> None:
    """What may pass."""

    @app.exception_handler(Busy)
    async def _(request: Request, _: Busy) -> JSONResponse:
        return unavailable(request, "Too many searches at once; try again.", 1)

    @app.exception_handler(KbError)
    @app.exception_handler(KeysUnusable)
    async def _(request: Request, error: Exception) -> JSONResponse:
        structlog.get_logger("kb.api").error("index", error=str(error), request_id=request.state.request_id)
        return unavailable(request, "The index cannot be searched now; the log of the server says why.", 5)


# --- who asks --------------------------------------------------------------------------------------------------------


async def known(
    request: Request,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(BEARER)] = None,
    api_key: Annotated[str | None, Security(API_KEY)] = None,
) -> Caller:
    """The caller, if it is a known one that does not come too often."""
    door: Door | None = request.app.state.door
    if door is None:
        return Caller("everybody")
    return admit(
        request,
        request.app.state.pace,
        lambda: door.caller(f"Bearer {bearer.credentials}" if bearer else None, api_key),
    )


Known = Annotated[Caller, Depends(known)]
Names = Annotated[list[str] | None, Query(max_length=MOST_NAMES)]


def visible(caller: Caller, collections: Sequence[str] | None, principals: Sequence[str] | None = None) -> Filter:
    """What of the index a caller may see of what it asks for.

    Raises:
        HTTPException: 403, for collections and principals that it has no right to.
    """
    if collections and caller.collections is not None:
        _only(collections, caller.collections, "the collection")
    if principals is not None and caller.principals is not None:
        _only(principals, caller.principals, "the principal")
    return Filter(
        tuple(collections) if collections else caller.collections,
        caller.principals if principals is None else tuple(principals),
    )


def _only(wanted: Sequence[str], allowed: Sequence[str], what: str) -> None:
    if beyond := sorted(set(wanted) - set(allowed)):
        raise HTTPException(403, f"You have no right to {what} {beyond[0]}.")


# --- what is asked ---------------------------------------------------------------------------------------------------


@router.get("/search")
async def search_by_address(
    request: Request,
    caller: Known,
    q: Annotated[str, Query(min_length=1, max_length=LONGEST_QUERY, description='`"quoted words"` are a phrase')],
    collection: Names = None,
    source: Names = None,
    where: Annotated[list[str] | None, Query(max_length=MOST_NAMES, description="KEY=VALUE of the metadata")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 10,
    offset: Annotated[int, Query(ge=0, le=900)] = 0,
) -> Results:
    """Find passages; lists are given by repeating a parameter."""
    try:
        metadata = dict(map(field_of, where or ()))
    except ValueError as error:
        raise HTTPException(422, f"where: {error}") from error
    wanted = Search(query=q, collections=collection, sources=source, metadata=metadata, limit=limit, offset=offset)
    return await search(request, caller, wanted)


@router.post("/search")
async def search(request: Request, caller: Known, wanted: Search) -> Results:
    """Find passages."""
    allowed = visible(caller, wanted.collections, wanted.principals)
    query = IndexQuery(
        wanted.query,
        collections=allowed.collections,
        principals=allowed.principals,
        metadata=wanted.metadata,
        sources=tuple(wanted.sources) if wanted.sources else None,
        limit=wanted.limit,
        offset=wanted.offset,
    )
    begun = time.perf_counter()
    page = await _reading(request).search(query)
    return Results(
        query=wanted.query,
        results=[_result(hit) for hit in page.hits],
        next_offset=wanted.offset + wanted.limit if page.more else None,
        milliseconds=round((time.perf_counter() - begun) * 1000, 2),
    )


@router.get("/collections")
async def collections(request: Request, caller: Known) -> Collections:
    """What there is to search."""
    reading = _reading(request)
    found = await reading.run(catalogue.collections, reading.path, visible(caller, None))
    return Collections.model_validate({"collections": [asdict(each) for each in found]})


@router.get("/documents")
async def documents(
    request: Request,
    caller: Known,
    collection: Names = None,
    source: Names = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    after: Annotated[str | None, Query(max_length=2_000, description="`next` of the page before")] = None,
) -> Documents:
    """List documents, without their text."""
    allowed = replace(visible(caller, collection), sources=tuple(source) if source else None)
    reading = _reading(request)
    start = _place(after) if after else ("", "")
    found = await reading.run(catalogue.documents, reading.path, allowed, start, limit + 1)
    shown = found[:limit]
    following = _mark(shown[-1].collection, shown[-1].id) if len(found) > limit else None
    return Documents.model_validate({"documents": [asdict(each) for each in shown], "next": following})


@router.get("/documents/{collection}/{document:path}", responses={404: {"model": Problem}})
async def document(request: Request, caller: Known, collection: str, document: str) -> DocumentText:
    """One document and its text."""
    reading = _reading(request)
    find = partial(catalogue.document, reading.path, visible(caller, None))
    found = await reading.run(find, collection, document)
    if found is None:
        raise HTTPException(404, f"There is no document {document} in {collection}, or none that you may see.")
    about, passages = found
    return DocumentText.model_validate(asdict(about) | {"passages": [asdict(each) for each in passages]})


async def _alive() -> Response:
    return Response("alive\n", media_type="text/plain")


async def _ready(request: Request) -> dict[str, Any]:
    reading = _reading(request)
    found = await reading.run(catalogue.collections, reading.path, Filter())
    return {"ready": True, "collections": len(found)}


async def _metrics(request: Request, _: Known) -> Response:
    encode, kind = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(request.app.state.figures.registry), media_type=kind)


# --- how it is told --------------------------------------------------------------------------------------------------


def _reading(request: Request) -> Reading:
    reading: Reading = request.app.state.reading
    return reading


def _result(hit: Hit) -> Result:
    return Result.model_validate(asdict(hit) | {"link": hit.link})


def _mark(collection: str, document: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([collection, document]).encode()).decode()


def _place(after: str) -> tuple[str, str]:
    try:
        match json.loads(base64.urlsafe_b64decode(after)):
            case [str(collection), str(document)]:
                return collection, document
    except (binascii.Error, ValueError):
        pass
    raise HTTPException(422, "after: take it from `next` of the page before.")
