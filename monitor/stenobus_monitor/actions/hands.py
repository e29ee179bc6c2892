"""The two things that are done to containers, through the executor's socket: whether they may be done, it says too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import httpx2

from ..errors import ActionFailed, ActionRefused, EngineUnavailable

_VERSION: Final = "v1.41"
#: Seconds beyond the container's own that one call may take.
_PATIENCE: Final = 45.0
#: Characters of a refusal that are kept.
_LONGEST: Final = 300
#: What refuses for good, for now, or for its state.
_REFUSALS: Final = frozenset({400, 403, 404, 409, 429})
#: The engine tried, and could not: trying again at once changes nothing.
_FAILED: Final = 500


class Hands:
    """Writes to an engine, or to the executor before it, and only so much.

    Args:
        socket: path of the executor's unix socket.
        approval: the token that somebody gave for an action, by its id; None where nobody did.
    """

    def __init__(self, socket: str, approval: Callable[[str], Awaitable[str | None]]) -> None:
        self.socket = socket
        self._approval = approval
        self._client = httpx2.AsyncClient(
            transport=httpx2.AsyncHTTPTransport(uds=socket), base_url=f"http://engine/{_VERSION}", trust_env=False
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def restart(self, container_id: str, action_id: str, grace: int) -> None:
        """Restart a container, or start one that has ended.

        Args:
            grace: seconds it gets to end by itself.

        Raises:
            ActionRefused: it must not be.
            ActionFailed: the engine could not.
            EngineUnavailable: nobody answers; it may have been restarted.
        """
        await self._post(f"/containers/{container_id}/restart", action_id, query={"t": str(grace)}, grace=grace)

    async def limit(self, container_id: str, action_id: str, limits: Mapping[str, int]) -> None:
        """Set ``Memory``, ``MemorySwap`` (bytes) and ``NanoCpus``, of which 0 leaves one as it is.

        Raises:
            ActionRefused: it must not be.
            ActionFailed: the engine could not.
            EngineUnavailable: nobody answers; they may have been set.
        """
        await self._post(f"/containers/{container_id}/update", action_id, body=dict(limits))

    async def _post(
        self,
        path: str,
        action_id: str,
        *,
        query: Mapping[str, str] | None = None,
        body: dict[str, int] | None = None,
        grace: float = 0.0,
    ) -> None:
        headers = {"X-Stenobus-Action": action_id}
        if (token := await self._approval(action_id)) is not None:
            headers["X-Stenobus-Approval"] = token
        try:
            answer = await self._client.post(
                path, params=dict(query or {}), json=body, headers=headers, timeout=grace + _PATIENCE
            )
        except (httpx2.HTTPError, OSError) as error:
            raise EngineUnavailable(
                f"The executor at {self.socket} does not answer ({type(error).__name__}); "
                "check STENOBUS_MONITOR_EXECUTOR."
            ) from error
        if answer.is_success:
            return
        said = f"The executor answers {answer.status_code}: {_message(answer)}"
        if answer.status_code in _REFUSALS:
            raise ActionRefused(said)
        if answer.status_code == _FAILED:
            raise ActionFailed(said)
        raise EngineUnavailable(said)


def _message(answer: httpx2.Response) -> str:
    try:
        told: Any = answer.json()["message"]
    except (ValueError, KeyError, TypeError):
        told = answer.text
    return " ".join(str(told).split())[:_LONGEST]
