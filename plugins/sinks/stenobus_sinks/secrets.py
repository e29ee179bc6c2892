"""Secrets from where operators keep them: the environment or the settings, a file, AWS Secrets Manager."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from stenobus_core import PermanentError

#: Longest secret file in bytes: what is longer is the wrong file.
_MAX_BYTES: Final = 16 * 1024
_PATIENCE: Final = 5.0


def secret(name: str, value: SecretStr | None, file: Path | None, aws: str | None) -> str | None:
    """A secret; None when no place is given. No message ever holds any of it.

    Args:
        name: of the setting that holds it, for people; ``_FILE`` and ``_SECRET`` behind it name the other two.
        value: itself.
        file: holds it, and may end with a line break.
        aws: name or ARN in AWS Secrets Manager; behind ``#`` the key where its text is a JSON object.

    Raises:
        PermanentError: it cannot be read, or several places are given.
        RetryableError: AWS Secrets Manager cannot be reached.
    """
    given = [place for place in (value, file, aws) if place is not None]
    if len(given) > 1:
        raise PermanentError(f"Set one of {name}, {name}_FILE and {name}_SECRET, not several.")
    if file is not None:
        return _from_file(name, file)
    if aws is not None:
        return _from_aws(name, aws)
    return value.get_secret_value() if value is not None else None


def _from_file(name: str, file: Path) -> str:
    try:
        with file.open("rb") as opened:
            content = opened.read(_MAX_BYTES + 1)
        text = content.decode().strip()
    except OSError as error:
        raise PermanentError(f"{name}_FILE: {file} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError:
        raise PermanentError(f"{name}_FILE: {file} is no text.") from None
    if not text or len(content) > _MAX_BYTES:
        raise PermanentError(f"{name}_FILE: {file} is {'empty' if not text else 'too long for a secret'}.")
    return text


def _from_aws(name: str, place: str) -> str:
    from .aws import client, explained  # needs boto3

    id, _, key = place.partition("#")
    with explained(f"{name}_SECRET {id}", "there is no such secret", "secretsmanager:GetSecretValue"):
        found = client("secretsmanager", _PATIENCE, _PATIENCE).get_secret_value(SecretId=id)
    text = found.get("SecretString")
    if text is None:
        raise PermanentError(f"{name}_SECRET {id} holds bytes, not a text.")
    if not key:
        return str(text)
    try:
        return str(json.loads(text)[key])
    except (ValueError, KeyError, TypeError):
        raise PermanentError(f"{name}_SECRET {id} is no JSON object with the key {key}.") from None
