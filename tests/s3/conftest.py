"""An empty server that speaks S3's protocol, for the tests of one module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..support import aws


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """Its address."""
    with aws.endpoint() as url:
        yield url
