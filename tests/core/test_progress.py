"""What a person sees of a run while it goes on."""

from __future__ import annotations

from typing import Any

import pytest

from stenobus_core.cli.progress import Progress
from stenobus_core.runs import Step


def step(handler: str, event: str, subject: str, **fields: Any) -> Step:
    return Step(run="r", handler=handler, event_id=event, subject=subject, **{"status": "running", **fields})


def shown(capsys: pytest.CaptureFixture[str], *steps: Step) -> list[str]:
    with Progress([]) as progress:
        for each in steps:
            progress.update(each)
    return capsys.readouterr().err.splitlines()


def test_a_stage_that_waits_for_a_models_quota_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    stage = {"handler": "documents-extract", "event": "e1", "subject": "doc.cleaned"}
    request = {"handler": "llm", "event": "q1", "subject": "llm.request", "causation": "e1"}
    assert shown(
        capsys,
        step(**stage, message="chunk 1 of 8"),
        step(**request, message="waiting for quota of small, 12 s"),
        step(**request, message="waiting for quota of small, 12 s"),
        step(**request, message="asking small"),
        step(**{**request, "event": "q2", "causation": "elsewhere"}, message="waiting for quota of small, 13 s"),
        step(**stage, message="chunk 2 of 8; 120 tokens, $0.0010"),
        step(**stage, status="done", seconds=3.21, message="chunk 8 of 8"),
        step(**request, message="waiting for quota of small, 14 s"),
    ) == [
        "… documents-extract: chunk 1 of 8",
        "… documents-extract: waiting for quota of small, 12 s",
        "… documents-extract: chunk 2 of 8; 120 tokens, $0.0010",
        "✓ documents-extract in 3.2 s: chunk 8 of 8",
    ]
