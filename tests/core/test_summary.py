"""What people read when a job is done."""

from __future__ import annotations

from pathlib import Path

import pytest

from stenobus_core.cli.summary import _place
from stenobus_core.file_store import file_uri


def test_places_are_written_as_people_type_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert _place(file_uri(tmp_path / "out" / "a ä.md")) == "out/a ä.md"
    assert _place("file:///elsewhere/a%20b.md") == "/elsewhere/a b.md"
    assert _place("s3://results/a%20b.md") == "s3://results/a%20b.md"
