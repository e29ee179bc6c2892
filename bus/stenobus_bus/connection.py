"""One connection to NATS JetStream: publish with PubAck, raw API calls, buckets."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import suppress
from typing import Any, Final
from weakref import WeakSet

import structlog
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from nats.js.client import JetStreamContext
from nats.js.kv import KeyValue

from stenobus_contracts import Event

from .access import Access, redacted, refusal
from .acks import Acks
from .claim import ClaimCheck
from .client import Client
from .entries import Entries
from .envelope import Envelope
from .errors import AccessDenied, PayloadTooLarge, ServerUnavailable
from .inbox import Inbox
from .limits import Limits
from .lookup import Lookup
from .objects import ObjectBucket
from .post import ACK_TIMEOUT, DEADLINE, Post, Stored

log = structlog.get_logger(__name__)

#: Room for headers when a body is measured against max_payload.
_HEADER_ROOM: Final = 16 * 1024
#: Seconds between two calls of the JetStream API while nobody answers them.
_PAUSE: Final = 0.2
#: What the JetStream API says while there is no leader, and while servers are missing that shall hold a copy.
_NO_LEADER: Final = 503
_NO_PEERS: Final = 10005
#: A stream of the same name has just been deleted, and its files are not all gone yet; or the disk has trouble.
_STORE_FAILED: Final = 10049
#: Seconds a server gets to answer on a connection that somebody doubts.
_PROBE: Final = 3
#: How the client keeps its connection: it looks after it closely, and never gives it up.
_OPTIONS: Final[dict[str, Any]] = {
    "allow_reconnect": True,
    "max_reconnect_attempts": -1,
    "reconnect_time_wait": 0.25,
    "ping_interval": 5,  # so that whoever only publishes notices a half-open connection, too
    "max_outstanding_pings": 2,
    "pending_size": 8 * 1024 * 1024,
}


class ApiError(ServerUnavailable):
    """The JetStream API refused a call."""

    def __init__(self, subject: str, error: Mapping[str, Any]) -> None:
        self.code = int(error.get("code", 0))
        self.err_code = int(error.get("err_code", 0))
        super().__init__(f"{subject}: {error.get('description', 'unknown error')} ({self.err_code or self.code})")


class Bus:
    """A connection with the delivery guarantees of Stenobus.

    Use :meth:`connect`, and close it with :meth:`close` or as an async context manager.
    """

    def __init__(self, nc: Client, bucket: str, limits: Limits | None = None) -> None:
        self.nc = nc
        self.js: JetStreamContext = nc.jetstream(timeout=ACK_TIMEOUT)
        #: What an event may cost before it is parsed.
        self.limits = limits or Limits()
        self._probing: asyncio.Task[None] | None = None
        self.acks = Acks(nc, self._doubt)
        #: The object bucket of blobs and claim checks.
        self.objects = ObjectBucket(nc, bucket, self.acks)
        self.claims = ClaimCheck(self.objects, nc.max_payload - _HEADER_ROOM, self.limits.body)
        self.entries = Entries(nc)
        self._lookups: dict[str, Lookup] = {}
        self._inboxes: WeakSet[Inbox] = WeakSet()
        self._reconnected: WeakSet[asyncio.Event] = WeakSet()
        self._buckets: dict[str, KeyValue] = {}

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        name: str = "stenobus",
        bucket: str = "stenobus",
        access: Access | None = None,
        limits: Limits | None = None,
        timeout: float = 5.0,
    ) -> Bus:
        """Connect to a server; afterwards the client reconnects by itself for ever.

        Args:
            url: ``nats://[user:password@]host:port``, or ``tls://…``, several separated by commas.
            name: shown by ``nats server list connections``.
            bucket: object bucket for blobs and claim checks.
            access: credentials and certificates.
            limits: what an event may cost before it is parsed.
            timeout: seconds for the first connection.

        Raises:
            ServerUnavailable: nobody answers there, or it is not who it should be.
            AccessDenied: it does not let us in.
        """
        access = access or Access()
        servers = url.split(",")
        tries = 0
        listeners: WeakSet[asyncio.Event] = WeakSet()
        bus: Bus | None = None

        async def reconnected() -> None:
            log.info("bus.reconnected", url=redacted(url))
            for event in listeners:
                event.set()

        async def disconnected() -> None:
            if bus is not None and not bus.nc.is_closed:
                log.warning("bus.disconnected", url=redacted(url))
                for inbox in bus._inboxes:
                    inbox.lost()  # whoever waits asks again, and is heard once the connection is back

        async def failed(error: Exception) -> None:
            nonlocal tries
            if bus is not None:
                if not bus.acks.refused(str(error)):
                    log.warning("bus.error", error=str(error) or type(error).__name__)
                return
            tries += 1  # until then, the one who connects hears of it
            if tries >= len(servers) and (final := refusal(error, redacted(url))) is not None:
                raise final from error

        nc = Client(secure=access.secure(url))
        try:
            async with asyncio.timeout(timeout):
                await nc.connect(
                    servers=servers,
                    **access.options(url),
                    name=name,
                    **_OPTIONS,
                    connect_timeout=max(1, int(timeout)),
                    reconnected_cb=reconnected,
                    disconnected_cb=disconnected,
                    error_cb=failed,
                )
        except ServerUnavailable:
            nc.abandon()
            raise
        except (NatsError, OSError, TimeoutError, ValueError) as error:
            nc.abandon()
            raise ServerUnavailable(
                f"No NATS server answers at {redacted(url)} ({type(error).__name__}); start one, or unset "
                "STENOBUS_NATS_URL to use the embedded server."
            ) from error
        bus = cls(nc, bucket, limits)
        bus._reconnected = listeners
        await bus.open(bus.acks)
        await bus.open(bus.entries)
        return bus

    async def close(self) -> None:
        """Send what is pending and disconnect."""
        if not self.nc.is_closed:
            if self.nc.is_connected:
                try:
                    await self.nc.flush(timeout=2)
                except NatsError as error:
                    log.warning("bus.flush_failed", error=str(error) or type(error).__name__)
            with suppress(OSError):  # a connection that is lost cannot be closed
                await self.nc.close()

    async def __aenter__(self) -> Bus:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def on_reconnect(self, event: asyncio.Event) -> None:
        """Set an event whenever the connection comes back, for as long as somebody holds the event."""
        self._reconnected.add(event)

    def _doubt(self) -> None:
        if self._probing is None or self._probing.done():
            self._probing = asyncio.create_task(self.probe())

    async def probe(self) -> None:
        """Make sure that the server answers on this connection. One that does not is broken off, and made anew."""
        if not self.nc.is_connected:
            return
        reconnects = self.nc.stats["reconnects"]
        try:
            async with asyncio.timeout(_PROBE):
                await self.nc.flush(_PROBE)
        except (NatsError, TimeoutError):
            if not self.nc.is_connected or reconnects != self.nc.stats["reconnects"]:
                return  # the connection that was doubted is gone already
            log.warning("bus.silent", seconds=_PROBE)
            # Otherwise the client would wait until the other side has taken what is still to be sent.
            if (writer := getattr(self.nc._transport, "_io_writer", None)) is not None:
                writer.transport.abort()
            await self.nc.force_reconnect()

    async def bucket(self, name: str) -> KeyValue:
        """A key-value bucket that the topology declares.

        Raises:
            ServerUnavailable: the bucket does not answer.
        """
        if name not in self._buckets:
            try:
                self._buckets[name] = await self.js.key_value(name)
            except NatsError as error:
                raise ServerUnavailable(
                    f"The bucket {name} is not there ({type(error).__name__}); run `stenobus bus apply`."
                ) from error
        return self._buckets[name]

    async def lookup(self, stream: str) -> Lookup:
        """Grouped questions whether a stream holds a subject."""
        if stream not in self._lookups:
            lookup = Lookup(self.nc, stream)
            await self.open(lookup)
            self._lookups.setdefault(stream, lookup)
        return self._lookups[stream]

    async def open(self, inbox: Inbox) -> None:
        """Let an inbox listen, and know when the connection breaks."""
        await inbox.open()
        self._inboxes.add(inbox)

    # --- publishing --------------------------------------------------------------------------------------------------

    async def publish(
        self,
        event: Event,
        envelope: Envelope,
        *,
        headers: Mapping[str, str] | None = None,
        deadline: float = DEADLINE,
    ) -> Stored:
        """Store an event and wait for the server's word that it has it.

        A large body goes to the object bucket first and a reference travels in its place.

        Args:
            event: the event.
            envelope: its attributes; ``subject`` says where to, ``transport_id`` makes a repeated publish harmless.
            headers: further headers.
            deadline: seconds until it gives up.

        Raises:
            PublishFailed: no PubAck before the deadline, or no stream takes the subject.
        """
        body, claim = await self.claims.check_in(event.body())
        return await self.store(
            envelope.subject, body, {**envelope.headers(), **claim, **(headers or {})}, deadline=deadline
        )

    async def publish_all(
        self, events: Iterable[tuple[Event, Envelope]], *, window: int = 256, deadline: float = DEADLINE
    ) -> list[Stored]:
        """Store many events with many on the way at once. Their order stays, unless one must be sent again.

        Args:
            window: events on the way at once.
            deadline: seconds until it gives up on one of them.

        Raises:
            PublishFailed: one was not stored; those before it are, of those behind it some may be.
        """
        stored: list[Stored] = []
        waiting: deque[Post] = deque()
        for event, envelope in events:
            if len(waiting) >= window:
                stored.append(await waiting.popleft().stored())
            body, claim = await self.claims.check_in(event.body())
            waiting.append(await self.post(envelope.subject, body, {**envelope.headers(), **claim}, deadline=deadline))
        return stored + [await post.stored() for post in waiting]

    async def store(
        self, subject: str, body: bytes, headers: Mapping[str, str], *, deadline: float = DEADLINE
    ) -> Stored:
        """Publish raw bytes to a stream: PubAck awaited, repeated under the same message id, bounded in time.

        Raises:
            PayloadTooLarge: body and headers together exceed the server's limit.
            PublishFailed: no PubAck before the deadline.
        """
        return await (await self.post(subject, body, headers, deadline=deadline)).stored()

    async def post(self, subject: str, body: bytes, headers: Mapping[str, str], *, deadline: float = DEADLINE) -> Post:
        """Send raw bytes to a stream, and let the caller await the PubAck when it wants to.

        Raises:
            PayloadTooLarge: body and headers together exceed the server's limit.
        """
        size = len(body) + sum(len(name) + len(value) + 4 for name, value in headers.items()) + 12
        if size > self.nc.max_payload:
            raise PayloadTooLarge(f"{subject}: {size} bytes exceed the server's limit of {self.nc.max_payload}.")
        return await Post(self.acks, subject, body, headers, deadline).send()

    # --- the JetStream API -------------------------------------------------------------------------------------------

    async def api(
        self,
        subject: str,
        body: Mapping[str, Any] | None = None,
        *,
        timeout: float = ACK_TIMEOUT,
        patience: float = 0.0,
    ) -> Any:
        """One raw JetStream API call, so that settings unknown to a client library survive.

        Args:
            subject: without the ``$JS.API.`` prefix, such as ``STREAM.INFO.MEDIA``.
            timeout: seconds one answer may take.
            patience: seconds in which the call is repeated while there is no answer, or no leader who could give one.
                Only for what may be done twice.

        Raises:
            ApiError: the server refused.
            AccessDenied: this user may not call it.
            ServerUnavailable: no answer in time.
        """
        end = asyncio.get_running_loop().time() + patience
        while True:
            try:
                return await self._call(subject, body, timeout)
            except ServerUnavailable as trouble:
                if asyncio.get_running_loop().time() > end or not _may_pass(trouble):
                    raise
            await asyncio.sleep(_PAUSE)

    async def pages(self, subject: str, key: str) -> AsyncIterator[Any]:
        """All entries of a list that the JetStream API hands out in pages.

        Args:
            subject: of the call, as :meth:`api` takes it.
            key: what the list is called in the answers.

        Raises:
            ServerUnavailable: as :meth:`api`.
        """
        offset = 0
        while True:
            page = await self.api(subject, {"offset": offset})
            entries = page.get(key) or ()
            for entry in entries:
                yield entry
            offset += len(entries)
            if not entries or offset >= page["total"]:
                return

    async def _call(self, subject: str, body: Mapping[str, Any] | None, timeout: float) -> Any:
        request = json.dumps(body).encode() if body is not None else b""
        try:
            answer = await (await self.acks.send(f"$JS.API.{subject}", request, timeout=timeout))
        except NoRespondersError as error:
            raise ServerUnavailable(
                f"The NATS server has no JetStream, or does not answer {subject} yet; start it with `nats-server -js`."
            ) from error
        except (NatsError, OSError) as error:
            raise ServerUnavailable(f"The JetStream API does not answer {subject} ({type(error).__name__}).") from error
        data = json.loads(answer)
        if said := data.get("error"):
            raise ApiError(subject, said)
        return data


def _may_pass(trouble: ServerUnavailable) -> bool:
    """A cluster that chooses a leader says so, or says nothing. A server without JetStream gets none by waiting."""
    if isinstance(trouble, ApiError):
        return trouble.code == _NO_LEADER or trouble.err_code in {_NO_PEERS, _STORE_FAILED}
    return not isinstance(trouble, AccessDenied) and not isinstance(trouble.__cause__, NoRespondersError)
