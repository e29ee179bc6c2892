"""A real Prometheus is asked."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from stenobus_monitor.collectors.metrics import MetricCollector, PrometheusUnavailable
from stenobus_monitor.observations import MetricSeen, Observation
from stenobus_monitor.settings import Query
from stenobus_testing import eventually

from .conftest import missing


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    found = shutil.which("prometheus")
    if found is None:
        missing("there is no prometheus")
    folder: Path = tmp_path_factory.mktemp("prometheus")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "prometheus.yml").write_text("global: {}\n")
    arguments = (f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [found, *arguments, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=subprocess.STDOUT
        )
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait(timeout=120)


async def look(url: str, expression: str) -> list[Observation]:
    """What one look sees."""
    seen: list[Observation] = []

    async def emit(one: Observation) -> None:
        seen.append(one)

    task = asyncio.create_task(MetricCollector(url, {"q": Query(expression=expression, above=1)}, 60).run(emit))
    try:
        await eventually(lambda: seen or task.done())
    finally:
        task.cancel()
        results = await asyncio.gather(task, return_exceptions=True)
    if results and isinstance(results[0], PrometheusUnavailable):
        raise results[0]
    return seen


async def test_series_and_scalars(prometheus: str) -> None:
    async def ready() -> bool:
        async with httpx2.AsyncClient() as client:
            try:
                return (await client.get(f"{prometheus}/-/ready")).status_code == 200
            except httpx2.HTTPError:
                return False

    await eventually(ready)
    (vector,) = await look(prometheus, 'label_replace(vector(3), "handler", "asr", "", "")')
    assert isinstance(vector, MetricSeen)
    assert (vector.labels, vector.value, vector.above) == ("handler=asr", 3.0, 1.0)
    (scalar,) = await look(prometheus, "2 + 2")
    assert isinstance(scalar, MetricSeen) and scalar.value == 4.0
    with pytest.raises(PrometheusUnavailable, match="refuses"):
        await look(prometheus, "no such (")


async def test_who_does_not_answer_is_said() -> None:
    with pytest.raises(PrometheusUnavailable, match="does not answer"):
        await look("http://127.0.0.1:9", "up")
