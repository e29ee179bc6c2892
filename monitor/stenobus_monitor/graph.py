"""Who depends on whom: from Compose labels, shared networks, and what handlers listen to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from stenobus_bus.topology import domain_stream, handler_of

from .containers import Container

#: The bus, which every plugin needs.
NATS = "nats"


@dataclass(frozen=True, slots=True)
class Flow:
    """What a handler of a plugin listens to, publishes, and asks of others: subjects."""

    plugin: str
    hears: frozenset[str] = frozenset()
    says: frozenset[str] = frozenset()
    asks: frozenset[str] = frozenset()


@dataclass(slots=True)
class Graph:
    """Components and what each of them needs. A component is ``container:NAME``, ``handler:NAME``, ``stream:NAME`` …"""

    _containers: dict[str, Container] = field(default_factory=dict)
    _handlers: dict[str, Flow] = field(default_factory=dict)
    #: Handlers that a run passes between subjects that follow each other.
    _ways: set[str] = field(default_factory=set)

    def see(self, container: Container) -> None:
        """Learn a container, or what it is now."""
        self._containers[container.name] = container

    def forget(self, name: str) -> None:
        """A container was removed."""
        self._containers.pop(name, None)

    def handler(self, handler: str, plugin: str, hears: Iterable[str] = ()) -> None:
        """Learn which plugin a handler belongs to and what it listens to; what it declares is known better."""
        self._handlers.setdefault(handler, Flow(plugin, frozenset(hears)))

    def declare(self, handler: str, flow: Flow) -> None:
        """Learn what a handler says of itself."""
        self._handlers[handler] = flow

    def follows(self, first: str, second: str) -> None:
        """Learn that one subject has to follow another: what lies between them by the declarations, every run needs."""
        after, before = self._reach({first}, forward=True), self._reach({second}, forward=False)
        self._ways |= after & before

    def needs(self, component: str) -> set[str]:
        """Everything that a component needs, directly or through others; never itself."""
        found: set[str] = set()
        ahead = [component]
        while ahead:
            for need in self._direct(ahead.pop()):
                if need not in found and need != component:
                    found.add(need)
                    ahead.append(need)
        return found

    def flow(self, handler: str) -> Flow:
        """What a handler listens to and says; nothing of one that is not known."""
        return self._handlers.get(handler, Flow(""))

    def dependants(self, component: str) -> list[str]:
        """Containers that need a component, those that need nothing else of them first."""
        names = [f"container:{name}" for name in self._containers]
        found = [name for name in names if component in self.needs(name)]
        return sorted(found, key=lambda name: (len(self.needs(name) & set(found)), name))

    def host_of(self, component: str) -> str | None:
        """The container that a handler or plugin runs in, as a component; None when no label says so."""
        kind, _, name = component.partition(":")
        plugin = self._plugin(name) if kind == "handler" else name
        hosts = [each for each in self._containers.values() if plugin in each.plugins]
        return f"container:{hosts[0].name}" if hosts and kind in {"handler", "plugin"} else None

    def consumers(self, plugins: Iterable[str]) -> list[tuple[str, str]]:
        """Stream and name of each handler of some plugins."""
        wanted = set(plugins)
        return sorted(
            (domain_stream(subject), name)
            for name, flow in self._handlers.items()
            if flow.plugin in wanted
            for subject in sorted(flow.hears)[:1]
        )

    def shares_network(self, name: str) -> list[str]:
        """Containers that live in the network of another one, and are cut off when it is restarted."""
        owner = self._containers.get(name)
        ids = {name, owner.id} if owner else {name}
        return sorted(each.name for each in self._containers.values() if each.network_of in ids)

    def _direct(self, component: str) -> Iterable[str]:
        kind, _, name = component.partition(":")
        if kind == "handler":
            name = handler_of(name)  # a lane is its handler's
        if kind in {"handler", "plugin"}:
            hosts = [each for each in self._containers.values() if self._plugin(name) in each.plugins]
            yield from (f"container:{each.name}" for each in hosts)
            yield from (f"container:{each}" for each in self._named(NATS, ""))
            asks = self._handlers[name].asks if kind == "handler" and name in self._handlers else frozenset()
            yield from (f"handler:{each}" for each, flow in self._handlers.items() if flow.hears & asks)
        elif kind == "run":
            yield from (f"handler:{each}" for each in self._ways)
        elif kind in {"stream", "consumer"} or component == "collector:bus":
            yield from (f"container:{each}" for each in self._named(NATS, ""))
        elif kind == "container" and (container := self._containers.get(name)) is not None:
            for service in container.needs:
                yield from (f"container:{each}" for each in self._named(service, container.project))
            if container.plugins and container.service != NATS:
                yield from (f"container:{each}" for each in self._named(NATS, container.project))
            if container.network_of:
                owner = container.network_of
                yield from (
                    f"container:{each.name}" for each in self._containers.values() if owner in {each.id, each.name}
                )

    def _plugin(self, name: str) -> str:
        """The plugin of a handler, or a plugin's own name."""
        return self._handlers[name].plugin if name in self._handlers else name

    def _reach(self, subjects: set[str], *, forward: bool) -> set[str]:
        """Handlers that come after some subjects, or before them."""
        found: set[str] = set()
        while True:
            new = {
                name
                for name, flow in self._handlers.items()
                if name not in found and (flow.hears if forward else flow.says) & subjects
            }
            if not new:
                return found
            found |= new
            for name in new:
                subjects = subjects | (self._handlers[name].says if forward else self._handlers[name].hears)

    def _named(self, service: str, project: str) -> Iterable[str]:
        for each in self._containers.values():
            if service in {each.service, each.name} and (not project or each.project == project):
                yield each.name
