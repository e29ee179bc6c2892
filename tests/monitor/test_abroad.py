"""What a model elsewhere may read: ordinary words and small figures, and nothing that might be a secret."""

from __future__ import annotations

import ast
import re
import string
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import stenobus_monitor
from stenobus_monitor.abroad import Abroad
from stenobus_monitor.vocabulary import words

LETTERS, DIGITS = string.ascii_letters, string.digits
ALPHABETS = {
    "hex": "0123456789abcdef",
    "HEX": "0123456789ABCDEF",
    "base32": string.ascii_uppercase + "234567",
    "base58": "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz",
    "base62": LETTERS + DIGITS,
    "base64": LETTERS + DIGITS + "+/",
    "url": LETTERS + DIGITS + "-_",
    "letters": LETTERS,
    "small": string.ascii_lowercase,
    "capitals": string.ascii_uppercase,
    "small and digits": string.ascii_lowercase + DIGITS,
    "digits": DIGITS,
    "password": LETTERS + DIGITS + "!#%*+-",
    "dotted": LETTERS + DIGITS + ".:/-_",
}
#: Characters of a secret in a row that are as good as all of it.
PART = 12


@pytest.mark.parametrize("alphabet", ALPHABETS)
@pytest.mark.parametrize("around", ["refused for {} now", "key={};", "GET /a?x={}&y=1", '{{"k":"{}","n":1}}', "{}"])
@settings(derandomize=True, deadline=None, max_examples=100)
@given(seed=st.integers(0, 2**64), length=st.integers(PART, 60))
def test_nothing_that_a_generator_made_passes(alphabet: str, around: str, seed: int, length: int) -> None:
    token = "".join(Random(seed).choices(ALPHABETS[alphabet], k=length))
    seen = Abroad()(around.format(token))
    assert not any(token[at : at + PART] in seen for at in range(length - PART + 1)), (token, seen)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(chosen=st.lists(st.sampled_from(sorted(words())), min_size=1, max_size=11), last=st.sampled_from(".!?:"))
def test_ordinary_words_pass(chosen: list[str], last: str) -> None:
    # What follows these is a secret, be it a word.
    text = " ".join(word for word in chosen if not re.search("pass|pwd|secret|pin|otp|bearer", word)) + last
    assert Abroad()(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "died with exit code 137 after 2.5 s, 3 times since 12:30:45",
        "2026-11-21T20:06:53.172075Z WARN nats: Authorization Violation",
        'File "/usr/local/lib/python3.11/site-packages/nats/aio/client.py", line 1234, in _read_loop',
        "ConnectionRefusedError: [Errno 111] Connect call failed ('127.0.0.1', 4222)",
        "java.lang.OutOfMemoryError at org.example.http.HttpClientFactory.getConnectionFromPool",
        "PUT /v1/documents?limit=100 503 in 1.25s: upstream timed out (110: Connection timed out)",
        "memory 934.5MiB of 1024MiB (91%), cpu 0.8, 12 restarts in 10m",
        "kernel: Out of memory: Killed process 4711 (python3), exit status 0x8b",
        "failed to dial tcp 10.2.0.1:5432: no route to host",
        "12 × could not connect to <ip>, <num> attempts left <*>",
        "Failed password for root from 10.0.0.1 port 46577",
        "invalid token: expired",
    ],
)
def test_what_programs_usually_say_passes(text: str) -> None:
    assert Abroad()(text) == text


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("password=sunshine, try again", "password=[secret], try again"),
        ('{"db_password": "sunshine"}', '{"db_password": [secret]}'),
        ("clientSecret: sunshine", "clientSecret: [secret]"),
        ("the password is sunshine", "the password is [secret]"),
        ("login --password sunshine --retry", "login --password [secret] --retry"),
        ("mysql -u root -psunshine -h db", "mysql -u root -p[secret] -h db"),
        ("curl -u backup:sunshine https://example.com", "curl -u backup:[secret] https://example.com"),
        ("nats://app:sunshine@host:4222", "nats://[secret]@host:4222"),
        ("nats://app:sunshine@host/ab-1", "nats://[secret]@host/[word-1]"),
        ("oracle:thin:scott/tiger@//orders", "oracle:thin:scott/[secret]@//orders"),
        ("passphrase: correct horse battery staple", "passphrase: [secret]"),
        (
            "abandon ability able about above absent absorb abstract absurd abuse access accident",
            "[secret]",
        ),
        ("Authorization: Token sunshine", "Authorization: [secret]"),
        ("mail to ana@example.com", "mail to [email]"),
    ],
)
def test_an_ordinary_word_that_is_called_a_secret_does_not_pass(text: str, seen: str) -> None:
    assert "sunshine" in words()
    assert Abroad()(text) == seen


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("user xqzvbn failed", "user [word-1] failed"),
        ("key xqzvbn9 differs from 7xqzvbn, not xqzvbn9", "key [word-1] differs from [word-2], not [word-1]"),
        ("id 123e4567-e89b-12d3-a456-426614174000", "id [uuid-1]"),
        ("digest 9f86d081884c7d65 of 73475934", "digest [hex-1] of [number-1]"),
        ("/var/log/xqzvbn/error.log", "/var/log/[word-1]/error.log"),
        ("groups 4012 8888 8888 1883", "groups [number-1] [number-2] [number-2] [number-3]"),
        ("codes AB12 CD34 EF56", "codes [word-1] [word-2] [word-3]"),
        ("hunter2 or Sunshine123! but worker2 and python3", "[word-1] or [word-2]! but worker2 and python3"),
        ("a}x>Q(d;F:b", "[word-1]}[word-2]>[word-3]([word-4];[word-5]:[word-6]"),
        ("id aB1c", "id [word-1]"),
        ("id ab-cd-ef", "id [word-1]"),
        ("at sequence-123456", "at [word-1]"),
        ("/ab/xqzvbn/error", "/[word-1]/[word-2]/error"),
        ("what [word-1] and xqzvbn are", "what [[word-1]] and [word-2] are"),
        ("Zürich, 東京 and naïve", "[word-1], [word-2] and [word-3]"),
    ],
)
def test_what_is_hidden_has_one_placeholder_that_says_its_kind(text: str, seen: str) -> None:
    assert Abroad()(text) == seen


def test_placeholders_are_the_same_over_all_texts_of_a_request_and_mean_nothing_in_another() -> None:
    abroad = Abroad()
    assert [abroad(text) for text in ("xqzvbn is gone", "who is zzqvx?", "xqzvbn: gone")] == [
        "[word-1] is gone", "who is [word-2]?", "[word-1]: gone",
    ]  # fmt: skip
    assert Abroad()("who is zzqvx?") == "who is [word-1]?"


def test_names_of_components_pass_and_those_that_a_generator_or_a_publisher_made_do_not() -> None:
    made = ("x9f86d081884c7d65", "pod-123e4567-e89b-12d3-a456-426614174000", "zqxvbnwrtpzqxvbnwrtpzqxvbnwrtp")
    names = ("container:stn_xqzvbn_1", *(f"container:{each}" for each in made), "run:zzqvx", "handler:acme-kb.zzyzx")
    seen = Abroad(names)(f"stn_xqzvbn_1 and acme-kb.zzyzx need zzqvx, {', '.join(made)}; container:stn_xqzvbn_1 died")
    assert (
        seen
        == "stn_xqzvbn_1 and acme-kb.zzyzx need [word-1], [word-2], [word-3], [word-4]; container:stn_xqzvbn_1 died"
    )


def test_what_the_monitor_says_itself_passes() -> None:
    texts = [
        part.value
        for file in sorted((Path(stenobus_monitor.__file__).parent / "rules").glob("*.py"))
        for node in ast.walk(ast.parse(file.read_text()))
        for part in (node.values if isinstance(node, ast.JoinedStr) else ())
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    ]
    assert len(texts) > 50
    assert [Abroad()(text) for text in texts] == texts
