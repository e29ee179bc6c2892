"""Whether a container may be touched, by what the engine says of it and never by what the asker says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any, Final

from .passing import name_of

_PLUGIN: Final = "stenobus.plugin"
_SERVICE: Final = "com.docker.compose.service"
#: Exit codes of what a signal ended that ``docker stop`` and ``docker kill`` send.
_TOLD: Final = (137, 143)
#: Seconds that a container may take to end when it says nothing else, and at most.
_GRACE: Final = (10, 120)
#: Exit code of what was killed; seconds before such an end in which whoever had the engine kill it did so: for an end
#: that does not come, the engine waits ten.
_KILLED, _BEFORE = 137, 15.0
#: The lowest limits that may be set: bytes, and billionths of a processor.
_LEAST_MEMORY: Final = 16 * 1024**2
_LEAST_PROCESSORS: Final = 50_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Names may be wildcards; those of ``protected`` are names of Compose services as well."""

    #: Containers that exist for those who ask.
    visible: tuple[str, ...] = ("stenobus*",)
    #: Those that may be touched; without any, those with the label ``stenobus.plugin``.
    touchable: tuple[str, ...] = ()
    #: Those that may be touched with an approval alone, listed above or not.
    protected: tuple[str, ...] = ("nats", "monitor", "executor")
    #: The highest limits that may be set: bytes, and billionths of a processor.
    most_memory: int = 64 * 1024**3
    most_processors: int = 64_000_000_000
    #: Ids of the container that this process runs in.
    own: frozenset[str] = field(default_factory=frozenset)

    def sees(self, container: Mapping[str, Any]) -> bool:
        """Whether a container, listed or inspected, exists for those who ask."""
        return _fits([name_of(container)], self.visible)

    def objection(self, container: Mapping[str, Any], kind: str, approved: bool) -> str | None:
        """Why a container must not be touched; None when it may.

        Args:
            kind: ``restart`` or ``limits``; limits stop nothing, and are what helps one that dies again and again.
        """
        name, labels = name_of(container), (container.get("Config") or {}).get("Labels") or {}
        plugins = [plugin.strip() for plugin in str(labels.get(_PLUGIN) or "").split(",") if plugin.strip()]
        if not container.get("Id") or container["Id"] in self.own:
            return "that is the executor itself"
        if _fits([name, str(labels.get(_SERVICE) or ""), *plugins], self.protected):
            if not approved:
                return "it is protected"
        elif not (_fits([name], self.touchable) if self.touchable else plugins):
            return "it is not on the list of what may be touched"
        return self._state(container.get("State") or {}, kind, approved)

    def _state(self, state: Mapping[str, Any], kind: str, approved: bool) -> str | None:
        status, health = state.get("Status"), (state.get("Health") or {}).get("Status")
        if status not in {"running", "exited", "paused", "created", *(["restarting"] if kind == "limits" else [])}:
            return f"it is {status}"
        if kind == "restart" and status == "running" and health == "starting":
            return "its health is not known yet: it is starting"
        if status in {"paused", "created"} and not approved:
            return f"somebody left it {status}"
        return None

    def outside(self, limits: Mapping[str, int]) -> str | None:
        """Why limits are out of bounds; None when they are not. 0 leaves one as it is."""
        memory, swap, processors = limits["Memory"], limits["MemorySwap"], limits["NanoCpus"]
        if not any(limits.values()):
            return "nothing would change"
        if memory and not _LEAST_MEMORY <= memory <= self.most_memory:
            return f"Memory is not between {_LEAST_MEMORY} and {self.most_memory} bytes"
        if (memory or swap) and not memory <= swap <= 2 * memory:
            return "MemorySwap, which is memory and swap together, is not between Memory and twice as much"
        if processors and not _LEAST_PROCESSORS <= processors <= self.most_processors:
            return f"NanoCpus is not between {_LEAST_PROCESSORS} and {self.most_processors}"
        return None


def grace(container: Mapping[str, Any]) -> int:
    """Seconds that a container may take to end before the engine kills it, by its own word, bounded."""
    said = (container.get("Config") or {}).get("StopTimeout")
    usual, most = _GRACE
    return usual if said is None else most if said < 0 else min(int(said), most)


def ended_by_itself(container: Mapping[str, Any]) -> bool:
    """Whether an ended container failed, as far as it shows; its events may still say that somebody ended it.

    The engine does not tell who ended a container. It starts those with a policy anew, unless somebody stopped them.
    """
    state, policy = container["State"], (container.get("HostConfig") or {}).get("RestartPolicy") or {}
    code, retries = int(state.get("ExitCode") or 0), int(policy.get("MaximumRetryCount") or 0)
    name = policy.get("Name") or "no"
    if name == "on-failure":
        return code != 0 and 0 < retries <= int(container.get("RestartCount") or 0)
    return name == "no" and code != 0 and (bool(state.get("OOMKilled")) or code not in _TOLD)


def was_killed(container: Mapping[str, Any]) -> bool:
    """Whether an ended container was killed, and only the engine's events can tell whether the engine did it."""
    policy = (container.get("HostConfig") or {}).get("RestartPolicy") or {}
    return (policy.get("Name") or "no") == "no" and container["State"].get("ExitCode") == _KILLED


def remembered(container: Mapping[str, Any], oldest: float) -> bool:
    """Whether the events of an end and of what led to it are all among those that the engine still has.

    Args:
        oldest: time of the oldest one, in seconds since the epoch: the engine forgets the oldest first.
    """
    began, ended = (moment(container["State"][name]) for name in ("StartedAt", "FinishedAt"))
    return oldest <= max(began, ended - _BEFORE)


def moment(text: str) -> float:
    """A time of the engine's, in seconds since the epoch."""
    return datetime.fromisoformat(text).timestamp()


def _fits(names: Iterable[str], patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for name in names if name for pattern in patterns)
