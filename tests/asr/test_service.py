"""The plugin on a real bus."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from stenobus_asr import plugin
from stenobus_bus import Bus, Envelope
from stenobus_contracts import AsrDone, BlobRef, DeadLetter, Media, MediaUploaded, Transcript
from stenobus_core import CoreSettings, Host, PluginError

from .conftest import SENTENCE
from .sounds import EXAMPLE, Samples, silence, write_wav

TIMEOUT = 30.0


class Producer:
    """Uploads media and hears what comes of it."""

    def __init__(self, bus: Bus, done: Any, dead: Any) -> None:
        self._bus, self.done, self.dead = bus, done, dead

    async def upload(self, media: Path | Media, **more: Any) -> None:
        if isinstance(media, Path):
            media = Media(uri=media.as_uri())
        event = MediaUploaded(media=media, **more)
        await self._bus.publish(event, Envelope.new(event, "test"))

    async def heard(self, media: Path | Media, **more: Any) -> AsrDone:
        await self.upload(media, **more)
        return AsrDone.model_validate_json((await self.done.next_msg(TIMEOUT)).data)

    async def refused(self, media: Path | Media, **more: Any) -> DeadLetter:
        await self.upload(media, **more)
        return DeadLetter.model_validate_json((await self.dead.next_msg(TIMEOUT)).data)

    async def transcript(self, done: AsrDone) -> Transcript:
        assert isinstance(done.transcript, BlobRef)
        parts = [chunk async for chunk in self._bus.objects.open(done.transcript.uri)]
        return Transcript.model_validate_json(b"".join(parts))


@pytest.fixture
async def producer(
    bus: Bus, settings: CoreSettings, whisper: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Producer]:
    monkeypatch.setenv("STENOBUS_ASR_MODEL", str(whisper))
    monkeypatch.setenv("STENOBUS_ASR_MAX_DURATION", "300")
    host = Host(settings, bus, [plugin])
    await host.start()
    done, dead = [await bus.nc.subscribe(subject) for subject in ("asr.done", "dlq.>")]
    yield Producer(bus, done, dead)
    await host.stop()


async def test_a_recording_is_heard(producer: Producer, tmp_path: Path, opening: Samples) -> None:
    path = write_wav(tmp_path / "talk.wav", opening)
    done = await producer.heard(path, title="A talk", document_language="pt", metadata={"team": "storage"})
    transcript = await producer.transcript(done)
    assert transcript.segments[0].text == SENTENCE
    assert (done.title, done.language, done.metadata) == ("A talk", "en", {"team": "storage"})
    assert done.document_language == "pt"
    assert done.media is not None and done.media.uri == path.as_uri() and done.media.duration_seconds == 10.0
    assert done.recognition is not None and done.recognition.engine == "faster-whisper"


async def test_a_recording_in_the_object_store_without_a_name_is_heard(
    producer: Producer, bus: Bus, tmp_path: Path, opening: Samples
) -> None:
    blob = await bus.objects.put(write_wav(tmp_path / "talk.wav", opening), "application/octet-stream")
    done = await producer.heard(Media(uri=blob.uri, sha256=blob.sha256))
    assert (await producer.transcript(done)).segments


async def test_the_same_recording_is_heard_once(producer: Producer, tmp_path: Path, opening: Samples) -> None:
    first = await producer.heard(write_wav(tmp_path / "talk.wav", opening))
    second = await producer.heard(write_wav(tmp_path / "copy.wav", opening))
    assert (second.transcript, second.recognition) == (first.transcript, first.recognition)


@pytest.mark.parametrize("name", ["disk-full.json", "script.txt"])
async def test_a_transcript_is_passed_on_as_it_is(producer: Producer, name: str) -> None:
    done = await producer.heard(EXAMPLE / name, title="A talk", language="en-US", document_language="es")
    assert done.transcript.uri == (EXAMPLE / name).as_uri()
    assert (done.recognition, done.media, done.title, done.language) == (None, None, "A talk", "en-US")
    assert done.document_language == "es"


async def test_a_transcript_without_a_name_is_passed_on(producer: Producer, bus: Bus) -> None:
    blob = await bus.objects.put(b"WEBVTT\n\n00:01.000 --> 00:02.000\nThe disk was full.\n", "application/octet-stream")
    assert (await producer.heard(Media(uri=blob.uri))).transcript.uri == blob.uri


async def test_what_other_plugins_read_is_left_to_them(producer: Producer, tmp_path: Path, opening: Samples) -> None:
    (tmp_path / "scan").write_bytes(b"%PDF-1.7\n")
    await producer.upload(tmp_path / "scan")
    await producer.upload(Media(uri="file:///nowhere/page.png"))
    await producer.heard(write_wav(tmp_path / "talk.wav", opening))
    assert producer.done.pending_msgs == producer.dead.pending_msgs == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "talk.wav is empty; upload it again."),
        (b"just words", "talk.wav is no recording that can be decoded; use WAV"),
        (None, "not"),
    ],
)
async def test_what_cannot_be_heard_goes_straight_to_the_dead_letters(
    producer: Producer, tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "talk.wav"
    if content is not None:
        path.write_bytes(content)
    letter = await producer.refused(path)
    assert (letter.reason, letter.attempts) == ("permanent", 1)
    assert message in letter.message and "\n" not in letter.message


async def test_silence_goes_straight_to_the_dead_letters(producer: Producer, tmp_path: Path) -> None:
    letter = await producer.refused(write_wav(tmp_path / "quiet.wav", silence(20)))
    assert letter.message == "No speech was found in quiet.wav (20 s of sound)."


async def test_a_recording_over_the_limit_goes_straight_to_the_dead_letters(producer: Producer, tmp_path: Path) -> None:
    letter = await producer.refused(write_wav(tmp_path / "long.wav", silence(301)))
    assert "longer than the limit of 5 minutes" in letter.message and "STENOBUS_ASR_MAX_DURATION" in letter.message


async def test_a_language_the_offline_engine_does_not_know_is_refused(
    bus: Bus, settings: CoreSettings, tmp_path: Path, opening: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STENOBUS_ASR_ENGINE", "pocketsphinx")
    host = Host(settings, bus, [plugin])
    await host.start()
    producer = Producer(bus, await bus.nc.subscribe("asr.done"), await bus.nc.subscribe("dlq.>"))
    letter = await producer.refused(write_wav(tmp_path / "talk.wav", opening), language="pt-BR")
    await host.stop()
    assert "hears English only" in letter.message and "STENOBUS_ASR_MODEL" in letter.message


async def test_a_model_that_is_not_there_stops_the_start(
    bus: Bus, settings: CoreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STENOBUS_ASR_MODEL", "/nowhere/model")
    with pytest.raises(PluginError, match="STENOBUS_ASR_MODEL names the folder /nowhere/model"):
        await Host(settings, bus, [plugin]).start()


def test_doctor_says_which_engine_would_hear(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = {check.name: check for check in plugin.check()}
    assert all(check.ok for check in checks.values())
    assert checks["engine"].detail.startswith("pocketsphinx")
    monkeypatch.setenv("STENOBUS_ASR_MODEL", "/nowhere/model")
    checks = {check.name: check for check in plugin.check()}
    assert not checks["engine"].ok and "does not exist" in checks["engine"].detail
