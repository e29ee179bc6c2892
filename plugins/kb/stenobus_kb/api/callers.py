"""Who asks: the holder of an API key, or of a JSON Web Token that somebody trusted has signed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import jwt

from stenobus_core.http.door import Refused, presented
from stenobus_core.http.keys import PREFIX

from ..errors import KbError
from .keys import Keys

_ASYMMETRIC: Final = ["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA"]
#: Characters of a shared secret, at least: a shorter one can be guessed from a single token.
_SHORTEST: Final = 32
#: Seconds by which clocks may differ.
_LEEWAY: Final = 30
#: Collections and principals of one token, and characters of each.
_MOST: Final = 200
_LONGEST: Final = 200


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who may ask.

    Args:
        name: for logs and limits.
        collections: what may be searched; all when None.
        principals: who it is; None is the owner, who may find everything and ask for others.
        per_minute: requests a minute.
    """

    name: str
    collections: tuple[str, ...] | None = None
    principals: tuple[str, ...] | None = None
    per_minute: int = 600


class Tokens:
    """Reads JSON Web Tokens.

    Args:
        key: a PEM public key, or a secret of at least 32 characters. Which of the two it is decides which algorithms
            count: a token cannot choose.
        audience: what ``aud`` has to say.
        issuer: what ``iss`` has to say; anything when None.
        per_minute: requests a minute of each subject.

    Raises:
        KbError: the key is neither.
    """

    def __init__(self, key: str, audience: str, issuer: str | None, per_minute: int) -> None:
        self._audience, self._issuer, self._per_minute = audience, issuer, per_minute
        self._algorithms = _ASYMMETRIC if key.lstrip().startswith("-----BEGIN PUBLIC KEY") else ["HS256"]
        self._key = key.strip()
        if self._algorithms == ["HS256"] and (self._key.startswith("-----BEGIN") or len(self._key) < _SHORTEST):
            raise KbError(
                f"STENOBUS_KB_JWT_KEY is neither a PEM public key nor a secret of at least {_SHORTEST} characters."
            )

    def read(self, token: str) -> Caller:
        """Who a token speaks for.

        Without the claim ``collections`` there is nothing to search, and without ``principals`` there is what is for
        everybody.

        Raises:
            Refused: its signature, time, audience, issuer or claims are wrong.
        """
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=self._algorithms,
                audience=self._audience,
                issuer=self._issuer,
                leeway=_LEEWAY,
                options={"require": ["exp", "sub", "aud"]},
            )
        except jwt.PyJWTError as error:
            raise Refused(f"token: {error}") from error
        collections, principals = (_names(claims, claim) for claim in ("collections", "principals"))
        return Caller(f"jwt:{claims['sub']}"[:_LONGEST], collections, principals, self._per_minute)


class Door:
    """Lets callers in by the header ``Authorization: Bearer …`` or ``X-API-Key``.

    Args:
        keys: the API keys.
        tokens: None when no tokens are taken.
    """

    def __init__(self, keys: Keys, tokens: Tokens | None) -> None:
        self._keys, self._tokens = keys, tokens

    def caller(self, authorization: str | None, api_key: str | None) -> Caller:
        """Who asks.

        Raises:
            Refused: nobody known.
            KeysUnusable: the keys cannot be read.
        """
        found = presented(authorization, api_key)
        if not found.startswith(f"{PREFIX}_"):
            if self._tokens is None:
                raise Refused("not an API key, and no tokens are taken")
            return self._tokens.read(found)
        key = self._keys.find(found)
        if key is None:
            raise Refused("unknown, revoked or expired API key")
        return Caller(f"{key.name} ({key.id})", key.collections, key.principals, key.per_minute)


def _names(claims: dict[str, Any], claim: str) -> tuple[str, ...]:
    found = claims.get(claim, [])
    if (
        not isinstance(found, list)
        or len(found) > _MOST
        or not all(isinstance(name, str) and 0 < len(name) <= _LONGEST for name in found)
    ):
        raise Refused(f"token: {claim} is no list of at most {_MOST} names")
    return tuple(found)
