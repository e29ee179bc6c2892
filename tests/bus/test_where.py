"""Conditions on events."""

from __future__ import annotations

from typing import Any

import pytest

from stenobus_bus.where import Where

PAYLOAD = {
    "number": 7,
    "text": "seven of nine",
    "id": "0012",
    "on": True,
    "none": None,
    "at": "2026-03-01T10:00:00Z",
    "media": {"uri": "file:///talk.wav", "size": 1000},
    "segments": [{"speaker": "Ada", "words": [1, 2]}, {"speaker": "Bo", "words": []}],
}
ATTRIBUTES = {"id": "17", "source": "acme/gateway", "type": "stenobus.test.ping.v1"}
HEADERS = {"Acme-Tenant": "north", "ce-id": "17"}


def holds(text: str, payload: Any = PAYLOAD) -> bool:
    return Where.parse(text).holds(payload, ATTRIBUTES, HEADERS)


@pytest.mark.parametrize(
    "text",
    [
        "number = 7",
        "number=7.0",
        "$.number >= 7",
        "number < 7.5",
        "number != 8",
        "text = seven of nine",
        'text = "seven of nine"',
        "text ~ of",
        "id = 0012",
        'id = "0012"',
        "on = true",
        "none = null",
        "at >= 2026-03-01",
        "media.uri ~ talk",
        "media ~ uri",
        "media.size <= 1000",
        "segments[0].speaker = Ada",
        "segments[*].speaker = Bo",
        "segments[*].speaker > Alan",
        "segments[0].words ~ 2",
        "missing != 1",
        "segments[*].speaker != Cy",
        "ce-id = 17",
        "ce-id > 9",
        "ce-source ~ gateway",
        "header:acme-tenant = north",
    ],
)
def test_holds(text: str) -> None:
    assert holds(text)


@pytest.mark.parametrize(
    "text",
    [
        "number = 8",
        'number = "7"',
        "number = true",
        "on = 1",
        "number > 7",
        "number ~ 7",
        "number > a",
        "text ~ eight",
        "text > 1",
        "media > 1",
        "segments[2].speaker = Ada",
        "segments[*].speaker != Ada",
        "segments.speaker = Ada",
        "number.more = 7",
        "missing = null",
        "missing < 1",
        "ce-nothing = 1",
        "header:nothing ~ n",
        "header:acme-tenant != north",
    ],
)
def test_does_not_hold(text: str) -> None:
    assert not holds(text)


@pytest.mark.parametrize("payload", [None, [], 7, "text"])
def test_a_payload_of_another_shape_matches_nothing(payload: Any) -> None:
    assert not holds("number = 7", payload)
    assert holds("ce-id = 17", payload)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("number", "is no condition"),
        ("", "is no condition"),
        ("= 7", "is no condition"),
        ("number =", "has no value"),
        ("a..b = 1", "'a..b' is no path"),
        ("a[x] = 1", "is no path"),
        ("a[ = 1", "is no path"),
        ("ce- = 1", "is no path"),
        ("header: = 1", "is no path"),
    ],
)
def test_a_bad_condition_is_refused_with_a_reason(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why.replace("[", r"\[")):
        Where.parse(text)
