"""Containers that nobody touches without an approval, whatever the settings say: the monitor, its executor, the bus."""

from __future__ import annotations

import socket
from typing import Final

from ..containers import Container
from ..graph import NATS

#: Names, Compose services and plugins.
_PROTECTED: Final = frozenset({NATS, "monitor", "executor"})


def protected(container: Container, own: str = socket.gethostname()) -> bool:
    """Whether a container is one of them.

    Args:
        own: name of this host, which inside a container is the beginning of its id.
    """
    names = {container.name, container.service, *container.plugins}
    return bool(names & _PROTECTED) or (len(own) >= 12 and container.id.startswith(own))
