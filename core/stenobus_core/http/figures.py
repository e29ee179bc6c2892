"""What an API counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector


class Figures:
    """Requests by route and status, how long they take, and how many are in work. Names and queries are no labels.

    Args:
        prefix: of their names, such as ``stenobus_kb``.
    """

    def __init__(self, prefix: str) -> None:
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector(registry=None), PlatformCollector(registry=None)):
            self.registry.register(collector)
        self.requests = Counter(
            f"{prefix}_requests", "requests to the API", ("route", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            f"{prefix}_request_seconds", "from the request to its answer", ("route",), registry=self.registry
        )
        self.working = Gauge(
            f"{prefix}_requests_in_work", "requests that wait for their answer", registry=self.registry
        )
