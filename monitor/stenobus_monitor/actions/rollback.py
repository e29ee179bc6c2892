"""Suggest to go back to the image that a container had before its trouble began. People do it: no code here can."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar, Final, NoReturn

from pydantic import JsonValue

from stenobus_contracts import Action

from ..errors import ActionFailed
from ..rules.images import Images
from ..store import Store
from . import Outlook

#: A new image explains trouble that began at most this long after it.
_NEAR: Final = timedelta(days=1)
#: Other changes that are named.
_NAMED: Final = 8


class Rollback:
    """Never acts, whatever level somebody gives it: an image that is put back also takes back what came with it."""

    kind: ClassVar[str] = "rollback"
    undoable: ClassVar[bool] = False

    def __init__(self, store: Store) -> None:
        self._store = store

    async def look(self, action: Action) -> Outlook:
        """The digests before and now, and what else changed, where the trouble began with the new image."""
        name = action.target[:200]
        images = Images()
        images.restore(await self._store.get(f"rule.{Images.name}"))
        known = images.known.get(name, [])
        if len(known) < 2:
            return Outlook(f"suggests nothing for {name}", (f"no earlier image of {name} is known",))
        before, now = known[-2], known[-1]
        obstacles = []
        incident = await self._store.incident(action.incident_id)
        if incident is None:
            obstacles.append("the incident is not known")
        elif incident.incident.started_at < now.since:
            obstacles.append("the trouble began before the image changed")
        elif incident.incident.started_at - now.since > _NEAR:
            obstacles.append(f"the image changed long before the trouble, at {now.since:%Y-%m-%d %H:%M} UTC")
        text = f"suggests to make {name} from {before.image} ({before.digest}) again, as it was until "
        text += f"{now.since:%Y-%m-%d %H:%M:%S} UTC; now it is {now.image} ({now.digest})"
        if changes := now.changes(before):
            text += f"; changed with it: {'; '.join(changes[:_NAMED])}"
        return Outlook(text, tuple(obstacles), {"before": before.digest, "now": now.digest})

    async def act(self, action: Action, before: JsonValue) -> str:
        """Refused."""
        _refuse()

    async def verify(self, action: Action, before: JsonValue) -> str:
        """There is nothing to verify."""
        _refuse()

    async def undo(self, action: Action, before: JsonValue) -> str:
        """There is nothing to take back."""
        _refuse()


def _refuse() -> NoReturn:
    raise ActionFailed("A rollback is only suggested; people carry it out.")
