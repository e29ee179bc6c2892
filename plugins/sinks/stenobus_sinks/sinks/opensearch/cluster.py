"""The way to the cluster, and what it answers as this house's errors."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from opensearchpy import OpenSearch, RequestsHttpConnection, exceptions

from stenobus_core import PermanentError, RetryableError

from ...secrets import secret

if TYPE_CHECKING:
    from .settings import Settings

T = TypeVar("T")


class Overloaded(RetryableError):
    """The cluster has too much to do: the same request works later."""


def connected(settings: Settings) -> OpenSearch:
    """A client. It tries nothing again by itself.

    Raises:
        PermanentError: settings make no sense, or there are no credentials.
    """
    assert settings.url is not None
    auth: Any = None
    if settings.aws:
        auth = _signer()
    elif settings.username is not None:
        password = secret(
            "STENOBUS_KB_OPENSEARCH_PASSWORD", settings.password, settings.password_file, settings.password_secret
        )
        if password is None:
            raise PermanentError(
                f"There is no password for the OpenSearch user {settings.username}: set "
                "STENOBUS_KB_OPENSEARCH_PASSWORD, or the same with _FILE or _SECRET."
            )
        auth = (settings.username, password)
    return OpenSearch(
        hosts=[settings.url],
        http_auth=auth,
        connection_class=RequestsHttpConnection,
        verify_certs=True,
        ca_certs=str(settings.ca_file) if settings.ca_file else None,
        timeout=settings.timeout,
        max_retries=0,
    )


def _signer() -> Any:
    from boto3.session import Session
    from opensearchpy import RequestsAWSV4SignerAuth

    session = Session()
    credentials, region = session.get_credentials(), os.environ.get("AWS_REGION") or session.region_name
    if credentials is None or region is None:
        raise PermanentError(
            "OpenSearch: no usable AWS credentials or no region: set AWS_REGION and AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or run with a role."
        )
    return RequestsAWSV4SignerAuth(credentials, region, "es")


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn what the client raises about ``what`` into this house's errors.

    Raises:
        Overloaded: it works later.
        PermanentError: somebody has to change something first.
        RetryableError: the cluster cannot be reached, or fails.
    """
    try:
        yield
    except exceptions.ConnectionError as error:  # timeouts and certificates as well
        if isinstance(error, exceptions.SSLError):
            raise PermanentError(
                f"{what}: the cluster's certificate is not trusted: set STENOBUS_KB_OPENSEARCH_CA_FILE."
            ) from None
        raise RetryableError(f"{what}: the cluster cannot be reached ({type(error).__name__}).") from None
    except exceptions.TransportError as error:
        raise _answered(what, error) from None
    except exceptions.SerializationError:
        raise RetryableError(f"{what}: something between here and the cluster answers with no JSON.") from None


def _answered(what: str, error: exceptions.TransportError) -> Exception:
    status = error.status_code if isinstance(error.status_code, int) else 0
    if status == 401:
        return PermanentError(f"{what}: the cluster refuses the credentials: set the right user and password.")
    if status == 403:
        return PermanentError(
            f"{what}: the user may not do this: it needs create_index, manage_aliases, read and write on the prefix."
        )
    if status in {408, 429}:
        return Overloaded(f"{what}: the cluster has too much to do ({status}).")
    if status == 0 or status >= 500:
        return RetryableError(f"{what}: the cluster is failing ({status}).")
    return PermanentError(f"{what}: the cluster refuses ({status}: {told(error.info)}).")


def told(error: Any) -> str:
    """What the cluster says of an error, cut to a length that people read."""
    found = error.get("error", error) if isinstance(error, dict) else error
    if isinstance(found, dict):
        cause = found.get("caused_by")
        reason = f"{found.get('type', 'error')}: {found.get('reason', '')}"
        found = f"{reason} ({cause.get('reason', '')})" if isinstance(cause, dict) else reason
    return " ".join(str(found).split())[:300]


async def patiently(call: Callable[[], T], what: str, *, poll: float, patience: float) -> T:
    """Make a call in a thread, again for as long as the cluster is overloaded and there is patience."""

    def once() -> T:
        with explained(what):
            return call()

    waited = 0.0
    while True:
        try:
            return await asyncio.to_thread(once)
        except Overloaded:
            if waited >= patience:
                raise
            pause = poll * random.uniform(1, 1.5)
            waited += pause
            await asyncio.sleep(pause)
