"""Tokens: only those that somebody trusted has signed, for us, and for now."""

from __future__ import annotations

import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from stenobus_core.http.door import Refused
from stenobus_kb.api.callers import Tokens
from stenobus_kb.errors import KbError

from .conftest import SECRET


def claims(**changes: Any) -> dict[str, Any]:
    whole = {
        "sub": "ana", "aud": "stenobus", "iss": "https://issuer", "exp": time.time() + 60, "collections": ["documents"],
        "principals": ["group:board"],
    }  # fmt: skip
    return {name: value for name, value in (whole | changes).items() if value is not None}


def tokens(key: str = SECRET) -> Tokens:
    return Tokens(key, "stenobus", "https://issuer", 10)


def pair() -> tuple[str, str]:
    private = ec.generate_private_key(ec.SECP256R1())
    hidden = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hidden.decode(), public.decode()


def test_a_token_says_who_asks_and_what_it_may_see() -> None:
    caller = tokens().read(jwt.encode(claims(), SECRET, "HS256"))
    assert (caller.name, caller.collections, caller.principals) == ("jwt:ana", ("documents",), ("group:board",))
    little = tokens().read(jwt.encode(claims(collections=None, principals=None), SECRET, "HS256"))
    assert (little.collections, little.principals) == ((), ())


def test_a_token_of_a_public_keys_holder_counts() -> None:
    hidden, public = pair()
    assert tokens(public).read(jwt.encode(claims(), hidden, "ES256")).name == "jwt:ana"
    other, _ = pair()
    with pytest.raises(Refused):
        tokens(public).read(jwt.encode(claims(), other, "ES256"))


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": time.time() - 7200}, {"exp": None}, {"aud": "other"}, {"aud": None}, {"iss": "https://other"},
        {"sub": None}, {"nbf": time.time() + 7200}, {"collections": "documents"}, {"principals": [1]},
        {"collections": [""]}, {"principals": ["x"] * 1000},
    ],
)  # fmt: skip
def test_a_wrong_claim_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        tokens().read(jwt.encode(claims(**changes), SECRET, "HS256"))


def test_a_token_cannot_choose_how_it_is_checked() -> None:
    _, public = pair()
    with pytest.raises(Refused):
        tokens().read(jwt.encode(claims(), None, "none"))
    with pytest.raises(Refused):
        tokens().read(jwt.encode(claims(), SECRET + "x", "HS256"))
    # The public key is no secret: what is signed with it as if it were one counts for nothing.
    forged = jwt.api_jws.PyJWS()
    forged._algorithms["HS256"].prepare_key = lambda key: key.encode()  # type: ignore[method-assign,attr-defined,union-attr]
    body = jwt.api_jwt.PyJWT()._encode_payload(claims())
    with pytest.raises(Refused):
        tokens(public).read(forged.encode(body, public, "HS256"))


@pytest.mark.parametrize("key", ["short", "", "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----"])
def test_a_key_that_protects_nothing_is_refused(key: str) -> None:
    with pytest.raises(KbError, match="STENOBUS_KB_JWT_KEY"):
        tokens(key)
