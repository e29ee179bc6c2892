"""Mark what is no content: sounds, fillers, greetings, repeats. Nothing is deleted and no text is changed."""

from __future__ import annotations

import re
from collections.abc import Sequence

from stenobus_contracts import Segment, Transcript

#: A small-talk phrase counts only in a short utterance: "thanks, now run the migration" is content.
SMALL_TALK_WORDS = 10

#: Nobody says the same sentence of some words more often than so in a row; recognisers do, where there is only noise.
MOST_IN_A_ROW, LOOPED_WORDS = 3, 3

_SOUND = re.compile(r"(\s*(\[[^\]]{1,40}\]|\([^)]{1,40}\)|<[^>]{1,40}>|[♪♫#*~_.\-…]+))+\s*")
_SPOKEN_TAG = re.compile(r"[\[(<](PII|NAME|EMAIL|ADDRESS|PHONE|SSN|PIN|\w*\d\w*|REDACTED)\b", re.IGNORECASE)
_FILLER = re.compile(
    r"(?:\W*(?:u+h+m*|u+m+|h+m+|a+h+|e+r+m*|mm+|mhm|uh-huh|huh|oh|eh+|né|este|pues|bom|então|tipo)\b)+\W*",
    re.IGNORECASE,
)
_SMALL_TALK = re.compile(
    r"""(?ix) \W* (?: (?:
      hello | hi | hey | good\ (?:morning|afternoon|evening) | welcome(?:\ (?:back|everyone|all))? | bye | goodbye
      | see\ you | (?:so\ )?thank(?:s|\ you)(?:\ (?:so|very)\ much|\ a\ lot|\ (?:everyone|all))?
      | thank(?:s|\ you)\ for\ (?:watching|joining|listening|coming)
      | can\ (?:you|everyone|everybody)\ (?:all\ )?(?:hear|see)\ (?:me|my\ screen|us)
      | (?:let's|let\ us)\ wait\ (?:a\ (?:bit|minute|moment))?(?:\ ?for\ (?:the\ )?others)?
      | how\ are\ you(?:\ (?:doing|today))*
      | have\ a\ (?:nice|good|great)\ (?:day|weekend|evening) | take\ care | you(?:'re|\ are)\ welcome
      | everyone | everybody | folks | guys | all | today | again | and | so | ok | okay | yeah | right | great | please

      | olá | oi | bom\ dia | boa\ (?:tarde|noite) | bem[- ]vind[oa]s? | obrigad[oa](?:\ a\ todos)? | tchau
      | até\ (?:logo|mais)
      | (?:vocês\ )?(?:estão|conseguem|dá\ para)\ me\ (?:ouvindo|ouvir) | tudo\ (?:bem|bom) | pessoal | gente

      | hola | buenos\ días | buenas\ (?:tardes|noches) | bienvenid[oa]s? | (?:muchas\ )?gracias(?:\ a\ todos)? | adiós
      | hasta\ (?:luego|pronto) | ¿?me\ (?:escuchan|oyen|oís) | ¿?(?:cómo|qué\ tal)(?:\ están)? | a\ todos | todos
    ) \b \W* )+"""
)
_CONTENT = re.compile(r"\d|[/\\=_@`$]|\w\.\w")


def mark(transcript: Transcript) -> Transcript:
    """The transcript with ``kind`` set on every segment; a mark that is there already stays."""
    again = _repeated(transcript.segments)
    return transcript.model_copy(
        update={
            "segments": tuple(
                segment
                if segment.kind != "speech"
                else segment.model_copy(update={"kind": "noise" if segment.id in again else kind(segment)})
                for segment in transcript.segments
            )
        }
    )


def _repeated(segments: Sequence[Segment]) -> frozenset[str]:
    """Ids of segments that were heard before: the same words at the same time, or a recogniser that goes in circles."""
    found: set[str] = set()
    seen: set[tuple[object, ...]] = set()
    row = 0
    before = ""
    for segment in segments:
        key = (segment.text, segment.start, segment.end, segment.speaker)
        row = row + 1 if segment.text == before else 1
        before = segment.text
        looped = row > MOST_IN_A_ROW and len(segment.text.split()) >= LOOPED_WORDS
        if looped or (segment.start is not None and segment.end != segment.start and key in seen):
            found.add(segment.id)
        seen.add(key)
    return frozenset(found)


def kind(segment: Segment) -> str:
    """noise, small_talk, or speech in every case of doubt."""
    text = segment.text
    if len(text) > 200 or _SPOKEN_TAG.search(text):
        return "speech"
    if _SOUND.fullmatch(text) or _FILLER.fullmatch(text) or not any(letter.isalnum() for letter in text):
        return "noise"
    if _CONTENT.search(text) or len(text.split()) > SMALL_TALK_WORDS:
        return "speech"
    return "small_talk" if _SMALL_TALK.fullmatch(text) else "speech"
