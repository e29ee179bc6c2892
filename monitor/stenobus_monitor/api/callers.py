"""Who asks, and what they may."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, HTTPException, Request, Security
from fastapi.security import HTTPAuthorizationCredentials

from stenobus_bus import Bus
from stenobus_core.http.door import API_KEY, BEARER, Refused, admit, presented

from ..store import Store
from .keys import Key, Keys, Scope


async def known(
    request: Request,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(BEARER)] = None,
    api_key: Annotated[str | None, Security(API_KEY)] = None,
) -> Key:
    """The key that was presented."""
    keys: Keys = request.app.state.keys

    def find() -> Key:
        key = keys.find(presented(f"Bearer {bearer.credentials}" if bearer else None, api_key))
        if key is None:
            raise Refused("unknown, revoked or expired API key")
        return key

    return admit(request, request.app.state.pace, find)


def may(scope: Scope) -> Callable[[Key], Awaitable[Key]]:
    """A key that opens something; others are refused with 403."""

    async def check(key: Annotated[Key, Depends(known)]) -> Key:
        if scope not in key.scopes:
            raise HTTPException(403, f"The key {key.name} has no right to {scope}.")
        return key

    return check


Reader = Annotated[Key, Depends(may("read"))]
Labeller = Annotated[Key, Depends(may("label"))]
Silencer = Annotated[Key, Depends(may("silence"))]
Approver = Annotated[Key, Depends(may("approve"))]


async def _bus(request: Request) -> Bus:
    bus: Bus = request.app.state.bus
    return bus


async def _store(request: Request) -> Store:
    store: Store = request.app.state.store
    return store


OnBus = Annotated[Bus, Depends(_bus)]
InStore = Annotated[Store, Depends(_store)]
