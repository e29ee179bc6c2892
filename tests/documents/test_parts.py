"""What is too much for one question is asked about in parts, and the parts become one again."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stenobus_contracts import Evidence, Item, Outline, OutlineSection, ProblemRow
from stenobus_core.tokens import tokens_of
from stenobus_documents.asking import CutOff, halve, offered
from stenobus_documents.chunks import CEILING
from stenobus_documents.handing import item_line, row_line
from stenobus_documents.map import known_rows, share
from stenobus_documents.outline import complete, joined
from stenobus_documents.write import ANSWER, output_limit, parted, unrepeated


def item(number: int, kind: Any = "fact", text: str = "x") -> Item:
    return Item(id=f"I{number:03d}", kind=kind, text=text, evidence=Evidence(segments=("S0001",), quote=text))


def section(heading: str, *items: str) -> OutlineSection:
    return OutlineSection(heading=heading, items=items)


def size(items: Any, *, quote: bool = False) -> int:
    return sum(tokens_of(item_line(each, quote=quote)) + 1 for each in items)


# --- halves ----------------------------------------------------------------------------------------------------------


async def halved(count: int, fits: Any) -> tuple[list[list[int]], list[int], int]:
    left: list[int] = []
    asked = 0

    async def ask(parts: Any) -> list[int]:
        nonlocal asked
        asked += 1
        if not fits(parts):
            raise CutOff("too long")
        return list(parts)

    return await halve(range(count), ask, left), left, asked


async def test_what_fits_is_asked_once() -> None:
    assert await halved(9, lambda parts: True) == ([list(range(9))], [], 1)


async def test_halves_come_back_in_order() -> None:
    assert await halved(9, lambda parts: len(parts) < 4) == ([[0, 1], [2, 3], [4, 5], [6, 7, 8]], [], 7)


async def test_what_is_cut_off_as_an_eighth_is_left() -> None:
    answers, left, asked = await halved(64, lambda parts: 17 not in parts)
    assert left == list(range(16, 24)) and asked == 7
    assert sorted(sum(answers, left)) == list(range(64))


async def test_without_end_it_ends() -> None:
    assert await halved(1000, lambda parts: False) == ([], list(range(1000)), 15)
    assert await halved(1, lambda parts: False) == ([], [0], 1)


async def test_another_error_is_none_of_it() -> None:
    async def ask(parts: Any) -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        await halve([1, 2], ask, [])


# --- the matrix ------------------------------------------------------------------------------------------------------


def test_items_that_fit_are_one_part() -> None:
    items = [item(number) for number in range(1, 9)]
    assert share(items, size(items)) == [items]
    assert share([], 10) == []


@given(st.integers(0, 60), st.integers(0, 60), st.integers(100, 2000))
def test_parts_fit_the_budget_and_hold_everything(problems: int, others: int, budget: int) -> None:
    items = [item(number, "symptom" if number <= problems else "fact") for number in range(1, problems + others + 1)]
    parts = share(items, budget)
    assert {each.id for part in parts for each in part} == {each.id for each in items}
    for part in parts:
        assert size(part) <= budget
        assert [each.id for each in part] == sorted(each.id for each in part)
    if size(items[:problems]) <= budget // 2:
        assert all(set(items[:problems]) <= set(part) for part in parts), "a part does not know every problem"


def test_rows_of_unknown_items_go_and_rows_of_one_problem_are_one() -> None:
    rows = [
        ProblemRow(problem="I001", solution=("I002", "I009")),
        ProblemRow(problem="I001", solution=("I002", "I003", "I001"), debugging=("I003",)),
        ProblemRow(problem="I009"),
    ]
    matrix, warnings = known_rows(rows, {"I001", "I002", "I003"})
    assert [(row.problem, row.solution, row.debugging) for row in matrix.rows] == [
        ("I001", ("I002", "I003"), ("I003",))
    ]
    assert warnings == [
        "1 row dropped: it names a problem that was not extracted",
        "1 unknown item ids dropped from the matrix",
    ]
    assert row_line(matrix.rows[0]) == "I001: - / I003 / I002 I003 / -"


# --- the outline -----------------------------------------------------------------------------------------------------


def test_the_outline_forgets_nothing() -> None:
    sections = (section("Summary", "I002"), section("## All\nof it", "I002", "I001", "I001", "I777"), section("None"))
    outline, warnings = complete(
        Outline(title="T", sections=sections), [item(number) for number in (1, 2, 3)], "given", "Rest"
    )
    assert [(each.heading, each.items) for each in outline.sections] == [
        ("Summary", ("I002",)),
        ("All of it", ("I002", "I001")),
        ("Rest", ("I003",)),
    ]
    assert len(warnings) == 2


def test_sections_of_one_heading_become_one() -> None:
    parts = [
        Outline(title="First", sections=(section("The fix", "I001"), section("Risks", "I002"))),
        Outline(title="Second", sections=(section("the  FIX", "I003"), section("Rules", "I004"))),
    ]
    outline = joined(parts)
    assert outline.title == "First"
    assert [(each.heading, each.items) for each in outline.sections] == [
        ("The fix", ("I001", "I003")),
        ("Risks", ("I002",)),
        ("Rules", ("I004",)),
    ]


# --- the sections ----------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 400), max_size=40), st.integers(1, 300))
def test_a_section_is_cut_between_items(lengths: list[int], budget: int) -> None:
    items = [item(number, text="x" * length) for number, length in enumerate(lengths, start=1)]
    parts = parted(items, budget)
    assert [each for part in parts for each in part] == items
    assert all(len(part) == 1 or size(part, quote=True) <= budget for part in parts)


def test_the_longest_answer_is_that_of_the_shortest_model_that_may_be_asked() -> None:
    targets = [
        {"name": "small", "kind": "openai", "output_limit": 1000},
        {"name": "large", "kind": "openai", "output_limit": 9000},
        {"name": "silent", "kind": "openai", "output_limit": None},
        {"name": "extractive", "kind": "extractive", "output_limit": None},
    ]
    facts: dict[str, Any] = {"targets": targets}
    assert output_limit(facts, None) == 1000
    assert output_limit(facts, "large") == 9000
    assert output_limit(facts, "silent") == ANSWER
    assert output_limit({"targets": targets[3:]}, None) == CEILING
    assert output_limit({}, None) == CEILING


def test_a_line_may_come_again_but_not_for_ever() -> None:
    line = "The disk was full once more."
    text, dropped = unrepeated("\n".join([line] * 9))
    assert (text.count(line), dropped) == (3, 6)
    code = "\n".join(["```", *[line] * 9, "```"])
    for kept in ("- yes\n" * 9, code):
        assert unrepeated(kept) == (kept, 0)


# --- who is asked ----------------------------------------------------------------------------------------------------


def test_the_cache_asks_who_answers_and_not_how_they_are_today() -> None:
    def facts(**changes: Any) -> dict[str, Any]:
        target = {"name": "a", "kind": "openai", "model": "m", "health": {"state": "closed"}, "tokens_per_minute": 1}
        other = {"name": "b", "kind": "openai", "model": "n"}
        return {"targets": [{**target, **changes}, other], "default": "auto", "strategy": "cost"}

    assert offered(facts(), None) == offered(facts(health={"state": "open"}, tokens_per_minute=2), None)
    assert offered(facts(), None) != offered(facts(model="m2"), None)
    assert offered(facts(), None) != offered({**facts(), "default": "b"}, None)
    assert offered(facts(model="m2"), "b") == offered(facts(), "b")
    assert offered({"anything": 1}, None) == {"anything": 1}
