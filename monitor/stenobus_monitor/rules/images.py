"""Which image each container was made from, and from which one before: what a rollback would go back to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from pydantic import BaseModel, ConfigDict, JsonValue, TypeAdapter, ValidationError

from ..containers import Container
from ..findings import Finding
from ..observations import ContainerHealth, ContainerSeen, ContainerStarted, Observation
from . import Rule

#: Containers that are remembered, images of each, and characters of a label: all of it is one entry of a bucket.
_MOST: Final = 100
_IMAGES: Final = 3
_LABEL: Final = 200


class Image(BaseModel):
    """What a container was made from, and how."""

    model_config = ConfigDict(frozen=True)

    image: str
    digest: str
    #: When a container first ran with it.
    since: datetime
    memory_limit: int = 0
    labels: Mapping[str, str] = {}

    @classmethod
    def of(cls, container: Container, at: datetime) -> Image:
        """What a container says of itself."""
        return cls(
            image=container.image,
            digest=container.digest,
            since=container.started or at,
            memory_limit=container.memory_limit,
            labels={name: value[:_LABEL] for name, value in container.labels.items()},
        )

    def changes(self, before: Image) -> list[str]:
        """What else differs from an earlier one, as far as labels and limits tell."""
        names = sorted(self.labels.keys() | before.labels.keys())
        found = [
            f"{name}: {before.labels.get(name, 'absent')} → {self.labels.get(name, 'absent')}"
            for name in names
            if self.labels.get(name) != before.labels.get(name)
        ]
        if self.memory_limit != before.memory_limit:
            found.append(f"memory limit: {before.memory_limit or 'none'} → {self.memory_limit or 'none'}")
        return found


_STATE: Final = TypeAdapter(dict[str, list[Image]])


class Images(Rule):
    """Finds no trouble; its state is what is remembered, by the names of containers."""

    name = "images"

    def __init__(self) -> None:
        #: The latest image last.
        self.known: dict[str, list[Image]] = {}

    def observe(self, seen: Observation) -> Iterable[Finding]:
        """Containers as they are."""
        if isinstance(seen, ContainerSeen | ContainerStarted | ContainerHealth) and seen.container.digest:
            images = self.known.pop(seen.container.name, [])
            if not images or images[-1].digest != seen.container.digest:
                images = [*images, Image.of(seen.container, seen.at)][-_IMAGES:]
            self.known[seen.container.name] = images  # the last one seen is the last one forgotten
            while len(self.known) > _MOST:
                del self.known[next(iter(self.known))]
        return ()

    def state(self) -> JsonValue:
        """All of it."""
        state: JsonValue = _STATE.dump_python(self.known, mode="json")
        return state

    def restore(self, state: JsonValue) -> None:
        """What the process before this one knew."""
        try:
            self.known = _STATE.validate_python(state or {})
        except ValidationError:
            self.known = {}
