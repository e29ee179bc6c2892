"""What DynamoDB and the way to it answer, as one sentence and as whether it may pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from botocore import exceptions as aws

from stenobus_core import PermanentError, RetryableError

_BUSY: Final = {
    "InternalServerError",
    "LimitExceededException",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ServiceUnavailable",
    "ThrottlingException",
    "TransactionConflictException",
}
_CREDENTIALS: Final = {
    "ExpiredTokenException",
    "IncompleteSignatureException",
    "InvalidSignatureException",
    "MissingAuthenticationTokenException",
    "UnrecognizedClientException",
}
#: What a host's credentials must allow; `stenobus dynamodb create` needs more.
ACTIONS: Final = ("DescribeTable", "PutItem", "Query")


@contextmanager
def explained(table: str) -> Iterator[None]:
    """Turn what botocore raises into this house's errors.

    Raises:
        PermanentError: somebody has to change the table, credentials, permissions or settings first.
        RetryableError: the endpoint cannot be reached, throttles or fails.
    """
    try:
        yield
    except aws.ClientError as error:
        raise _answered(table, error) from error
    except (aws.NoCredentialsError, aws.PartialCredentialsError, aws.CredentialRetrievalError) as error:
        raise PermanentError(
            f"DynamoDB table {table}: no usable AWS credentials ({_words(error)}): set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or run with a role."
        ) from error
    except (aws.ConnectionError, aws.HTTPClientError) as error:
        raise RetryableError(
            f"DynamoDB table {table}: the endpoint cannot be reached ({_words(error)}): check the network and "
            "AWS_ENDPOINT_URL."
        ) from error
    except (aws.BotoCoreError, ValueError) as error:
        raise PermanentError(
            f"DynamoDB table {table}: it is set up wrongly ({_words(error)}): check AWS_ENDPOINT_URL, AWS_REGION and "
            "AWS_PROFILE."
        ) from error


def code(error: aws.ClientError) -> str:
    """The name of the error that the endpoint answered with."""
    return str(error.response.get("Error", {}).get("Code", ""))


def _answered(table: str, error: aws.ClientError) -> Exception:
    name = code(error)
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if name == "ResourceNotFoundException":
        return PermanentError(
            f"The DynamoDB table {table} does not exist: make it by `stenobus dynamodb create`, or correct "
            "TRACKING_TABLE, AWS_REGION or AWS_ENDPOINT_URL."
        )
    if name in _CREDENTIALS:
        return PermanentError(f"DynamoDB table {table}: the AWS credentials are refused ({name}): renew them.")
    if name == "AccessDeniedException":
        needed = ", ".join(f"dynamodb:{action}" for action in ACTIONS)
        return PermanentError(f"DynamoDB table {table}: access is denied: the credentials need {needed} there.")
    if status >= 500 or name in _BUSY:
        return RetryableError(f"DynamoDB table {table}: it is throttled or failing ({name or status}).")
    return PermanentError(f"DynamoDB table {table}: it refuses ({_words(error)}).")


def _words(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
