"""From the page that shows an action to its button: signed, for one key and one button, and for a few minutes.

The browser keeps nothing that it would send along by itself, as it does with cookies and passwords: a page of somebody
else's can press no button here.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from typing import Final

#: Seconds in which the button has to be pressed.
HOLDS: Final = 600
_SAID: Final = re.compile(r"([1-9][0-9]{0,11})\.([0-9a-z]{1,32})\.([0-9a-f]{64})")


class Confirmations:
    """Gives and takes them.

    Args:
        key: of approvals, from which a key of their own follows: what is signed here approves nothing by itself.
    """

    def __init__(self, key: bytes) -> None:
        self._key = hmac.digest(key, b"the button of the approval page", hashlib.sha256)

    def give(self, key_id: str, what: str) -> str:
        """For whoever has shown a key, and one button: see :func:`..actions.approvals.name`."""
        expires = int(time.time()) + HOLDS
        return f"{expires}.{key_id}.{self._signature(expires, key_id, what)}"

    def taken(self, said: str, what: str) -> str | None:
        """The id of the key that was shown; None when it does not hold."""
        found = _SAID.fullmatch(said)
        if found is None or int(found[1]) <= time.time():
            return None
        same = hmac.compare_digest(found[3], self._signature(int(found[1]), found[2], what))
        return found[2] if same else None

    def _signature(self, expires: int, key_id: str, what: str) -> str:
        return hmac.new(self._key, f"{expires}\n{key_id}\n{what}".encode(), hashlib.sha256).hexdigest()
