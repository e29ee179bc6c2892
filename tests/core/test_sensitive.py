"""What nobody else needs to see of a text, masked for good. What is found is tested with the redaction of prompts."""

from __future__ import annotations

import pytest

from stenobus_core.sensitive import masked


def test_each_value_becomes_its_kind_and_the_rest_stays() -> None:
    text = "login of ana@example.com failed: password=hunter2 from 10.1.2.3, card 4111 1111 1111 1111, at 12:30:45"
    assert masked(text) == "login of [email] failed: password=[secret] from [ip], card [account], at 12:30:45"
    assert masked(text, ("secret",)) == text.replace("hunter2", "[secret]")


def test_what_lies_within_another_value_is_masked_with_it() -> None:
    found = masked("nats://user:s3cret-k3y@10.1.2.3:4222 token: ghp_abcdefghijklmnopqrstuv1234567890")
    assert "s3cret" not in found and "ghp_" not in found and "nats://user:" in found
    assert masked("") == "" and masked("nothing to hide") == "nothing to hide"


RANDOM = "q7RtZ2mXw9LkP4vBn8Yc"
HEX = "9f86d081884c7d659a2feaa0c55ad015"


@pytest.mark.parametrize(
    ("text", "without"),
    [
        (f"sync refused for acme_{HEX}", "sync refused for [secret]"),
        (f"sms over ZK{HEX} failed", "sms over [secret] failed"),
        (f"pushed as {RANDOM}{RANDOM}", "pushed as [secret]"),
        (f"state: {RANDOM}.v1.{RANDOM}-{RANDOM} is not allowed", "state: [secret] is not allowed"),
        ("signing with wJ4lrXUt9FEMI/K7MDE5G/bPx2fiCYzQ8w1A+9iV now", "signing with [secret] now"),
        (f"GET /a?sig={RANDOM}%3D 403", "GET /a?sig=[secret] 403"),
        (f"GET /back?code={HEX}&state=1", "GET /back?code=[secret]&state=1"),
        (f"Cookie: sid={HEX}; theme=dark", "Cookie: sid=[secret]; theme=dark"),
        (f"Authorization: Thing {HEX}", "Authorization: Thing [secret]"),
        ("exec mysql -u root -pX4!vu9+qWe -h db", "exec mysql -u root -p[secret] -h db"),
        ("exec curl -u backup:X4!vu9+qWe https://a", "exec curl -u backup:[secret] https://a"),
        ("jdbc:oracle:thin:scott/X4vu9qWe@//db:1521/x", "jdbc:oracle:thin:scott/[secret]@//db:1521/x"),
        ("db.example.com:5432:orders:app:X4vu9qWe", "db.example.com:5432:orders:app:[secret]"),
        ("> PASS X4vu9qWe", "> PASS [secret]"),
        ('acme="6d0f3b1a9c8e7d5f4a2b1c0d9e8f7a6b"', 'acme="[secret]"'),
    ],
)
def test_what_no_issuer_marks_is_found_by_its_shape_and_its_place(text: str, without: str) -> None:
    assert masked(text, ("secret",)) == without


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-21T20:06:53.172075Z container stn-eval-1234-ab12cd-worker died",
        "event_id=123e4567-e89b-12d3-a456-426614174000, run: eval-373fb403bf35",
        'File "/opt/lib/python3.11/site-packages/nats/aio/client.py", line 7, in _read_loop_2',
        f"sha256={HEX}{HEX}, etag: {HEX}, commit {HEX}, blob:nats://bucket/{HEX}{HEX}",
        '{"handler": "probe", "event": "event.dead", "attempts": 5, "timestamp": "2026-11-21T20:06:53.172075Z"}',
        f"image: acme-web:7b175d486acd, digest sha256:{HEX}{HEX}",
        "documents-extract-7d9f8b6c5-x2x4z restarted, model=gpt-4.1-mini-2025-04-14",
        "org.example.HttpClient2Factory.getHTTPSConnectionFromURLPool2 raised IllegalArgumentException",
        "docker run -p 8080:80 -u 1000:1000 --token-limit 4096, X-Amz-Content-Sha256 is missing",
        "$JS.API.CONSUMER.MSG.NEXT.EVAL.probe-2 in KV_stenobus_monitor at 1234567890123",
    ],
)
def test_digests_identifiers_and_names_stay_readable(text: str) -> None:
    assert masked(text, ("secret", "account")) == text
