"""The internal form: a Transcript as JSON, as the speech engines store it."""

from __future__ import annotations

import re

from pydantic import ValidationError

from stenobus_contracts import Transcript

from .form import Parsed, TranscriptError, Utterance, language, mapping, objects

_ID = re.compile(r"S\d{4,}")


def recognises(document: object) -> bool:
    """True when every segment carries an id such as S0001."""
    segments = objects(mapping(document).get("segments"))
    return bool(segments) and all(_ID.fullmatch(str(segment.get("id"))) for segment in segments)


def parse(document: object) -> Parsed:
    """Read it back.

    Raises:
        TranscriptError: a segment does not fit the contract.
    """
    try:
        transcript = Transcript.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise TranscriptError(f"The transcript's {where} is wrong ({first['msg']}); write it again.") from None
    utterances = [
        Utterance(
            segment.text,
            segment.start,
            segment.end,
            segment.speaker,
            segment.confidence,
            segment.kind,
            segment.words,
        )
        for segment in transcript.segments
    ]
    return Parsed("stenobus", utterances, language(transcript.language), transcript.duration_seconds)
