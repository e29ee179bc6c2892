"""What the server does not let the monitor do fails at once: asking again changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from stenobus_bus import AccessDenied

from ..errors import ActionFailed


@contextmanager
def rights() -> Iterator[None]:
    """Around what takes the rights of the user ``monitor-remedies``. Raises ActionFailed where they are missing."""
    try:
        yield
    except AccessDenied as error:
        raise ActionFailed(
            "The server does not allow it: name the credentials of monitor-remedies in STENOBUS_MONITOR_REMEDY_CREDS."
        ) from error
