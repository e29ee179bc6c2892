"""Clients of AWS, and what they raise as one sentence and as what to do with the event at hand."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from boto3.session import Session
from botocore import exceptions as aws
from botocore.config import Config

from stenobus_core import PermanentError, RetryableError

#: What passes by waiting: somebody else's job, a quota, a crowd.
BUSY: Final = {
    "ConflictException",
    "LimitExceededException",
    "RequestLimitExceeded",
    "ServiceQuotaExceededException",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
}
_CREDENTIALS: Final = {
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationTokenException",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}


class Busy(RetryableError):
    """A service is at work for somebody else, or has had enough for now: the same call works later."""


def client(service: str, connect_timeout: float, read_timeout: float, *, attempts: int = 4) -> Any:
    """A client; region, endpoint and credentials are boto3's own (``AWS_*``).

    Args:
        connect_timeout: seconds until a connection must stand.
        read_timeout: seconds the endpoint may stay silent.
        attempts: tries of one request.
    """
    return Session().client(
        service,
        region_name=os.environ.get("AWS_REGION"),  # boto3 itself knows AWS_DEFAULT_REGION only
        config=Config(
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            retries={"mode": "standard", "total_max_attempts": attempts},
        ),
    )


def code(error: aws.ClientError) -> str:
    """The name of the error that the endpoint answered with."""
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def explained(what: str, missing: str = "it does not exist", rights: str = "") -> Iterator[None]:
    """Turn what botocore raises into this house's errors.

    Args:
        what: the thing at hand, such as ``Knowledge base KB12345678``.
        missing: what to say when there is none.
        rights: what the credentials must allow.

    Raises:
        Busy: it works later.
        PermanentError: somebody has to change something first.
        RetryableError: the endpoint cannot be reached, or fails.
    """
    try:
        yield
    except aws.ClientError as error:
        raise _answered(what, error, missing, rights) from error
    except (aws.NoCredentialsError, aws.PartialCredentialsError, aws.CredentialRetrievalError) as error:
        raise PermanentError(
            f"{what}: no usable AWS credentials ({_words(error)}): set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "AWS_PROFILE, or run with a role."
        ) from error
    except (aws.ConnectionError, aws.HTTPClientError, aws.IncompleteReadError) as error:
        raise RetryableError(
            f"{what}: the endpoint cannot be reached ({_words(error)}): check the network and AWS_ENDPOINT_URL."
        ) from error
    except (aws.BotoCoreError, ValueError) as error:
        raise PermanentError(
            f"{what}: it is set up wrongly ({_words(error)}): check AWS_ENDPOINT_URL, AWS_REGION and AWS_PROFILE."
        ) from error


def _answered(what: str, error: aws.ClientError, missing: str, rights: str) -> Exception:
    name, status = code(error), int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if name in {"ResourceNotFoundException", "NoSuchBucket"}:
        return PermanentError(f"{what}: {missing}.")
    if name in _CREDENTIALS:
        return PermanentError(f"{what}: the AWS credentials are refused ({name}): renew them.")
    if name in {"AccessDenied", "AccessDeniedException"} or status == 403:
        return PermanentError(f"{what}: access is denied: the credentials need {rights or 'more rights'} there.")
    if name in BUSY or status == 429:
        return Busy(f"{what}: {_said(error)} ({name or status}).")
    if status >= 500 or name == "RequestTimeout":
        return RetryableError(f"{what}: the service is failing ({name or status}).")
    return PermanentError(f"{what}: it refuses: {_said(error)} ({name or status}).")


def _said(error: aws.ClientError) -> str:
    return " ".join(str(error.response.get("Error", {}).get("Message", "")).split()).rstrip(".")[:500]


def _words(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
