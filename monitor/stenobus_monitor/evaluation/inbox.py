"""Where the alerts of one case go: what a person would read."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from stenobus_contracts import MonitorAlert

from .loopback import Loopback


class Inbox(Loopback):
    """A webhook that keeps every alert, and refuses whatever is none."""

    def __init__(self) -> None:
        super().__init__()
        #: In their order.
        self.alerts: list[MonitorAlert] = []

    @property
    def channel(self) -> dict[str, str]:
        """The monitor's setting."""
        return {"name": "inbox", "kind": "webhook", "severity": "info", "url": f"{self.address}/alerts"}

    async def answer(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        """Keep an alert."""
        if (method, path) != ("POST", "/alerts"):
            return 404, {}
        try:
            self.alerts.append(MonitorAlert.model_validate_json(body))
        except ValidationError as error:
            return 422, {"detail": str(error)}
        return 200, {}
