"""What the executor does and says: the two things that are done to containers, whether they may be, and whether an
approval holds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import httpx2

from stenobus_contracts import Action
from stenobus_executor.approval import TOKEN, ApprovalRefused

from ..errors import ActionFailed, ActionRefused, EngineUnavailable
from .approvals import name, target

_VERSION: Final = "v1.41"
#: Seconds beyond the container's own that one call may take.
_PATIENCE: Final = 45.0
#: Characters of a refusal that are kept.
_LONGEST: Final = 300
#: What refuses for good, for now, or for its state.
_REFUSALS: Final = frozenset({400, 403, 404, 409, 429})
#: Seconds for a question that takes no engine, and what answers it for good.
_ANSWER: Final = 10.0
_DISAPPROVALS: Final = frozenset({400, 403})
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
        """Restart a container, or start one that has ended: for that nothing is waited.

        Args:
            grace: seconds in which it may end by its own word, by which the executor goes as well.

        Raises:
            ActionRefused: it must not be.
            ActionFailed: the engine could not.
            EngineUnavailable: nobody answers; it may have been restarted.
        """
        await self._post(f"/containers/{container_id}/restart", action_id, grace=grace)

    async def limit(self, container_id: str, action_id: str, limits: Mapping[str, int]) -> None:
        """Set ``Memory``, ``MemorySwap`` (bytes) and ``NanoCpus``, of which 0 leaves one as it is.

        Raises:
            ActionRefused: it must not be.
            ActionFailed: the engine could not.
            EngineUnavailable: nobody answers; they may have been set.
        """
        await self._post(f"/containers/{container_id}/update", action_id, body=dict(limits))

    async def trouble(self) -> str | None:
        """Why nothing can be approved, None when it can."""
        try:
            answer = await self._asked(self._client.build_request("GET", "/approvals", timeout=_ANSWER))
        except EngineUnavailable as error:
            return f"nothing can be approved now: {error}"
        if answer.is_success:
            return None if answer.json()["possible"] else "nothing can be approved: the executor has no key"
        return f"nothing can be approved now: the executor answers {answer.status_code}: {_message(answer)}"

    async def check(self, action: Action, token: str, *, undo: bool = False) -> None:
        """Ask whether an approval of an action, or of taking it back, holds. It is not used up.

        Raises:
            ApprovalRefused: it does not hold.
            EngineUnavailable: nobody says so now.
        """
        if not TOKEN.fullmatch(token):
            raise ApprovalRefused("That is no approval.")  # and may be no header either
        headers = {"X-Stenobus-Action": name(action.action_id, undo), "X-Stenobus-Approval": token}
        query = {"kind": action.kind, "target": target(action)}
        request = self._client.build_request("GET", "/approvals/check", params=query, headers=headers, timeout=_ANSWER)
        answer = await self._asked(request)
        if answer.status_code in _DISAPPROVALS:
            raise ApprovalRefused(_message(answer))
        if not answer.is_success:
            raise EngineUnavailable(f"The executor answers {answer.status_code}: {_message(answer)}")

    async def _post(
        self,
        path: str,
        action_id: str,
        *,
        body: dict[str, int] | None = None,
        grace: float = 0.0,
    ) -> None:
        headers = {"X-Stenobus-Action": action_id}
        if (token := await self._approval(action_id)) is not None:
            headers["X-Stenobus-Approval"] = token
        timeout = grace + _PATIENCE
        request = self._client.build_request("POST", path, json=body, headers=headers, timeout=timeout)
        answer = await self._asked(request)
        if answer.is_success:
            return
        said = f"The executor answers {answer.status_code}: {_message(answer)}"
        if answer.status_code in _REFUSALS:
            raise ActionRefused(said)
        if answer.status_code == _FAILED:
            raise ActionFailed(said)
        raise EngineUnavailable(said)

    async def _asked(self, request: httpx2.Request) -> httpx2.Response:
        try:
            return await self._client.send(request)
        except (httpx2.HTTPError, OSError) as error:
            raise EngineUnavailable(
                f"The executor at {self.socket} does not answer ({type(error).__name__}); "
                "check STENOBUS_MONITOR_EXECUTOR."
            ) from error


def _message(answer: httpx2.Response) -> str:
    try:
        told: Any = answer.json()["message"]
    except (ValueError, KeyError, TypeError):
        told = answer.text
    return " ".join(str(told).split())[:_LONGEST]
