"""FastStream around the handlers: AsyncAPI, dependencies, middlewares and its test client stay usable.

Every handler is a FastStream subscriber. Events reach it through our own pull loop, never through FastStream's. A
handler that takes nothing but its event and context is called directly, which is several times faster; one that uses
dependencies or middlewares goes through FastStream's chain. The guarantees are the same: they lie around the call.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any

from nats.aio.msg import Msg

from stenobus_bus import Received
from stenobus_bus.topology import domain_stream
from stenobus_contracts import Event

from .context import Context, check_declared
from .errors import PluginError
from .plugin import Handler, Plugin

if TYPE_CHECKING:
    from faststream.nats import NatsBroker

Call = Callable[[Received[Any], Context[Any, Any]], Awaitable[Sequence[Event]]]

#: Where FastStream's context holds ours.
_KEY = "stenobus"


def direct(handler: Handler) -> Call:
    """Call a plain handler without anything in between."""
    function, wants_context = handler.function, handler.context_parameter is not None

    async def call(received: Received[Any], ctx: Context[Any, Any]) -> Sequence[Event]:
        return events(handler, await (function(received.event, ctx) if wants_context else function(received.event)))

    return call


class Streaming:
    """A FastStream broker with every handler of some plugins as a subscriber."""

    def __init__(self, plugins: Sequence[Plugin]) -> None:
        from faststream.nats import NatsBroker

        self.broker: NatsBroker = NatsBroker(logger=None)
        self._subscribers: dict[str, Any] = {}
        for plugin in plugins:
            self._include(plugin)

    def _include(self, plugin: Plugin) -> None:
        from faststream import AckPolicy
        from faststream.nats import JStream, NatsRouter, PullSub

        router = NatsRouter(middlewares=plugin.middlewares)
        for handler in plugin.handlers:
            subscriber = router.subscriber(
                handler.contract.subject,
                stream=JStream(domain_stream(handler.contract.subject), declare=False),
                durable=handler.name,
                pull_sub=PullSub(),
                ack_policy=AckPolicy.MANUAL,
                no_reply=True,  # a producer's reply_to header must not choose where our results go
                title=handler.name,
                description=handler.summary or None,
            )
            subscriber(_with_context(handler))
            self._subscribers[handler.name] = subscriber
        self.broker.include_router(router)

    def call(self, handler: Handler) -> Call:
        """Call a handler through FastStream's parser, middlewares and dependencies."""
        subscriber = self._subscribers[handler.name]
        self.broker._setup_logger()
        subscriber._build_fastdepends_model()
        context = subscriber._outer_config.context

        async def call(received: Received[Any], ctx: Context[Any, Any]) -> Sequence[Event]:
            # The body may have waited in the object bucket, come inside structured CloudEvents JSON, or be called text.
            msg = received.msg
            headers = {name: value for name, value in (msg.headers or {}).items() if name.lower() != "content-type"}
            headers["content-type"] = "application/json"
            whole = Msg(msg._client, subject=msg.subject, reply=msg.reply, data=received.event.body(), headers=headers)
            with context.scope(_KEY, ctx):
                response = await subscriber.process_message(whole)
            return events(handler, response.body)

        return call


def events(handler: Handler, result: Any) -> Sequence[Event]:
    """A handler's result as the events to publish.

    Raises:
        PluginError: it returned something that is no event.
        Undeclared: it returned an event that it does not declare.
    """
    if result is None:
        return ()
    outputs = (result,) if isinstance(result, Event) else tuple(result)
    for output in outputs:
        if not isinstance(output, Event):
            raise PluginError(f"{handler.name} returned {type(output).__name__}, which is no contract.")
        check_declared(handler.name, output, handler.outputs, "returns", "return annotation")
    return outputs


def _with_context(handler: Handler) -> Callable[..., Awaitable[Any]]:
    """The handler with its context parameter marked for FastStream's solver, and so out of the message's schema."""
    function = handler.function
    if handler.context_parameter is None:
        return function
    from faststream import Context as FromContext

    signature = inspect.signature(function, eval_str=True)
    parameters = [
        parameter.replace(annotation=Annotated[Any, FromContext(_KEY)])
        if parameter.name == handler.context_parameter
        else parameter
        for parameter in signature.parameters.values()
    ]

    @wraps(function)
    async def with_context(*args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    del with_context.__wrapped__  # the solver would follow it back to the unmarked signature
    marked: Any = with_context
    marked.__signature__ = signature.replace(parameters=parameters)
    marked.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return with_context
