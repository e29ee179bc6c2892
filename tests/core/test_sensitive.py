"""What nobody else needs to see of a text, masked for good. What is found is tested with the redaction of prompts."""

from __future__ import annotations

from stenobus_core.sensitive import masked


def test_each_value_becomes_its_kind_and_the_rest_stays() -> None:
    text = "login of ana@example.com failed: password=hunter2 from 10.1.2.3, card 4111 1111 1111 1111, at 12:30:45"
    assert masked(text) == "login of [email] failed: password=[secret] from [ip], card [account], at 12:30:45"
    assert masked(text, ("secret",)) == text.replace("hunter2", "[secret]")


def test_what_lies_within_another_value_is_masked_with_it() -> None:
    found = masked("nats://user:s3cret-k3y@10.1.2.3:4222 token: ghp_abcdefghijklmnopqrstuv1234567890")
    assert "s3cret" not in found and "ghp_" not in found and "nats://user:" in found
    assert masked("") == "" and masked("nothing to hide") == "nothing to hide"
