"""The doctor says what would keep the monitor's hands still."""

from __future__ import annotations

from pathlib import Path

from stenobus_monitor.service import doctor
from stenobus_monitor.settings import Settings


def verdicts(**settings: object) -> dict[str, bool]:
    return {check.name: check.ok for check in doctor(Settings.load("monitor", **settings))}


def test_what_is_not_asked_for_is_no_trouble() -> None:
    assert all(verdicts().values())


def test_what_is_asked_for_has_to_be_there(tmp_path: Path) -> None:
    (short := tmp_path / "short").write_bytes(b"x" * 31)
    (key := tmp_path / "key").write_bytes(b"x" * 32)
    found = verdicts(executor=tmp_path / "none", approval_key=short, levels={"restrat": "automatic"})
    assert found == {"engine": True, "executor": False, "approvals": False, "levels": False}
    good = verdicts(approval_key=key, levels={"restart": "approve", "restart.plugin": "automatic", "limits": "propose"})
    assert all(good.values())
