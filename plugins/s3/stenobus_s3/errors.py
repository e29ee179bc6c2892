"""What S3 and the way to it answer, as one sentence and as what to do with the event at hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from botocore import exceptions as aws

from stenobus_core import BlobNotFound, PermanentError, RetryableError

_MISSING = {"404", "NoSuchKey", "NotFound", "NoSuchVersion"}
_CREDENTIALS = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired"}
_UNREACHABLE = (aws.ConnectionError, aws.HTTPClientError, aws.IncompleteReadError)


@contextmanager
def explained(uri: str) -> Iterator[None]:
    """Turn what botocore raises about ``uri`` into this house's errors.

    Raises:
        BlobNotFound: there is no such object.
        PermanentError: somebody has to change credentials, permissions or settings first.
        RetryableError: the endpoint cannot be reached, is overloaded or broke off.
    """
    try:
        yield
    except aws.ClientError as error:
        raise _answered(uri, error) from error
    except (aws.NoCredentialsError, aws.PartialCredentialsError, aws.CredentialRetrievalError) as error:
        raise PermanentError(
            f"{uri}: no usable AWS credentials ({_words(error)}): set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "AWS_PROFILE, or run with a role."
        ) from error
    except _UNREACHABLE as error:
        raise RetryableError(
            f"{uri}: S3 cannot be reached ({_words(error)}): check the network and AWS_ENDPOINT_URL."
        ) from error
    except (aws.BotoCoreError, ValueError) as error:
        raise PermanentError(
            f"{uri}: S3 is set up wrongly ({_words(error)}): check AWS_ENDPOINT_URL, AWS_REGION and AWS_PROFILE."
        ) from error


def _answered(uri: str, error: aws.ClientError) -> Exception:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in _MISSING:
        return BlobNotFound(uri)
    if code == "NoSuchBucket":
        return PermanentError(
            f"{uri}: the bucket does not exist: create it, or correct the URI or the setting that names it."
        )
    if code in _CREDENTIALS:
        return PermanentError(f"{uri}: S3 refuses the AWS credentials ({code}): renew them.")
    if status == 403:
        return PermanentError(
            f"{uri}: S3 denies access: the credentials need s3:GetObject, s3:PutObject and s3:ListBucket there "
            "(without the last one a missing object is denied, too)."
        )
    if status >= 500 or status == 429 or code in {"SlowDown", "RequestTimeout", "Throttling"}:
        return RetryableError(f"{uri}: S3 is overloaded or failing ({code or status}).")
    return PermanentError(f"{uri}: S3 refuses ({_words(error)}).")


def _words(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
