"""What was decided, one JSON line each on standard output. Nothing is done that cannot be put on record."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any


def audit(**said: Any) -> None:
    """Put a decision on record, or what came of it. Raises OSError when nobody takes it."""
    print(json.dumps({"time": datetime.now(UTC).isoformat(), **said}), flush=True)
