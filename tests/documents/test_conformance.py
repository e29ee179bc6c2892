"""Every stage keeps every rule of the kit, on what the stages before it made of a talk."""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from stenobus_contracts import AsrDone, DocCleaned, DocDrafted, DocExtracted, DocMapped, DocOutlined, Event
from stenobus_llm import plugin as llm
from stenobus_testing import Stage, conformance

from .conftest import STAGES, TALK

_made: dict[type[Event], Event] = {}
_folder = tempfile.TemporaryDirectory(prefix="stenobus-")


async def run_stages(stage: Stage) -> None:
    """Run all stages once. Their blobs are files, which outlive the bus of one test."""
    talk = Path(_folder.name) / "talk.srt"
    talk.write_text(TALK, encoding="utf-8")
    host = await stage.run(*STAGES, llm, blob_store="file", data_dir=Path(_folder.name))
    start = AsrDone.model_validate({"transcript": {"uri": talk.as_uri()}})
    await stage.publish(start)
    outcome = await stage.run_until_idle()
    await host.stop()
    _made[AsrDone] = start
    for contract in (DocCleaned, DocExtracted, DocMapped, DocOutlined, DocDrafted):
        _made[contract] = contract.model_validate_json(outcome.of(contract)[0].data)


def example(contract: type[Event]) -> Callable[[Stage], Awaitable[Event]]:
    """The event of a contract that a real run has published."""

    async def published(stage: Stage) -> Event:
        if contract not in _made:
            await run_stages(stage)
        return _made[contract]

    published.__annotations__["return"] = contract
    return published


TestClean = conformance("documents-clean", examples=[example(AsrDone)])
TestExtract = conformance("documents-extract", examples=[example(DocCleaned)], beside=[llm])
TestMap = conformance("documents-map", examples=[example(DocExtracted)], beside=[llm])
TestOutline = conformance("documents-outline", examples=[example(DocMapped)], beside=[llm])
TestWrite = conformance("documents-write", examples=[example(DocOutlined)], beside=[llm])
TestOutput = conformance("documents-output", examples=[example(DocDrafted)])
