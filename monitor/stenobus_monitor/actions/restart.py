"""Restart a container, wait until it is well, and then restart those that are cut off by it, in their order.

A container that the engine's restart policy is bringing back by itself is not restarted: that it comes back is
verified.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import ClassVar, Final

from pydantic import BaseModel, JsonValue

from stenobus_bus import Bus
from stenobus_contracts import Action
from stenobus_core.service import alive

from ..containers import ENDING, Container
from ..engine import Engine
from ..errors import ActionFailed, ActionRefused, NoSuchContainer
from ..graph import Graph
from . import Outlook
from .hands import Hands
from .protected import protected

#: Seconds a container may take to become well, and for which one without a health check has to run.
_WELL, _STEADY = 120.0, 2.0
#: Seconds between two looks, and for which services may answer.
_LOOK, _ALIVE = 0.1, 1.0
#: Seconds after which a restart that began has ended the container, beyond those in which it may end by itself.
_UNDER_WAY: Final = 15.0
_SIGKILLED: Final = 137
#: Kinds of incidents in which the container has ended.
_ENDED: Final = frozenset({"container.crashed", "container.exited", "container.crash_loop"})
#: Policies by which the engine brings back whatever nobody stopped.
_KEPT: Final = frozenset({"always", "unless-stopped"})


class Link(BaseModel):
    """One container as it was before."""

    name: str
    id: str
    started: datetime | None
    #: False where the engine brings it back by itself.
    restart: bool = True


class Before(BaseModel):
    """How things were: the containers in the order in which they are restarted."""

    at: datetime
    chain: tuple[Link, ...]


class Restart:
    """The remedy. Its parameter ``because`` is the kind of the incident.

    Args:
        hands: None where nothing may be done to containers: then it can only look.
    """

    kind: ClassVar[str] = "restart"
    undoable: ClassVar[bool] = False

    def __init__(self, engine: Engine, hands: Hands | None, graph: Graph, bus: Bus) -> None:
        self._engine, self._hands, self._graph, self._bus = engine, hands, graph, bus

    async def look(self, action: Action) -> Outlook:
        """Looks at the container, at who ended it, and at those that share its fate."""
        now, because = datetime.now(UTC), action.parameters.get("because")
        try:
            container = await self._engine.inspect(action.target)
        except NoSuchContainer:
            return Outlook(f"would restart {action.target}", (f"there is no container {action.target}",))
        ended = because in _ENDED
        obstacles = await (self._end(container, now) if ended else self._trouble(container, because))
        comes_back = ended and container.status in {"running", "restarting"}
        others, spared = await self._cut_off(container)
        target = Link(name=container.name, id=container.id, started=container.started, restart=not comes_back)
        chain = (target, *(Link(name=each.name, id=each.id, started=each.started) for each in others))
        return Outlook(
            dry_run=_dry_run(container.name, comes_back, [each.name for each in others], spared),
            obstacles=tuple(obstacles),
            before=Before(at=now, chain=chain).model_dump(mode="json"),
            restarts=tuple(link.name for link in chain if link.restart),
        )

    async def act(self, action: Action, before: JsonValue) -> str:
        """Parents first; each is well before the next is touched."""
        known = Before.model_validate(before)
        for place, link in enumerate(known.chain):
            if place:
                await self.well(known.chain[place - 1])
            await self.bring_back(link, action.action_id, known.at)
        done = [link.name for link in known.chain if link.restart]
        return f"restarted {', then '.join(done)}" if done else "nothing was done: the engine restarts it by itself"

    async def verify(self, action: Action, before: JsonValue) -> str:
        """All are well, and a plugin that did not answer does."""
        known = Before.model_validate(before)
        said = [await self.well(link) for link in known.chain]
        if action.parameters.get("because") == "container.hung":
            await self._speaks(known.chain[0])
            said.append("it answers on the bus")
        return "; ".join(said)

    async def undo(self, action: Action, before: JsonValue) -> str:
        """A restart cannot be taken back."""
        raise ActionFailed("A restart cannot be taken back.")

    async def bring_back(self, link: Link, action_id: str, since: datetime) -> None:
        """Restart one container, unless that was done or begun since a time.

        Raises:
            ActionRefused: it must not be.
            ActionFailed: the engine could not.
            EngineUnavailable: the engine or the executor does not answer.
        """
        container = await self._same(link)
        if not link.restart or container.started != link.started:
            return
        if await self._told_to_end(container, since):
            # Ours, from before a crash, or somebody else's stop: only the one comes back.
            if not await self._comes_back(link, container.grace):
                raise ActionRefused(f"Somebody ended {link.name} in the meantime.")
            return
        if self._hands is None:
            raise ActionRefused("There is no executor; STENOBUS_MONITOR_EXECUTOR names its socket.")
        await self._hands.restart(container.id, action_id, container.grace)

    async def well(self, link: Link) -> str:
        """Wait until a container is well in its new life. Returns what proves it. Raises ActionFailed."""
        container = await self._same(link)
        try:
            async with asyncio.timeout(_WELL):
                while not _is_well(container, link):
                    again = container.started != link.started or not link.restart
                    if again and container.status in {"exited", "dead"} and container.restart_policy not in _KEPT:
                        raise ActionFailed(f"{link.name} ended again, with exit code {container.exit_code}.")
                    await asyncio.sleep(_LOOK)
                    container = await self._same(link)
        except TimeoutError:
            state = " and ".join(word for word in (container.status, container.health) if word)
            raise ActionFailed(f"{link.name} is {state} after {_WELL:.0f} s.") from None
        return f"{link.name} is {container.health or 'up'} since {container.started:%H:%M:%S}"

    # --- what speaks against it --------------------------------------------------------------------------------------

    async def _end(self, container: Container, now: datetime) -> list[str]:
        """Of one that ended. One that runs is back already, and nothing is done to it."""
        found = _standing(container) if container.status != "running" else []
        if container.status == "exited":
            if container.is_job:
                found.append("it is meant to end")
            if container.oom_killed and container.exit_code == _SIGKILLED:
                found.append("it was killed for want of memory, and would be again")
            # The engine brings back what has such a policy, unless somebody stopped it.
            began = container.started or now
            if container.restart_policy in _KEPT or await self._told_to_end(container, began):
                found.append("somebody stopped it")
        return found

    async def _trouble(self, container: Container, because: JsonValue) -> list[str]:
        """Of one that runs and is no use."""
        found = _standing(container)
        if container.status != "running":
            found.append(f"it is {container.status}")
        elif because == "container.unhealthy" and container.health != "unhealthy":
            found.append(f"its health check says {container.health or 'nothing'}")
        elif because == "container.hung" and not await self._silent(container):
            found.append("its plugin answers on the bus")
        elif because not in {"container.unhealthy", "container.hung"}:
            found.append(f"a restart does not help against {because}")
        return found

    async def _cut_off(self, target: Container) -> tuple[list[Container], list[str]]:
        """Those that live in its network, or ask to be restarted with it, in their order; and who is spared."""
        affected, found, spared = {target.name: target}, [], []
        for component in self._graph.dependants(f"container:{target.name}"):
            name = component.partition(":")[2]
            try:
                container = await self._engine.inspect(name)
            except NoSuchContainer:
                continue
            owners = {word for each in affected.values() for word in (each.id, each.name)}
            services = {each.service for each in affected.values() if each.project == container.project}
            if container.network_of not in owners and not services & set(container.restarts_with):
                continue
            if container.status != "running":
                continue  # whoever ended it knew why
            if protected(container):
                spared.append(name)
                continue
            affected[name] = container
            found.append(container)
        return found, spared

    # --- looking -----------------------------------------------------------------------------------------------------

    async def _same(self, link: Link) -> Container:
        """The container as it is now. Raises ActionFailed, EngineUnavailable."""
        try:
            return await self._engine.inspect(link.id)
        except NoSuchContainer:
            raise ActionFailed(f"{link.name} was removed.") from None

    async def _told_to_end(self, container: Container, since: datetime) -> bool:
        """Whether somebody sent it a signal that ends, through the engine."""
        events = await self._engine.history(container.id, ["kill"], since.timestamp(), datetime.now(UTC).timestamp())
        return any(str(event["Actor"]["Attributes"].get("signal", "")) in ENDING | {""} for event in events)

    async def _comes_back(self, link: Link, grace: int) -> bool:
        try:
            async with asyncio.timeout(grace + _UNDER_WAY):
                while (await self._same(link)).started == link.started:
                    await asyncio.sleep(_LOOK)
        except TimeoutError:
            return False
        return True

    async def _silent(self, container: Container) -> bool:
        """Whether a plugin in it does not answer the service protocol."""
        speaking = {service.plugin for service in await alive(self._bus, _ALIVE)}
        return not speaking.issuperset(container.plugins)

    async def _speaks(self, link: Link) -> None:
        try:
            async with asyncio.timeout(_WELL):
                while await self._silent(await self._same(link)):
                    pass  # asking takes its time
        except TimeoutError:
            raise ActionFailed(f"{link.name} runs and does not answer on the bus.") from None


def _standing(container: Container) -> list[str]:
    """States in which nothing is ever done to a container."""
    if container.status in {"paused", "created"}:
        return [f"somebody left it {container.status}"]
    if container.status in {"removing", "dead"}:
        return [f"it is {container.status}"]
    if container.status == "running" and container.health == "starting":
        return ["it is starting: its health is not known yet"]
    return []


def _is_well(container: Container, link: Link) -> bool:
    if container.status != "running" or container.started is None:
        return False
    if link.restart and container.started == link.started:
        return False
    steady = (datetime.now(UTC) - container.started).total_seconds() >= _STEADY
    return container.health == "healthy" or (not container.health and steady)


def _dry_run(name: str, comes_back: bool, others: list[str], spared: list[str]) -> str:
    first = (
        f"would wait until the engine has brought back {name} by itself"
        if comes_back
        else f"would restart the container {name} and wait until it is well"
    )
    rest = "".join(f", then restart {other}" for other in others)
    left = f"; {', '.join(spared)} would need an approval of its own and would be left alone" if spared else ""
    return f"{first}{rest}{left}"
