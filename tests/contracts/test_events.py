"""Contracts: one class, one subject, nothing lost on the way."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from stenobus_contracts import (
    AsrDone,
    BlobRef,
    ContractError,
    Event,
    LlmDone,
    LlmRequest,
    Media,
    MediaUploaded,
    Registry,
    StageUsage,
    TokenUsage,
    registry,
)
from stenobus_contracts.event import Model

CORE = [contract for contract in registry if contract.__module__.startswith("stenobus_contracts.")]


def contract(name: str, subject: str, version: int = 1, module: str = "acme") -> type[Event]:
    """A contract that no registry knows."""
    made = type(name, (Event,), {"__module__": module, "__qualname__": name})
    made.subject, made.version, made.event_type = subject, version, f"stenobus.{subject}.v{version}"
    made.answers = None
    return made


def test_a_contract_joins_the_registry_by_being_declared() -> None:
    assert registry.by_subject("media.uploaded") is MediaUploaded
    assert MediaUploaded in registry
    assert MediaUploaded.event_type == "stenobus.media.uploaded.v1"
    assert {"asr", "doc", "kb", "llm", "media", "monitor", "ocr"} <= set(registry.domains())


def test_a_subject_belongs_to_one_contract() -> None:
    with pytest.raises(ContractError, match=r"Second: stenobus\.media\.uploaded\.v1 is already the contract Media"):

        class Second(Event, subject="media.uploaded"):
            pass

    assert registry.by_subject("media.uploaded") is MediaUploaded


def test_a_lane_is_a_further_subject_of_its_contract() -> None:
    asked = {"task": "t", "messages": [{"role": "user", "content": "?"}]}
    assert LlmRequest.subjects() == ("llm.request.interactive", "llm.request")
    assert registry.by_subject("llm.request.interactive") is LlmRequest
    for priority, subject in (
        ("interactive", "llm.request.interactive"),
        ("batch", "llm.request"),
        (None, "llm.request"),
    ):
        assert LlmRequest.model_validate({**asked, "priority": priority}).full_subject == subject
    assert "priority" not in json.loads(LlmRequest.model_validate(asked).body())
    assert MediaUploaded.subjects() == ("media.uploaded",)


def test_a_module_that_is_imported_again_replaces_its_own_contract() -> None:
    known, first, second = Registry(), contract("Ping", "acme.ping"), contract("Ping", "acme.ping")
    known.add(first)
    known.add(second)
    assert known.by_subject("acme.ping") is second
    with pytest.raises(ContractError):
        known.add(contract("Ping", "acme.ping", module="other"))


def test_a_new_version_stands_beside_the_old_one_and_is_the_newest() -> None:
    known = Registry()
    two, one = contract("PingTwo", "acme.ping", 2), contract("Ping", "acme.ping", 1)
    known.add(two)
    known.add(one)
    assert list(known) == [one, two]
    assert known.by_subject("acme.ping") is two
    assert known.by_subject("acme.pong") is None


@pytest.mark.parametrize(
    "subject", ["ping", "Acme.ping", "acme.", ".ping", "acme..ping", "acme.*", "acme.>", "1.a", "a b.c"]
)
def test_a_malformed_subject_is_refused_by_the_name_of_its_contract(subject: str) -> None:
    with pytest.raises(ContractError, match=r"Ping: subject .* must be two or more lower-case words joined by dots"):
        Registry().add(contract("Ping", subject))


def test_requests_know_their_answers() -> None:
    assert registry.answer_to(LlmRequest) is LlmDone
    assert registry.answer_to(MediaUploaded) is None


@pytest.mark.parametrize("kind", CORE, ids=lambda kind: kind.event_type)
def test_events_are_immutable_and_carry_what_they_do_not_know(kind: type[Event]) -> None:
    assert kind.model_config.get("frozen") is True
    assert kind.model_config.get("extra") == "allow"


def test_an_unknown_field_is_carried_along_however_deep() -> None:
    body = b'{"media": {"uri": "file:///talk.wav", "camera": {"lens": 50}}, "priority": [1, 2]}'
    event = MediaUploaded.model_validate_json(body)
    assert json.loads(event.body()) == {**json.loads(body), "metadata": {}}
    with pytest.raises(ValidationError, match="frozen"):
        event.title = "other"


def models() -> Iterator[type[BaseModel]]:
    todo: list[type[BaseModel]] = [Model]
    while todo:
        todo += (found := todo.pop()).__subclasses__()
        if found.__module__.startswith("stenobus_contracts."):
            yield found


@pytest.mark.parametrize("model", list(models()), ids=lambda model: model.__name__)
def test_nothing_that_is_left_out_of_a_body_means_anything_else_to_its_reader(model: type[BaseModel]) -> None:
    """None does not travel, so the default of a field that may be None must be None."""
    for name, field in model.model_fields.items():
        if field.is_required() or field.get_default(call_default_factory=True, validated_data={}) is None:
            continue
        with pytest.raises(ValidationError):
            TypeAdapter[Any](field.annotation).validate_python(None)
            pytest.fail(f"{model.__name__}.{name} may be None, but is not by default")


def test_an_unknown_cost_stays_unknown() -> None:
    usage = StageUsage(stage="extract", method="model", cost_usd=None)
    assert StageUsage.model_validate_json(usage.model_dump_json(exclude_none=True)).cost_usd is None
    free = StageUsage(stage="clean", method="local", cost_usd=Decimal(0))
    assert StageUsage.model_validate_json(free.model_dump_json(exclude_none=True)).cost_usd == 0


def test_a_transcript_is_a_known_blob_or_whatever_its_producer_knows() -> None:
    known = {"uri": "nats://stenobus/a", "sha256": "0" * 64, "size": 3}
    assert isinstance(AsrDone.model_validate({"transcript": known}).transcript, BlobRef)
    assert isinstance(AsrDone.model_validate({"transcript": {"uri": "s3://b/k"}}).transcript, Media)


@pytest.mark.parametrize("uri", ["talk.wav", "/talk.wav", "file:talk", "://x", "S3://b/k", "nats://", ""])
def test_an_address_without_a_scheme_is_refused(uri: str) -> None:
    with pytest.raises(ValidationError):
        MediaUploaded.model_validate({"media": {"uri": uri}})


def test_token_usages_add_up_and_stay_estimates() -> None:
    total = TokenUsage(input=1, output=2) + TokenUsage(input=3, output=4, estimated=True)
    assert (total.input, total.output, total.total, total.estimated) == (4, 6, 10, True)


def test_the_contracts_need_nothing_but_pydantic() -> None:
    code = (
        "import sys, stenobus_contracts; "
        "print([m for m in sys.modules if m.split('.')[0] in {'nats', 'faststream', 'stenobus_bus', 'stenobus_core'}])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
