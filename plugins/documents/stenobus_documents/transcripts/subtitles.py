"""SubRip (SRT) and WebVTT: cues with times, read by one grammar since SRT is the older, looser of the two."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from .form import Parsed, TranscriptError, Utterance, speaker
from .speakers import split_speakers

_STAMP = r"(?:(\d{1,3}):)?(\d{1,2}):(\d{1,2})(?:[.,](\d{1,3}))?"
_TIMING = re.compile(rf"^[ \t]*{_STAMP}[ \t]*-->[ \t]*{_STAMP}", re.MULTILINE)
_INLINE_STAMP = re.compile(r"<\d{1,3}:\d{2}(?::\d{2})?\.\d{3}>")
_VOICE = re.compile(r"<v(?:\.[^\s>]*)?\s+([^>]{1,80})>")
_TAG = re.compile(r"</?(?:[bicuv]|ruby|rt|lang|font|c\.[^>\s]*)(?:[\s.][^>]*)?>|\{\\[^}]*\}", re.IGNORECASE)
_BLOCK = re.compile(r"^(NOTE|STYLE|REGION)(\s|$)")


def recognises(text: str) -> bool:
    """True when there is a WEBVTT header or a cue's timing line near the beginning."""
    return text.lstrip("\ufeff \r\n").startswith("WEBVTT") or _TIMING.search(text[:20_000]) is not None


def parse(text: str) -> Parsed:
    """Read the cues; tags go, voices become speakers, the rolling repeats of automatic captions are said once.

    Raises:
        TranscriptError: there is a header but no cue.
    """
    vtt = text.lstrip("\ufeff \r\n").startswith("WEBVTT")
    rolling = _INLINE_STAMP.search(text) is not None
    cues = [_cue(lines, start, end) for start, end, lines in _cues(text)]
    if not cues:
        raise TranscriptError("The subtitle file has no cue in it; check that it was written to its end.")
    if rolling:
        _unroll(cues)
    said = split_speakers(["\n".join(lines) for lines, _ in cues])
    utterances: list[Utterance] = []
    for (label, words), (_, cue) in zip(said, cues, strict=True):
        cue.text = words
        cue.speaker = cue.speaker or label
        utterances.append(cue)
    return Parsed("vtt" if vtt else "srt", utterances)


def _cues(text: str) -> Iterator[tuple[float, float, list[str]]]:
    for block in re.split(r"\n[ \t]*\n", text):
        timing = _TIMING.search(block)
        if not timing or _BLOCK.match(block.lstrip()):
            continue
        while timing:  # a file that lost its blank lines still has its timing lines
            following = _TIMING.search(block, timing.end())
            body = block[timing.end() : following.start() if following else len(block)]
            lines = body.split("\n")[1:]
            if following and lines and lines[-1] == "":
                lines.pop()
                if lines and lines[-1].strip().isdigit():
                    lines.pop()
            yield _seconds(timing.groups()[:4]), _seconds(timing.groups()[4:]), lines
            timing = following


def _cue(lines: list[str], start: float, end: float) -> tuple[list[str], Utterance]:
    voice = next((found for found in map(_VOICE.search, lines) if found), None)
    words = [html.unescape(_TAG.sub("", _INLINE_STAMP.sub("", line))).strip() for line in lines]
    cue = Utterance("", start, max(start, end), speaker(html.unescape(voice[1])) if voice else None)
    return [word for word in words if word], cue


def _unroll(cues: list[tuple[list[str], Utterance]]) -> None:
    """Automatic captions show each line again while the next one is spoken: keep its first showing."""
    before: list[str] = []
    for lines, _ in cues:
        shown = list(lines)
        while lines and lines[0] in before:
            lines.pop(0)
        before = shown or before


def _seconds(parts: tuple[str | None, ...]) -> float:
    hours, minutes, whole, fraction = parts
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(whole or 0) + float(f"0.{fraction or 0}")
