"""Every upload is of one kind, and so taken by one plugin."""

from __future__ import annotations

import pytest

from stenobus_contracts import Media, MediaUploaded
from stenobus_core.kinds import Kind, kind_by_content, kind_by_name, kind_of


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
        ("file:///notes.md", "text/plain", Kind.DOCUMENT),
        ("file:///page.html", "text/html", Kind.DOCUMENT),
        ("file:///scan.pdf", None, Kind.DOCUMENT),
        ("file:///letter", "message/rfc822", Kind.DOCUMENT),
        ("file:///plan", "application/vnd.oasis.opendocument.text", Kind.DOCUMENT),
        ("file:///feed.xml", "text/xml", Kind.OTHER),
        ("nats://stenobus/0a1b", "image/png", Kind.IMAGE),
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
        (b"%PDF-1.7", Kind.DOCUMENT),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Kind.DOCUMENT),
        (b"\x89PNG\r\n", Kind.IMAGE),
        (b"RIFF\x10\0\0\0WEBPVP8 ", Kind.IMAGE),
        (b"PK\3\4", Kind.DOCUMENT),
        (b"<!doctype html><html>", Kind.DOCUMENT),
        (b"<?xml version='1.0'?><rss>", Kind.OTHER),
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


def test_what_the_producer_says_counts_before_type_and_name() -> None:
    media = Media(uri="file:///minutes.txt", content_type="text/plain")
    assert kind_of(MediaUploaded(media=media)) is Kind.TRANSCRIPT
    assert kind_of(MediaUploaded(media=media, kind="document")) is Kind.DOCUMENT
