"""botocore's way to the service, with an end to everything: answers are bounded, and a call can be cut off.

Both take what botocore does not offer: its session for HTTP, and the connections that this makes.
"""

from __future__ import annotations

import socket
import threading
from functools import partial
from typing import Any, Final

from botocore import awsrequest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse

from ...settings import Target
from .call import Call
from .stream import endless

#: Bytes of an answer in one, or of an error: what the largest answer takes as JSON, and room to spare.
LARGEST_BODY: Final = 32 << 20

#: The call that a thread makes.
_here = threading.local()


class Wire:
    """The way of one target's client."""

    def __init__(self, target: Target, client: Any) -> None:
        self._target = target
        self._http = client._endpoint.http_session
        self._http._pool_classes_by_scheme.update(http=_Pool, https=_SecurePool)
        client.meta.events.register("before-send.bedrock-runtime", self._send)

    def carry(self, call: Call) -> None:
        """What this thread sends and reads from now on is this call's."""
        _here.call = call

    def _send(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        """Send as botocore would; read no more than is sensible of what it would read at once."""
        at_once, request.stream_output = not request.stream_output, True
        answer: AWSResponse = self._http.send(request)
        try:
            _here.call.reached(answer.raw.shutdown)  # knows when the connection is another call's
            if at_once or answer.status_code >= 300:
                answer._content = self._read(answer)
        except BaseException:
            answer.raw.close()
            raise
        return answer

    def _read(self, answer: AWSResponse) -> bytes:
        parts, size = [], 0
        for part in answer.raw.stream():
            parts.append(part)
            size += len(part)
            if size > LARGEST_BODY:
                raise endless(self._target)
        return b"".join(parts)


class _Reached:
    """Lets a call be cut off while it waits for the first byte, where a model that does not stream spends its time."""

    sock: socket.socket

    def getresponse(self) -> Any:
        _here.call.reached(partial(self.sock.shutdown, socket.SHUT_RDWR))
        return super().getresponse()  # type: ignore[misc]


class _Connection(_Reached, awsrequest.AWSHTTPConnection):  # type: ignore[misc]
    pass


class _SecureConnection(_Reached, awsrequest.AWSHTTPSConnection):  # type: ignore[misc]
    pass


class _Pool(awsrequest.AWSHTTPConnectionPool):  # type: ignore[misc]
    ConnectionCls = _Connection


class _SecurePool(awsrequest.AWSHTTPSConnectionPool):  # type: ignore[misc]
    ConnectionCls = _SecureConnection
