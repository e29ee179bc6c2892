"""Figures that Prometheus keeps: queries that somebody wants watched."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import httpx2

from ..errors import MonitorError
from ..observations import MetricSeen
from ..settings import Query
from . import Emit

#: Series of one query that are looked at, bytes of an answer, and seconds it may take.
_SERIES, _LARGEST, _TIMEOUT = 200, 4 * 1024 * 1024, 10.0
_LONGEST: Final = 300


class PrometheusUnavailable(MonitorError):
    """Prometheus does not answer, or not as expected."""


class MetricCollector:
    """Asks one Prometheus.

    Args:
        url: its address, without a path.
        queries: by name.
        every: seconds between two looks.
    """

    name = "metrics"

    def __init__(
        self,
        url: str,
        queries: dict[str, Query],
        every: float = 15.0,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._url, self._queries, self._every, self._clock = url.rstrip("/"), queries, every, clock

    async def run(self, emit: Emit) -> None:
        """Ask again and again."""
        async with httpx2.AsyncClient(timeout=_TIMEOUT) as client:
            while True:
                for name, query in self._queries.items():
                    for labels, value in await self._ask(client, query.expression):
                        await emit(
                            MetricSeen(at=self._clock(), query=name, labels=labels, value=value, above=query.above)
                        )
                await asyncio.sleep(self._every)

    async def _ask(self, client: httpx2.AsyncClient, expression: str) -> list[tuple[str, float]]:
        """Series of a query: labels and value each."""
        body = bytearray()
        try:
            async with client.stream("GET", f"{self._url}/api/v1/query", params={"query": expression}) as response:
                async for part in response.aiter_bytes():
                    body += part
                    if len(body) > _LARGEST:
                        raise PrometheusUnavailable(f"The answer of Prometheus to {expression} is too large.")
        except (httpx2.HTTPError, httpx2.StreamError, OSError) as error:
            raise PrometheusUnavailable(
                f"Prometheus does not answer ({type(error).__name__}); check STENOBUS_MONITOR_PROMETHEUS."
            ) from error
        try:
            told: Any = json.loads(body)
            if told["status"] != "success":
                raise PrometheusUnavailable(f"Prometheus refuses {expression}: {str(told.get('error'))[:_LONGEST]}.")
            return _series(told["data"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise PrometheusUnavailable("What answers is no Prometheus; check STENOBUS_MONITOR_PROMETHEUS.") from error


def _series(data: Any) -> list[tuple[str, float]]:
    if data["resultType"] == "scalar":
        found = [("", float(data["result"][1]))]
    else:
        found = [
            (
                ", ".join(f"{key}={text}" for key, text in sorted(each["metric"].items()) if key != "__name__"),
                float(each["value"][1]),
            )
            for each in data["result"][:_SERIES]
        ]
    return [(labels[:_LONGEST], value) for labels, value in found if not math.isnan(value)]
