"""An agent that is prepared anew once its knowledge base has changed."""

from __future__ import annotations

import asyncio
from typing import Any

from stenobus_core import RetryableError

from ...aws import explained


async def prepare(client: Any, agent: str, *, poll: float, patience: float) -> None:
    """Prepare an agent's draft, and wait until it is.

    Args:
        client: for ``bedrock-agent``.
        poll: seconds between two looks.
        patience: seconds it may take.

    Raises:
        PermanentError: there is no such agent, or it may not be prepared.
        RetryableError: it failed, or takes too long.
    """
    what, rights = f"Agent {agent}", "bedrock:PrepareAgent and bedrock:GetAgent"
    missing = "it does not exist: correct STENOBUS_KB_BEDROCK_AGENT_ID or AWS_REGION"

    def start() -> str:
        with explained(what, missing, rights):
            return str(client.prepare_agent(agentId=agent)["agentStatus"])

    def look() -> Any:
        with explained(what, missing, rights):
            return client.get_agent(agentId=agent)["agent"]

    status = await asyncio.to_thread(start)
    waited = 0.0
    while status != "PREPARED":
        found = await asyncio.to_thread(look)
        status = found["agentStatus"]
        if status == "FAILED":
            reasons = "; ".join(found.get("failureReasons", ())) or "it gives no reason"
            raise RetryableError(f"{what} cannot be prepared: {reasons}.")
        if status != "PREPARED":
            if waited >= patience:
                raise RetryableError(f"{what} is still {status} after {waited:.0f} s.")
            waited += poll
            await asyncio.sleep(poll)
