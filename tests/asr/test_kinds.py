"""Recordings are heard, transcripts passed on, everything else left to other plugins."""

from __future__ import annotations

import pytest

from stenobus_asr.kinds import Kind, kind_by_content, kind_by_name
from stenobus_contracts import Media


@pytest.mark.parametrize(
    ("uri", "content_type", "kind"),
    [
        ("file:///talk.wav", None, Kind.RECORDING),
        ("file:///TALK.MP4", None, Kind.RECORDING),
        ("file:///a%20talk.m4a", None, Kind.RECORDING),
        ("nats://stenobus/0a1b", "audio/mpeg", Kind.RECORDING),
        ("nats://stenobus/0a1b", "video/webm; codecs=vp9", Kind.RECORDING),
        ("s3://bucket/talk.mkv", "application/octet-stream", Kind.RECORDING),
        ("s3://bucket/talk.mp4", "application/mp4", Kind.RECORDING),
        ("file:///talk.json", None, Kind.TRANSCRIPT),
        ("file:///talk.srt", "text/plain", Kind.TRANSCRIPT),
        ("nats://stenobus/0a1b", "text/vtt", Kind.TRANSCRIPT),
        ("nats://stenobus/0a1b", "text/plain", Kind.TRANSCRIPT),
        ("file:///notes.md", "text/plain", Kind.OTHER),
        ("file:///page.html", "text/html", Kind.OTHER),
        ("file:///scan.pdf", None, Kind.OTHER),
        ("nats://stenobus/0a1b", "image/png", Kind.OTHER),
        ("nats://stenobus/0a1b", None, None),
        ("nats://stenobus/0a1b", "application/octet-stream", None),
        ("file:///talk.final", None, None),
    ],
)
def test_media_type_and_name_tell_the_kind(uri: str, content_type: str | None, kind: Kind | None) -> None:
    assert kind_by_name(Media(uri=uri, content_type=content_type)) is kind


def test_the_name_a_producer_gave_counts_before_the_address() -> None:
    assert kind_by_name(Media(uri="nats://stenobus/0a1b.bin", name="talk.ogg")) is Kind.RECORDING


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"%PDF-1.7", Kind.OTHER),
        (b"\x89PNG\r\n", Kind.OTHER),
        (b"RIFF\x10\0\0\0WEBPVP8 ", Kind.OTHER),
        (b"PK\3\4", Kind.OTHER),
        (b"<!doctype html><html>", Kind.OTHER),
        (b"RIFF\x10\0\0\0WAVEfmt ", Kind.RECORDING),
        (b"OggS\0\2", Kind.RECORDING),
        (b"\xff\xfb\x90\0\1\2", Kind.RECORDING),
        (b'{"results": {}}', Kind.TRANSCRIPT),
        ("\ufeffWEBVTT\n\n00:01".encode(), Kind.TRANSCRIPT),
        ("1\r\n00:00:01,000 --> 00:00:02,000\r\nGrüße".encode("utf-16"), Kind.TRANSCRIPT),
        ("Grüße".encode()[:-1] + "ß".encode()[:1], Kind.TRANSCRIPT),
        (b"The disk was full.", Kind.TRANSCRIPT),
    ],
)
def test_the_first_bytes_tell_the_kind(head: bytes, kind: Kind) -> None:
    assert kind_by_content(head) is kind
