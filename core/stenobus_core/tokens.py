"""How many tokens a text takes, without a tokenizer: one estimate for whoever asks and whoever answers."""

from __future__ import annotations

import math
from typing import Final

#: Characters of ASCII in a token, and bytes of anything else. Measured on the vocabularies of GPT-4 and GPT-4o, the
#: estimate errs high for European languages and is about right for Chinese, Japanese and Korean.
ASCII_PER_TOKEN: Final = 3.5
BYTES_PER_TOKEN: Final = 3.0


def tokens_of(text: str) -> int:
    """Estimated tokens of a text; an estimate, labelled as such wherever it is shown."""
    if text.isascii():
        return math.ceil(len(text) / ASCII_PER_TOKEN)
    size = len(text.encode(errors="replace"))
    plain = len(text.encode("ascii", errors="ignore"))
    return math.ceil(plain / ASCII_PER_TOKEN + (size - plain) / BYTES_PER_TOKEN)
