"""What collectors see: facts with a time, and nothing concluded from them yet."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from .containers import Container


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """Something that was seen."""

    #: When it happened, or when somebody looked.
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSeen(Observation):
    """A container as it is now."""

    container: Container


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerStarted(Observation):
    """A container began."""

    container: Container


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSignalled(Observation):
    """Somebody sent a container a signal through the engine: to stop, restart or kill it."""

    name: str
    signal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerOutOfMemory(Observation):
    """The kernel killed a process in a container for want of memory. That need not be its first one."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerDied(Observation):
    """A container's first process ended."""

    container: Container
    exit_code: int
    #: Its last lines, as it wrote them.
    log: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerHealth(Observation):
    """The verdict of a container's health check changed."""

    container: Container


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerGone(Observation):
    """A container was removed."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectorState(Observation):
    """A collector works, or cannot see what it should."""

    collector: str
    #: Why it is blind; None when it sees.
    trouble: str | None
