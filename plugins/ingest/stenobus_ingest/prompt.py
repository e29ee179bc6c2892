"""What a language model is asked about a document. The document is foreign text: it goes in as delimited data."""

from __future__ import annotations

from typing import Final

from stenobus_contracts import Message
from stenobus_core.foreign import DATA_RULE, delimited

#: Goes up with every change of the words below.
VERSION: Final = 1

_SYSTEM: Final = """\
You catalogue documents. You read one and answer with one JSON object that fits the given schema, and with nothing else.

- title: what the document calls itself; when it has no title, a plain one of at most twelve words.
- summary: three to five sentences that say what it is about and what follows from it, in the document's own language.
  Names, numbers and dates are copied exactly. Nothing is added that the document does not say.
- document_type: the one that fits best; other when none does.
- dates: every date that matters, at most 30. `date` is ISO 8601 (a day, a month or a year), `quote` the words of the
  document, copied letter by letter. A date whose quote is not in the document is thrown away.
- entities: people, organizations, places, products and the like that matter, at most 50. `name` is copied letter by
  letter; one that is not in the document is thrown away."""


def messages(name: str, text: str) -> tuple[Message, ...]:
    """The prompt. Equal arguments give equal messages, so that an answer is paid for once.

    Args:
        name: of the file.
        text: of the document, or both ends of it.
    """
    shown = "\n\n".join(delimited({"file": name, "document": text}).values())
    return (Message(role="system", content=f"{_SYSTEM}\n\n{DATA_RULE}"), Message(role="user", content=shown))


def both_ends(text: str, characters: int) -> str:
    """A text, or its beginning and its end where it is longer: two thirds and one third."""
    if len(text) <= characters:
        return text
    head = characters * 2 // 3
    left = len(text) - characters
    return f"{text[:head]}\n\n[… {left} characters left out …]\n\n{text[-(characters - head) :]}"
