#!/usr/bin/env python3
"""Speak script.txt with flite; write disk-full.ogg and disk-full.json, its transcript as AWS Transcribe would give it.

Needs the Debian package flite, and the Python packages av, numpy and pocketsphinx::

    python examples/recording/make_recording.py

flite is deterministic: the same script gives the same speech.
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from pocketsphinx import Config, Decoder

HERE = Path(__file__).parent
RATE = 16_000
VOICE = "rms"
#: Seconds of silence: before the talk, after a sentence, and at the end of a paragraph.
LEAD, SENTENCE, PARAGRAPH = 0.5, 0.6, 1.1
SPEAKER = "spk_0"

#: What is said aloud, and how a transcription service with a custom vocabulary writes it.
COMMANDS = {"d f": "df", "minus h": "-h", "l s o f": "lsof", "plus l one": "+L1"}
WRITTEN = COMMANDS | {
    "one hundred percent": "100%",
    "fifty": "50",
    "forty eight": "48",
    "four percent": "4%",
    "eighty percent": "80%",
    "log rotate": "logrotate",
}

Samples = npt.NDArray[np.int16]


@dataclass(frozen=True)
class Token:
    """A spoken word with its times in seconds, or a punctuation mark, which has none."""

    text: str
    start: float | None = None
    end: float | None = None


def speak(sentence: str) -> Samples:
    """The sentence as flite says it."""
    # flite takes an argument without a space for a file name
    command = ["flite", "-voice", VOICE, "-t", f" {sentence}", "-o", "/dev/stdout"]
    with wave.open(io.BytesIO(subprocess.run(command, check=True, capture_output=True).stdout)) as sound:
        assert (sound.getframerate(), sound.getnchannels(), sound.getsampwidth()) == (RATE, 1, 2)
        return np.frombuffer(sound.readframes(RATE * 60), dtype=np.int16)


def tokens(sentence: str, sound: Samples, offset: float) -> list[Token]:
    """Words with the times at which they are heard in ``sound``, and the punctuation between them."""
    marks = re.findall(r"[\w']+|[.,]", sentence)
    words = [mark for mark in marks if mark not in ".,"]
    decoder = Decoder(Config(lm=None, loglevel="ERROR"))
    decoder.set_align_text(" ".join(words).lower())
    decoder.start_utt()
    decoder.process_raw(sound.tobytes(), full_utt=True)
    decoder.end_utt()
    heard = [(s.start_frame / 100, (s.end_frame + 1) / 100) for s in decoder.seg() if s.word[0] not in "<["]
    assert len(heard) == len(words), sentence
    times = iter(heard)
    return [
        Token(mark) if mark in ".," else Token(mark, *(round(offset + second, 2) for second in next(times)))
        for mark in marks
    ]


def written(spoken: list[Token]) -> list[Token]:
    """Numbers and commands as they are written; the commas a speaker puts between a command's letters go."""
    result: list[Token] = []
    rest = list(spoken)
    while rest:
        for phrase, text in WRITTEN.items():
            length, taken = len(phrase.split()), 0
            found: list[Token] = []
            while taken < len(rest) and len(found) < length:
                if rest[taken].text != "," or not found:
                    found.append(rest[taken])
                taken += 1
            if [token.text.lower() for token in found] == phrase.split():
                if text in COMMANDS.values() and result and result[-1].text == ",":
                    result.pop()
                result.append(Token(text, found[0].start, found[-1].end))
                del rest[:taken]
                break
        else:
            result.append(rest.pop(0))
    return result


def transcribe_result(sentences: list[list[Token]]) -> dict[str, Any]:
    """The sentences in the format of an AWS Transcribe batch job with speaker labels."""
    items: list[dict[str, Any]] = []
    segments: list[dict[str, Any]] = []
    turns: list[dict[str, Any]] = []
    for number, sentence in enumerate(sentences):
        first = len(items)
        for token in sentence:
            item: dict[str, Any] = {
                "id": len(items),
                "type": "pronunciation",
                "alternatives": [{"confidence": "1.0", "content": token.text}],
                "speaker_label": SPEAKER,
            }
            if token.start is None:
                item |= {"type": "punctuation", "alternatives": [{"confidence": "0.0", "content": token.text}]}
            else:
                item |= {"start_time": str(token.start), "end_time": str(token.end)}
            items.append(item)
        timed = [item for item in items[first:] if "start_time" in item]
        span = {
            "start_time": timed[0]["start_time"],
            "end_time": timed[-1]["end_time"],
            "speaker_label": SPEAKER,
        }
        labels = [{key: item[key] for key in ("speaker_label", "start_time", "end_time")} for item in timed]
        segments.append({**span, "items": labels})
        ids = [item["id"] for item in items[first:]]
        turns.append({"id": number, "transcript": text(sentence), **span, "items": ids})
    return {
        "jobName": "disk-full",
        "accountId": "000000000000",
        "status": "COMPLETED",
        "results": {
            "language_code": "en-US",
            "transcripts": [{"transcript": " ".join(turn["transcript"] for turn in turns)}],
            "speaker_labels": {"speakers": 1, "segments": segments},
            "items": items,
            "audio_segments": turns,
        },
    }


def text(sentence: list[Token]) -> str:
    """The sentence as people read it."""
    return re.sub(r" ([.,])", r"\1", " ".join(token.text for token in sentence))


def encode(sound: Samples, path: Path) -> None:
    """Write Ogg Opus, 24 kbit/s."""
    with av.open(path, "w", format="ogg", options={"serial_offset": "1", "fflags": "+bitexact"}) as container:
        stream = container.add_stream("libopus", rate=RATE, layout="mono", options={"application": "voip"})
        stream.bit_rate = 24_000
        frame = av.AudioFrame.from_ndarray(sound.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = RATE
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)


def silence(seconds: float) -> Samples:
    """Nothing, for a while."""
    return np.zeros(round(seconds * RATE), dtype=np.int16)


def main() -> None:
    """Make the recording and its transcript."""
    parts, sentences = [silence(LEAD)], []
    for paragraph in (HERE / "script.txt").read_text(encoding="utf-8").split("\n\n"):
        for sentence in paragraph.splitlines():
            offset = sum(part.size for part in parts) / RATE
            sound = speak(sentence)
            sentences.append(written(tokens(sentence, sound, offset)))
            parts += [sound, silence(SENTENCE)]
        parts.append(silence(PARAGRAPH - SENTENCE))
    encode(np.concatenate(parts), HERE / "disk-full.ogg")
    result = json.dumps(transcribe_result(sentences), indent=1)
    (HERE / "disk-full.json").write_text(result + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
