"""The fake's rules and the bodies that are sent, against the service's own model, which comes with botocore."""

from __future__ import annotations

from typing import Any

import botocore.loaders
import pytest
from botocore.model import ServiceModel, StructureShape
from botocore.validate import ParamValidator

from stenobus_contracts import LlmRequest, Message
from stenobus_llm.providers.bedrock.body import body
from stenobus_llm.providers.bedrock.failures import CODES
from stenobus_llm.settings import Target

from .rules import ENUMS, PATTERNS, SHAPES
from .test_tools import FIND, HISTORY, PICTURES, shows


@pytest.fixture(scope="module")
def model() -> ServiceModel:
    return ServiceModel(botocore.loaders.Loader().load_service_model("bedrock-runtime", "service-2"))


@pytest.mark.parametrize("name", SHAPES)
def test_the_rules_know_exactly_the_members_of_the_model(model: ServiceModel, name: str) -> None:
    shape: StructureShape = model.shape_for(name)

    assert set(SHAPES[name].members) == set(shape.members)
    assert SHAPES[name].required == set(shape.required_members)
    assert SHAPES[name].union == getattr(shape, "is_tagged_union", False)


@pytest.mark.parametrize("name", [*ENUMS, *PATTERNS])
def test_the_rules_know_the_values_of_the_model(model: ServiceModel, name: str) -> None:
    raw = model._shape_resolver._shape_map[name]

    assert raw.get("enum") is None or set(raw["enum"]) == ENUMS[name]
    assert raw.get("pattern") is None or (raw["pattern"], raw["max"]) == (PATTERNS[name], 64)


def test_a_stream_is_asked_for_as_an_answer_in_one_is(model: ServiceModel) -> None:
    assert set(model.shape_for("ConverseStreamRequest").members) == set(SHAPES["ConverseRequest"].members)


def test_every_error_of_the_model_has_a_class(model: ServiceModel) -> None:
    operations = [model.operation_model(name) for name in ("Converse", "ConverseStream")]
    stream = operations[1].get_event_stream_output()
    assert stream is not None
    within = {name for name, shape in stream.members.items() if shape.metadata.get("exception")}

    names = {shape.name for operation in operations for shape in operation.error_shapes} | within

    assert len(within) == 5
    assert {name.casefold() for name in names} <= set(CODES)


_IMAGE, _IMAGES = shows(PICTURES["png"])


@pytest.mark.parametrize(
    ("messages", "request_", "target"),
    [
        ((Message(role="system", content="Be brief."), HISTORY[0]), {"max_output_tokens": 5}, {"cache_point": True}),
        (HISTORY, {"tools": (FIND,), "tool_choice": "find"}, {}),
        (HISTORY, {"tools": (FIND,), "tool_choice": "required"}, {"extra": {"top_k": 5}}),
        (HISTORY, {"tools": (FIND,), "tool_choice": "none"}, {}),
        ((_IMAGE,), {"response_schema": {"type": "object"}}, {}),
    ],
)
def test_what_is_sent_is_valid(
    model: ServiceModel, messages: tuple[Message, ...], request_: dict[str, Any], target: dict[str, Any]
) -> None:
    known = Target.model_validate({"name": "claude", "kind": "bedrock", "model": "anthropic.claude:0", **target})

    sent = body(known, LlmRequest(task="acme.ask", messages=messages, **request_), _IMAGES)

    shape = model.operation_model("ConverseStream").input_shape
    report = ParamValidator().validate(sent, shape)
    assert not report.has_errors(), report.generate_report()
