"""Keys in their file: digests only, for their owner's eyes, seen at once by whoever reads them."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stenobus_core.http.keys import KeysUnusable
from stenobus_kb.api.keys import Keys


def test_a_key_opens_and_only_its_digest_is_stored(keys: Keys) -> None:
    presented = keys.add("app", ("documents",), (), 60)
    found = Keys(keys.path).find(presented)
    assert found is not None and (found.name, found.collections, found.principals) == ("app", ("documents",), ())
    assert presented.rpartition("_")[2] not in keys.path.read_text()
    assert keys.path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("change", ["last", "id", "prefix", "empty", "short"])
def test_anything_else_opens_nothing(keys: Keys, change: str) -> None:
    presented = keys.add("app", None, None, 60)
    prefix, name, secret = presented.split("_", 2)
    other = {
        "last": f"{prefix}_{name}_{secret[:-1]}{'A' if secret[-1] != 'A' else 'B'}",
        "id": f"{prefix}_{'0' * 12}_{secret}",
        "prefix": f"x_{name}_{secret}",
        "empty": f"{prefix}_{name}_",
        "short": name,
    }[change]
    assert keys.find(other) is None
    assert keys.find(presented) is not None


def test_a_revoked_or_expired_key_opens_nothing_in_a_server_that_runs(keys: Keys) -> None:
    server = Keys(keys.path)
    one, two = keys.add("one", None, None, 60), keys.add("two", None, None, 60)
    over = keys.add("over", None, None, 60, expires=datetime.now(UTC) - timedelta(seconds=1))
    assert server.find(one) and server.find(two) and server.find(over) is None
    assert keys.revoke(one.split("_")[1]) and keys.revoke("nobody") is None
    assert server.find(one) is None and server.find(two)


def test_keys_that_several_make_at_once_are_all_there(keys: Keys) -> None:
    made: list[str] = []
    threads = [
        threading.Thread(target=lambda: made.append(Keys(keys.path).add("many", None, None, 1))) for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == len(keys.all()) == 16 and all(map(keys.find, made))


def test_a_file_of_something_else_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "notes.json"
    path.write_text('{"notes": 1}')
    with pytest.raises(KeysUnusable, match="no file of API keys"):
        Keys(path).add("app", None, None, 1)
    assert path.read_text() == '{"notes": 1}'
