"""What went wrong, in the router's classes: by the name of the error, for within a stream its status says nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import urllib3.exceptions
from botocore import exceptions as aws
from botocore.eventstream import ParserError
from botocore.parsers import ResponseParserError

from ...failures import Code, Failure, retry_after
from ...settings import Target

Kind = TypeVar("Kind")

#: Classes by the error's name, in small letters: within a stream names begin with one.
CODES: Final[dict[str, Code]] = {
    "throttlingexception": "throttled",
    "toomanyrequestsexception": "throttled",
    "servicequotaexceededexception": "throttled",
    "serviceunavailableexception": "overloaded",
    "internalserverexception": "overloaded",
    "internalfailure": "overloaded",
    "modelnotreadyexception": "overloaded",
    "modelerrorexception": "overloaded",
    "modelstreamerrorexception": "overloaded",
    "modeltimeoutexception": "transport",
    "validationexception": "bad_request",
    "resourcenotfoundexception": "bad_request",
    "accessdeniedexception": "auth",
    "unrecognizedclientexception": "auth",
    "invalidsignatureexception": "auth",
    "incompletesignature": "auth",
    "missingauthenticationtokenexception": "auth",
    "expiredtokenexception": "auth",
    "expiredtoken": "auth",
}
_CONTEXT: Final = re.compile(
    r"too long|too many (input )?tokens|context (length|window)|maximum (number of )?tokens|input length", re.IGNORECASE
)
#: Errors about signatures repeat the request's headers from here on, a session's token among them.
_SIGNED: Final = "The Canonical String"
_UNSIGNED: Final = (
    aws.NoCredentialsError,
    aws.PartialCredentialsError,
    aws.CredentialRetrievalError,
    aws.MetadataRetrievalError,
    aws.NoAuthTokenError,
    aws.TokenRetrievalError,
    aws.SSOError,
    aws.LoginError,
    aws.ProfileNotFound,
)
_BROKEN_OFF: Final = (
    aws.ConnectionError,
    aws.HTTPClientError,
    aws.ResponseStreamingError,
    urllib3.exceptions.HTTPError,
    OSError,
)
#: What botocore's parsers raise over an answer that is another one than they know.
_STRANGE: Final = (
    ParserError,
    ResponseParserError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    RecursionError,
)


def failed(target: Target, code: Code, what: str, **details: Any) -> Failure:
    """A failure in one sentence of bounded length."""
    sentence = f"The target {target.name} {' '.join(what.split())}"
    return Failure(code, sentence if len(sentence) <= 600 else sentence[:599] + "…", **details)


def strange(target: Target, what: object) -> Failure:
    """The answer is not Converse's."""
    return failed(target, "transport", f"answered something that is not Converse: {what}")


def member(target: Target, body: Mapping[str, Any], name: str, kind: type[Kind]) -> Kind:
    """A part of an answer that must be there: botocore drops what it does not know, and parts that are not JSON.

    Raises:
        Failure: transport, it is missing or something else.
    """
    value = body.get(name)
    if not isinstance(value, kind):
        raise strange(target, f"no {name} where one must be")
    return value


def unable(target: Target, error: Exception) -> Failure:
    """There is no client for this target: a wrong region, endpoint or profile."""
    code: Code = "auth" if isinstance(error, _UNSIGNED) else "bad_request"
    return failed(target, code, f"cannot be asked like this: {error}")


def classed(target: Target, error: Exception) -> Exception:
    """The failure that an error of a call is; the error itself where it is not the service's or of the way there."""
    match error:
        case aws.ClientError():  # those within a stream among them
            return _refused(target, error)
        case aws.ReadTimeoutError() | urllib3.exceptions.ReadTimeoutError():
            return failed(target, "transport", f"did not answer within {target.timeout:g} s")
        case _ if isinstance(error, _UNSIGNED):
            return failed(target, "auth", f"has no credentials: {error}")
        case _ if isinstance(error, _BROKEN_OFF):
            return failed(target, "transport", f"cannot be reached, or broke off: {error}")
        case aws.BotoCoreError():  # a wrong parameter
            return failed(target, "bad_request", f"cannot be asked like this: {error}")
        case _ if isinstance(error, _STRANGE):
            return strange(target, error)
    return error


def _refused(target: Target, error: aws.ClientError) -> Failure:
    """The failure class of an error that the service names."""
    name, message = error.response["Error"].get("Code", ""), str(error.response["Error"].get("Message", ""))
    answer = error.response.get("ResponseMetadata", {})
    code = CODES.get(name.casefold())
    if name.casefold() == "validationexception" and _CONTEXT.search(message):
        code = "context_too_long"
    if code is None:
        # Within a stream, what has no name may pass as well as anything else.
        broken = isinstance(error, aws.EventStreamError) or int(answer.get("HTTPStatusCode", 400)) >= 500
        code = "overloaded" if broken else "bad_request"
    delay = retry_after(answer.get("HTTPHeaders", {}))
    what = f"answered {name or 'an error without a name'}: {message.partition(_SIGNED)[0]}"
    return failed(target, code, what, delay=delay)
