"""Schemas are promises: additive changes pass, breaking ones are named."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, JsonValue, create_model

from stenobus_contracts import DeadLetter, MediaUploaded, check, export, incompatibilities, schemas

from .test_events import CORE

SCHEMAS = Path(__file__).parents[2] / "contracts" / "schemas"


def test_the_schemas_that_are_checked_in_are_those_of_today(tmp_path: Path) -> None:
    files = export(CORE, tmp_path)
    assert {file.name for file in files} == {file.name for file in SCHEMAS.glob("*.json")}
    for file in files:
        assert file.read_text() == (SCHEMAS / file.name).read_text(), "export them anew and see what changed"


def test_todays_contracts_keep_what_the_checked_in_schemas_promised() -> None:
    assert check(CORE, SCHEMAS) == []


@pytest.mark.parametrize("name", sorted(schemas(CORE)))
def test_every_schema_is_valid_json_schema(name: str) -> None:
    schema = schemas(CORE)[name]
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["x-subject"] in {name.removeprefix("stenobus.").rpartition(".v")[0], "dlq.>"}
    assert "description" in schema


def test_a_schema_accepts_what_the_contract_accepts() -> None:
    validator = jsonschema.Draft202012Validator(schemas([MediaUploaded])[MediaUploaded.event_type])
    validator.validate({"media": {"uri": "file:///talk.wav", "new": 1}})
    with pytest.raises(jsonschema.ValidationError):
        validator.validate({"media": {"uri": "talk.wav"}})
    assert DeadLetter.event_type in schemas([])


def test_a_contract_that_is_gone_is_a_breaking_change(tmp_path: Path) -> None:
    export(CORE, tmp_path)
    (problem,) = check([contract for contract in CORE if contract is not MediaUploaded], tmp_path)
    assert problem == "stenobus.media.uploaded.v1: the contract is gone; keep it beside its successor"


def test_export_leaves_what_was_promised_before(tmp_path: Path) -> None:
    (tmp_path / "stenobus.old.v1.json").write_text("{}")
    export(CORE, tmp_path)
    assert (tmp_path / "stenobus.old.v1.json").exists()


# --- one change at a time --------------------------------------------------------------------------------------------


class Part(BaseModel):
    a: int
    b: str = ""


class Renamed(BaseModel):
    a: int
    b: str = ""


class Wider(BaseModel):
    a: int
    b: str = ""
    c: float | None = None


class Narrower(BaseModel):
    a: int


def schema(*, forbid: bool = False, **fields: Any) -> dict[str, Any]:
    """The schema of a model with these fields; a bare type is required, a pair has a default."""
    declared = {name: value if isinstance(value, tuple) else (value, ...) for name, value in fields.items()}
    model = create_model("Acme", __config__=ConfigDict(extra="forbid" if forbid else "allow"), **declared)
    return model.model_json_schema()


Text = Annotated[str, Field(max_length=10)]

BREAKING = {
    "gone": (schema(a=int, b=str), schema(a=int), "b is gone"),
    "new and required": (schema(a=int), schema(a=int, b=str), "b is now required"),
    "was optional": (schema(a=(int, 1)), schema(a=int), "a is now required"),
    "other type": (schema(a=int), schema(a=str), "a no longer accepts integer"),
    "number to integer": (schema(a=float), schema(a=int), "a no longer accepts number"),
    "no more null": (schema(a=(int | None, None)), schema(a=(int, 1)), "a no longer accepts null"),
    "anything to text": (schema(a=JsonValue), schema(a=str), "a no longer accepts anything"),
    "text to choice": (schema(a=str), schema(a=Literal["x", "y"]), "a is now limited to x, y"),
    "choice less": (schema(a=Literal["x", "y", "z"]), schema(a=Literal["x", "y"]), "a no longer accepts z"),
    "choice to one": (schema(a=Literal["x", "y"]), schema(a=Literal["x"]), "a no longer accepts y"),
    "other constant": (schema(a=Literal["x"]), schema(a=Literal["y", "z"]), "a no longer accepts x"),
    "longer at least": (schema(a=str), schema(a=Annotated[str, Field(min_length=1)]), "a: minLength is now 1"),
    "shorter at most": (
        schema(a=Annotated[str, Field(max_length=20)]), schema(a=Text), "a: maxLength is now 10, was 20"
    ),
    "pattern": (schema(a=str), schema(a=Annotated[str, Field(pattern="^x")]), "a: pattern is now '^x'"),
    "minimum": (schema(a=int), schema(a=Annotated[int, Field(ge=0)]), "a: minimum is now 0"),
    "maximum": (
        schema(a=Annotated[int, Field(le=9)]), schema(a=Annotated[int, Field(le=8)]), "a: maximum is now 8, was 9"
    ),
    "multiple": (schema(a=int), schema(a=Annotated[int, Field(multiple_of=2)]), "a: multipleOf is now 2"),
    "unique": (schema(a=list[int]), schema(a=set[int]), "a: uniqueItems is now True"),
    "items": (schema(a=list[int]), schema(a=list[str]), "a[] no longer accepts integer"),
    "items of anything": (schema(a=list[JsonValue]), schema(a=list[int]), "a[] no longer accepts anything"),
    "values": (schema(a=dict[str, JsonValue]), schema(a=dict[str, int]), "a[] no longer accepts anything"),
    "limit behind a null": (schema(a=(str | None, None)), schema(a=(Text | None, None)), "a: maxLength is now 10"),
    "limit with a null": (schema(a=(str, "")), schema(a=(Text | None, None)), "a: maxLength is now 10"),
    "union less": (schema(a=int | str), schema(a=int), "a no longer accepts string"),
    "part loses a field": (schema(a=Part), schema(a=Narrower), "a.b is gone"),
    "part in a list": (schema(a=list[Part]), schema(a=list[Narrower]), "a[].b is gone"),
    "part behind a null": (schema(a=(Part | None, None)), schema(a=(Narrower | None, None)), "a.b is gone"),
    "union of parts less": (schema(a=Part | int), schema(a=Narrower | int), "a.b is gone"),
    "nothing further": (schema(a=int), schema(a=int, forbid=True), "the event no longer accepts further fields"),
}  # fmt: skip

ADDITIVE = {
    "same": (schema(a=int, b=Part), schema(a=int, b=Part)),
    "new and optional": (schema(a=int), schema(a=int, b=(str, ""))),
    "new part": (schema(a=int), schema(a=int, b=(Part | None, None))),
    "now optional": (schema(a=int), schema(a=(int, 1))),
    "now nullable": (schema(a=int), schema(a=int | None)),
    "integer to number": (schema(a=int), schema(a=float)),
    "choice more": (schema(a=Literal["x"]), schema(a=Literal["x", "y"])),
    "choice to text": (schema(a=Literal["x", "y"]), schema(a=str)),
    "longer at most": (schema(a=Text), schema(a=str)),
    "text to anything": (schema(a=str), schema(a=JsonValue)),
    "items to anything": (schema(a=list[int]), schema(a=list[JsonValue])),
    "union more": (schema(a=int), schema(a=int | str | Part)),
    "other order": (schema(a=int | str), schema(a=str | int)),
    "part wider": (schema(a=Part), schema(a=Wider)),
    "part to union": (schema(a=Part), schema(a=Wider | int)),
    "part renamed": (schema(a=Part | None), schema(a=Renamed | None)),
    "further fields": (schema(a=int, forbid=True), schema(a=int)),
    "described": (schema(a=int), schema(a=Annotated[int, Field(description="A number")])),
}


@pytest.mark.parametrize(("old", "new", "problem"), BREAKING.values(), ids=BREAKING)
def test_a_breaking_change_is_named(old: dict[str, Any], new: dict[str, Any], problem: str) -> None:
    assert incompatibilities(old, new) == [problem]


@pytest.mark.parametrize(("old", "new"), ADDITIVE.values(), ids=ADDITIVE)
def test_an_additive_change_passes(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert incompatibilities(old, new) == []


class Tree(BaseModel):
    name: str
    children: list[Tree] = []


def test_recursive_models_end() -> None:
    assert incompatibilities(schema(a=Tree), schema(a=Tree)) == []


# --- whatever the change: what passes, holds -------------------------------------------------------------------------

VALUES: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(-5, 5),
    float: st.one_of(st.integers(-3, 3), st.floats(-5, 5)),
    str: st.text("xyz", max_size=3),
    bool: st.booleans(),
    Literal["x", "y"]: st.sampled_from(["x", "y"]),
    Literal["x"]: st.just("x"),
    Annotated[str, Field(max_length=2)]: st.text("xyz", max_size=2),
    Annotated[int, Field(ge=0, le=3)]: st.integers(0, 3),
    list[int]: st.lists(st.integers(-5, 5), max_size=3),
    dict[str, int]: st.dictionaries(st.text("xyz", max_size=1), st.integers(0, 1), max_size=2),
    Part: st.fixed_dictionaries({"a": st.integers(0, 1)}, optional={"b": st.text("xy", max_size=1)}),
    Narrower: st.fixed_dictionaries({"a": st.integers(0, 1)}),
    JsonValue: st.one_of(st.none(), st.integers(0, 1), st.text("xy", max_size=1)),
}


@st.composite
def kinds(draw: st.DrawFn) -> tuple[Any, st.SearchStrategy[Any]]:
    """A type with values of it, perhaps a union."""
    chosen = draw(st.lists(st.sampled_from(list(VALUES)), min_size=1, max_size=2, unique=True))
    kind, values = chosen[0], VALUES[chosen[0]]
    for other in chosen[1:]:
        kind, values = kind | other, values | VALUES[other]
    return (kind | None, values | st.none()) if draw(st.booleans()) else (kind, values)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_what_the_old_schema_accepts_passes_every_change_that_is_not_named(data: st.DataObject) -> None:
    (old_kind, values), (new_kind, _) = data.draw(kinds()), data.draw(kinds())
    old, new = schema(a=old_kind), schema(a=new_kind)
    value = {"a": data.draw(values)}
    jsonschema.validate(value, old)
    if not incompatibilities(old, new):
        jsonschema.validate(value, new)
