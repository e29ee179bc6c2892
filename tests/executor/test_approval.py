"""An approval holds for one action, one kind and one container, for a while, and by one key."""

from __future__ import annotations

import hashlib
import hmac
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stenobus_executor.approval import LONGEST, ApprovalRefused, check, issue, read_key

KEY = bytes(range(32))
NOW = 1_800_000_000.0
SOON = NOW + 600
SAID = ("act-1", "restart", "stenobus_nats_1")


def token(expires: float = SOON, said: tuple[str, str, str] = SAID, key: bytes = KEY) -> str:
    return issue(key, *said, expires, now=NOW)


def test_it_is_written_as_documented() -> None:
    signature = hmac.new(KEY, b"act-1\nrestart\nstenobus_nats_1\n1800000600", hashlib.sha256).hexdigest()
    assert token() == f"v1.1800000600.{signature}"


def test_it_holds_until_it_expires() -> None:
    assert check(KEY, token(), *SAID, now=NOW) == SOON
    assert check(KEY, token(), *SAID, now=SOON - 1) == SOON
    for late in (SOON, SOON + 1):
        with pytest.raises(ApprovalRefused, match="expired"):
            check(KEY, token(), *SAID, now=late)


def test_the_clock_is_that_of_the_host() -> None:
    soon = int(time.time()) + 600
    assert check(KEY, issue(KEY, *SAID, soon), *SAID) == soon
    with pytest.raises(ApprovalRefused, match="expired"):
        issue(KEY, *SAID, time.time() - 1)


@pytest.mark.parametrize(
    "other",
    [("act-2", "restart", SAID[2]), ("act-1", "limits", SAID[2]), ("act-1", "restart", "stenobus_nats_2")],
)
def test_it_is_for_nothing_else(other: tuple[str, str, str]) -> None:
    with pytest.raises(ApprovalRefused, match="not for"):
        check(KEY, token(), *other, now=NOW)


def test_another_key_gives_none() -> None:
    with pytest.raises(ApprovalRefused, match="another key"):
        check(KEY, token(key=bytes(32)), *SAID, now=NOW)


def test_nobody_makes_it_last() -> None:
    version, expires, signature = token().split(".")
    with pytest.raises(ApprovalRefused):
        check(KEY, f"{version}.{int(expires) + 600}.{signature}", *SAID, now=NOW)


def test_it_holds_for_a_day_at_most() -> None:
    assert check(KEY, token(NOW + LONGEST), *SAID, now=NOW) == NOW + LONGEST
    with pytest.raises(ApprovalRefused, match="24 hours"):
        token(NOW + LONGEST + 1)
    far = int(NOW) + 2 * LONGEST
    early = issue(KEY, *SAID, far, now=far - 60)  # by somebody whose clock is wrong
    with pytest.raises(ApprovalRefused, match="24 hours"):
        check(KEY, early, *SAID, now=NOW)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (("", "restart", "a"), "id"),
        (("a" * 65, "restart", "a"), "id"),
        (("a\nrestart", "restart", "a"), "id"),
        (("a\n", "restart", "a"), "id"),
        (("a", "re start", "a"), "kind"),
        (("a", "restart", "../a"), "name"),
        (("a", "restart", "a\n1800000600"), "name"),
    ],
)
def test_what_cannot_be_said_cannot_be_approved(said: tuple[str, str, str], why: str) -> None:
    with pytest.raises(ApprovalRefused, match=why):
        token(said=said)
    with pytest.raises(ApprovalRefused, match=why):
        check(KEY, token(), *said, now=NOW)


@given(st.text(max_size=120) | st.from_regex(r"v1\.[0-9]{1,12}\.[0-9a-f]{64}"))
def test_no_other_text_is_an_approval(text: str) -> None:
    with pytest.raises(ApprovalRefused):
        check(KEY, text, *SAID, now=NOW)


@given(st.integers(0, len(token()) - 1), st.characters(codec="ascii"))
def test_every_character_counts(place: int, character: str) -> None:
    changed = token()[:place] + character + token()[place + 1 :]
    if changed != token():
        with pytest.raises(ApprovalRefused):
            check(KEY, changed, *SAID, now=NOW)


def test_a_key_comes_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"k" * 32 + b"\n")
    assert read_key(path) == b"k" * 32
    for content, why in ((b"", "has 0 bytes"), (b"k" * 31 + b"\n", "31 bytes"), (b"k" * 5000, "needs 32 to 4096")):
        path.write_bytes(content)
        with pytest.raises(ApprovalRefused, match=why):
            read_key(path)
    with pytest.raises(ApprovalRefused, match="cannot be read"):
        read_key(tmp_path / "none")
    with pytest.raises(ApprovalRefused, match="31 bytes"):
        issue(b"k" * 31, *SAID, SOON, now=NOW)
