"""The stack on a real engine: built and started once for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from ..support.engine import Stack, base_image, engine


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The stack, up and healthy; taken down in the end, with all that it stored."""
    client = engine()
    with TemporaryDirectory(prefix="stenobus-") as folder:
        stack = Stack(Path(folder), "stenobus-test", base_image(client), client=client)
        try:
            stack.run("up", timeout=1400)
            yield stack
        finally:
            stack.run("down", "--volumes")
            assert stack.remains() == []
