"""A third party's stage takes the place of ours: the same contracts, and not a line changed anywhere."""

from __future__ import annotations

from stenobus_timeline import plugin as timeline

from .conftest import STAGES, StartBench


async def test_an_outline_by_time_takes_the_place_of_ours(start: StartBench) -> None:
    bench = await start(stages=[timeline if stage.name == "documents-outline" else stage for stage in STAGES])
    ready = await bench.document(title="Sections by time")
    text = await bench.markdown(ready)
    assert bench.model.asked("outline") == []
    assert ready.title == "Sections by time"
    assert "\n## 00:00:00 – 00:10:00\n" in text and "4 statements" in text
    assert [stage.stage for stage in ready.stages] == ["clean", "extract", "map", "outline", "write", "output"]
    assert {stage.stage: stage.method for stage in ready.stages}["outline"] == "local"
