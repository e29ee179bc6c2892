"""The AsyncAPI 3 document."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from faststream.specification.asyncapi.v3_0_0.schema import ApplicationSchema

from stenobus_contracts import AsrDone, DocReady, LlmRequest, MediaUploaded, Operation, asyncapi

from .test_events import CORE, contract


@pytest.fixture
def document() -> dict[str, Any]:
    operations = [Operation("asr", MediaUploaded, (AsrDone, DocReady), "Speech to text"), Operation("kb", DocReady)]
    return asyncapi(CORE, operations, version="1.2.3")


def nodes(part: Any) -> Iterator[dict[str, Any]]:
    if isinstance(part, dict):
        yield part
        for value in part.values():
            yield from nodes(value)
    elif isinstance(part, list):
        for value in part:
            yield from nodes(value)


def resolve(document: dict[str, Any], reference: str) -> Any:
    assert reference.startswith("#/")
    target: Any = document
    for step in reference[2:].split("/"):
        target = target[step.replace("~1", "/").replace("~0", "~")]
    return target


def test_every_reference_resolves(document: dict[str, Any]) -> None:
    references = [node["$ref"] for node in nodes(document) if isinstance(node.get("$ref"), str)]
    assert len(references) > 3 * len(CORE)
    for reference in references:
        resolve(document, reference)


def test_it_has_what_the_specification_requires(document: dict[str, Any]) -> None:
    assert document["asyncapi"] == "3.0.0"
    assert document["info"]["title"]
    assert document["info"]["version"] == "1.2.3"
    for server in document["servers"].values():
        assert server["host"]
        assert server["protocol"] == "nats"
    for section in document["components"].values():
        assert all(re.fullmatch(r"[A-Za-z0-9._-]+", key) for key in section)
    json.dumps(document)


def test_it_has_the_shape_of_faststreams_own_documents(document: dict[str, Any]) -> None:
    for server in document["servers"].values():
        server["pathname"] = ""  # which the specification leaves optional
    parsed = ApplicationSchema.model_validate(document)
    assert parsed.asyncapi == "3.0.0"
    assert set(parsed.channels) == {subject for kind in CORE for subject in kind.subjects()}


def test_every_contract_is_a_channel_a_message_and_a_valid_schema(document: dict[str, Any]) -> None:
    for kind in CORE:
        channel = document["channels"][kind.subject]
        assert channel["address"] == kind.subject
        message = resolve(document, channel["messages"][kind.__name__]["$ref"])
        assert message["name"] == kind.event_type
        assert message["summary"]
        payload = resolve(document, message["payload"]["$ref"])
        jsonschema.Draft202012Validator.check_schema(payload)


def test_operations_point_to_channels_and_to_messages_of_those(document: dict[str, Any]) -> None:
    operations = document["operations"]
    assert set(operations) == {"asr.receive", "asr.send.asr.done", "asr.send.doc.ready", "kb.receive"}
    assert operations["asr.receive"]["action"] == "receive"
    assert operations["asr.send.doc.ready"]["action"] == "send"
    for operation in operations.values():
        channel = operation["channel"]["$ref"]
        assert resolve(document, channel)["address"]
        assert all(message["$ref"].startswith(f"{channel}/messages/") for message in operation["messages"])


def test_a_lane_is_a_channel_that_its_handler_receives_on() -> None:
    operations = [Operation("llm", LlmRequest), Operation("asker", AsrDone, (LlmRequest,))]
    document = asyncapi([AsrDone, LlmRequest], operations, version="1")
    assert set(document["channels"]) == {"asr.done", "llm.request", "llm.request.interactive"}
    found = document["operations"]
    assert found["llm.receive.interactive"]["channel"] == {"$ref": "#/channels/llm.request.interactive"}
    assert found["llm.receive"]["channel"] == {"$ref": "#/channels/llm.request"}
    assert {"asker.send.llm.request", "asker.send.llm.request.interactive"} <= set(found)


def test_two_versions_share_their_channel() -> None:
    one, two = contract("Ping", "acme.ping", 1), contract("PingTwo", "acme.ping", 2)
    document = asyncapi([one, two], [Operation("pinger", one)], version="1")
    assert set(document["channels"]["acme.ping"]["messages"]) == {"Ping", "PingTwo"}
    for node in nodes(document):
        if isinstance(node.get("$ref"), str):
            resolve(document, node["$ref"])
