"""Words of Spanish, Portuguese and English: which of them tell nothing, and what is left of one without its ending.

No language is detected: a query of three words does not show its own, and one index holds several.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final

_STOP = """
a about al an and ante ao aos are as at be been but by can com como con cual cuales cuando da das de del desde did do
does donde dos e el ela ele eles em en entre era es esa ese eso esta estan estao estas este esto estos eu fica for foi
from fue had has hasta have hay he how i if in is isso it its la las le lhe lo los mais mas me mi minha mis more mucho
muito my na nao nas nem no nos nossa not of on onde or os ou our para pela pelo pero por porque posso puedo pode pra
puede que quem quien se sem ser si sim sin sobre so son su sua suas sus tambem tambien te tem tengo ter that the
their them there these they this those to tu u um uma un una uns uno unos was we were what when where which who why will
with y ya yo you your
"""
STOP_WORDS: Final = frozenset(_STOP.split())
#: Endings of number, gender and the commonest derivations, longest first; what is left is a beginning of the word.
_ENDINGS: Final = sorted((
    "amientos", "imientos", "amiento", "imiento", "iones", "mente", "ments", "ment", "ions", "ings", "oes", "ion",
    "ies", "ing", "ado", "ada", "ido", "ida", "ados", "adas", "idos", "idas", "ao", "ed", "es", "os", "as", "s", "o",
    "a", "e", "y",
), key=len, reverse=True)  # fmt: skip
_SHORTEST: Final = 3
_WORD: Final = re.compile(r"[^\W_]+")


def fold(text: str) -> str:
    """Text in small letters without accents."""
    if text.isascii():
        return text.lower()
    return "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))


def words(text: str) -> list[str]:
    """The folded words of a text, numbers included."""
    return _WORD.findall(fold(text))


@lru_cache(maxsize=65_536)
def stem(word: str) -> str:
    """A folded word without its ending: always a beginning of the word, of three letters at least."""
    if word[-1:].isdigit():
        return word
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _SHORTEST:
            return word[: -len(ending)]
    return word
