"""The plugin keeps every rule of the kit, with the provider that needs no model."""

from __future__ import annotations

from stenobus_contracts import ExtractInputs, LlmRequest, Message, Segment
from stenobus_testing import conformance

INPUTS = ExtractInputs(
    title="A full disk",
    segments=(
        Segment(id="S0001", text="The nightly build failed with no space left on device.", start=5.0, end=9.0),
        Segment(id="S0002", text="So run journalctl --vacuum-size=500M and restart the agent.", start=16.0, end=20.0),
    ),
)
REQUEST = LlmRequest(
    task="documents.extract",
    messages=(Message(role="user", content="What was the problem?"),),
    inputs=INPUTS.model_dump(mode="json"),
)

TestLlm = conformance("llm", examples=[REQUEST])
