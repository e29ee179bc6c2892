"""The example recording: sound, script and AWS Transcribe result belong together."""

from __future__ import annotations

import json
import re

import numpy as np

from .sounds import EXAMPLE, RATE, Samples

SCRIPT = (EXAMPLE / "script.txt").read_text()
RESULTS = json.loads((EXAMPLE / "disk-full.json").read_text())["results"]
SPOKEN = {
    "df": "d f", "-h": "minus h", "lsof": "l s o f", "+L1": "plus l one", "logrotate": "log rotate",
    "48": "forty eight", "50": "fifty", "4%": "four percent", "80%": "eighty percent", "100%": "one hundred percent",
}  # fmt: skip


def plain(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


def test_the_transcript_says_what_the_script_says() -> None:
    words = [item["alternatives"][0]["content"] for item in RESULTS["items"] if item["type"] == "pronunciation"]
    assert plain(" ".join(SPOKEN.get(word, word) for word in words)) == plain(SCRIPT)


def test_its_parts_agree() -> None:
    text = RESULTS["transcripts"][0]["transcript"]
    assert text == " ".join(segment["transcript"] for segment in RESULTS["audio_segments"])
    assert len(RESULTS["audio_segments"]) == len([line for line in SCRIPT.splitlines() if line])
    assert [item["id"] for item in RESULTS["items"]] == list(range(len(RESULTS["items"])))
    assert "run the command df -h." in text and "lsof +L1" in text


def test_its_times_fit_the_sound(talk: Samples) -> None:
    items = [item for item in RESULTS["items"] if item["type"] == "pronunciation"]
    edges = [float(item[key]) for item in items for key in ("start_time", "end_time")]
    assert edges == sorted(edges) and edges[-1] < talk.size / RATE
    loudness = np.abs(talk).mean()
    for before, after in zip(RESULTS["audio_segments"], RESULTS["audio_segments"][1:], strict=False):
        middle = round((float(before["end_time"]) + float(after["start_time"])) / 2 * RATE)
        assert np.abs(talk[middle - 1600 : middle + 1600]).mean() < loudness / 20
