"""Budgets and used approvals, over restarts and with a clock of the test's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stenobus_executor.approval import LONGEST
from stenobus_executor.ledger import Budget, Ledger
from stenobus_executor.request import Refused


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def refused(ledger: Ledger, name: str, approved: str | None = None, kind: str = "restart") -> Refused:
    with pytest.raises(Refused) as said:
        ledger.spend(kind, name, approved)
    return said.value


def test_a_budget_comes_back_one_by_one(tmp_path: Path, clock: Clock) -> None:
    ledger = Ledger(tmp_path / "state", Budget(each=2, all=3, window=600), clock)
    ledger.spend("restart", "a")
    clock.now += 100
    ledger.spend("restart", "a")
    clock.now += 100
    said = refused(ledger, "a")
    assert (said.status, said.headers) == (429, {"Retry-After": "401"})
    ledger.spend("restart", "b")
    assert refused(ledger, "c").headers == {"Retry-After": "401"}
    clock.now += 399.5
    assert refused(ledger, "a").headers == {"Retry-After": "1"}
    clock.now += 0.5
    ledger.spend("restart", "a")
    assert refused(ledger, "b").headers == {"Retry-After": "101"}


def test_kinds_have_budgets_of_their_own(tmp_path: Path, clock: Clock) -> None:
    ledger = Ledger(tmp_path / "state", Budget(each=1, all=1), clock)
    ledger.spend("restart", "a")
    ledger.spend("limits", "a")
    assert refused(ledger, "b").status == refused(ledger, "b", kind="limits").status == 429


def test_no_budget_is_no_action(tmp_path: Path, clock: Clock) -> None:
    assert refused(Ledger(tmp_path / "state", Budget(each=0), clock), "a").headers == {"Retry-After": "600"}


def test_a_restart_of_the_executor_forgets_nothing(tmp_path: Path, clock: Clock) -> None:
    path, budget = tmp_path / "state", Budget(each=1)
    Ledger(path, budget, clock).spend("restart", "a", "act-1")
    clock.now += 599
    assert refused(Ledger(path, budget, clock), "a").status == 429
    clock.now += 1
    again = Ledger(path, budget, clock)
    assert refused(again, "a", "act-1").status == 409
    again.spend("restart", "a", "act-2")
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_approval_is_remembered_for_as_long_as_any_can_hold(tmp_path: Path, clock: Clock) -> None:
    ledger = Ledger(tmp_path / "state", Budget(), clock)
    ledger.spend("restart", "a", "act-1")
    ledger.spend("limits", "a", "act-1")
    ledger.spend("restart", "b", "act-1")
    clock.now += LONGEST - 1
    assert refused(ledger, "a", "act-1").status == 409
    clock.now += 1
    ledger.spend("restart", "a", "act-1")
    assert list(json.loads((tmp_path / "state").read_text())["used"]) == ["act-1\nrestart\na"]


def test_a_refusal_uses_nothing_up(tmp_path: Path, clock: Clock) -> None:
    ledger = Ledger(tmp_path / "state", Budget(each=1), clock)
    ledger.spend("restart", "a")
    assert refused(ledger, "a", "act-1").status == 429
    clock.now += 600
    ledger.spend("restart", "a", "act-1")


def test_what_cannot_be_written_does_not_count(tmp_path: Path, clock: Clock) -> None:
    folder = tmp_path / "gone"
    ledger = Ledger(folder / "state", Budget(each=1), clock)
    assert refused(ledger, "a", "act-1").status == 503
    folder.mkdir()
    ledger.spend("restart", "a", "act-1")


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"done": [1], "used": {}}', '{"done": [], "used": []}'])
def test_a_file_of_something_else_is_not_believed(tmp_path: Path, content: str) -> None:
    path = tmp_path / "state"
    path.write_text(content)
    with pytest.raises(ValueError, match="state"):
        Ledger(path, Budget())
