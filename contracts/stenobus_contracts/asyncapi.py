"""AsyncAPI 3 description of the subjects, and of who sends and receives on them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from .event import Event
from .schema import schemas


class Operation(NamedTuple):
    """A handler as the outside sees it."""

    name: str
    receives: type[Event]
    sends: tuple[type[Event], ...] = ()
    summary: str = ""


def asyncapi(
    contracts: Iterable[type[Event]],
    operations: Iterable[Operation] = (),
    *,
    version: str,
    server: str = "127.0.0.1:4222",
) -> dict[str, Any]:
    """The AsyncAPI 3.0 document.

    Args:
        contracts: every contract to describe; each becomes a channel, a message and a schema.
        operations: handlers; each becomes a ``receive`` operation and a ``send`` operation per output.
        version: version of the described application.
        server: host and port of the NATS server.
    """
    contracts = list(contracts)
    components: dict[str, Any] = {}
    channels: dict[str, Any] = {}
    for contract in contracts:
        name = contract.__name__
        components[name] = {
            "name": contract.event_type,
            "title": name,
            "summary": (contract.__doc__ or "").strip().partition("\n")[0],
            "contentType": "application/json",
            "headers": {"$ref": "#/components/schemas/EventHeaders"},
            "payload": {"$ref": f"#/components/schemas/{name}"},
        }
        for subject in contract.subjects():
            channel = channels.setdefault(
                subject, {"address": subject, "messages": {}, "x-stream": subject.split(".")[0].upper()}
            )
            channel["messages"][name] = {"$ref": f"#/components/messages/{name}"}
    payloads = {
        contract.__name__: _rebase(schemas([contract])[contract.event_type], contract.__name__)
        for contract in contracts
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Stenobus",
            "version": version,
            "description": "Recordings into technical documents and searchable knowledge, over NATS JetStream.",
        },
        "defaultContentType": "application/json",
        "servers": {"nats": {"host": server, "protocol": "nats"}},
        "channels": channels,
        "operations": dict(_operations(operations)),
        "components": {"messages": components, "schemas": {"EventHeaders": _HEADERS, **payloads}},
    }


def _operations(operations: Iterable[Operation]) -> Iterable[tuple[str, dict[str, Any]]]:
    for operation in operations:
        for lane, subject in zip((*operation.receives.lanes, ""), operation.receives.subjects(), strict=True):
            name = f"{operation.name}.receive" + (f".{lane}" if lane else "")
            yield name, {**_on("receive", operation.receives, subject), "summary": operation.summary}
        for sent in operation.sends:
            for subject in sent.subjects():
                yield f"{operation.name}.send.{subject}", _on("send", sent, subject)


def _on(action: str, contract: type[Event], subject: str) -> dict[str, Any]:
    channel = f"#/channels/{subject}"
    return {
        "action": action,
        "channel": {"$ref": channel},
        "messages": [{"$ref": f"{channel}/messages/{contract.__name__}"}],
    }


def _rebase(schema: dict[str, Any], name: str) -> dict[str, Any]:
    """Point a schema's own ``#/$defs`` at where it lies inside the document."""
    text = json.dumps({key: value for key, value in schema.items() if key not in {"$schema", "$id"}})
    rebased: dict[str, Any] = json.loads(text.replace('"#/$defs/', f'"#/components/schemas/{name}/$defs/'))
    return rebased


_HEADERS: dict[str, Any] = {
    "type": "object",
    "description": "CloudEvents 1.0 in binary mode. Every header is optional: what is missing is derived.",
    "properties": {
        "ce-id": {"type": "string", "description": "event id; with ce-source it identifies the event"},
        "ce-source": {"type": "string"},
        "ce-type": {"type": "string"},
        "ce-time": {"type": "string", "format": "date-time"},
        "ce-subject": {"type": "string"},
        "ce-correlationid": {"type": "string", "description": "the run"},
        "ce-causationid": {"type": "string", "description": "id of the event that led to this one"},
        "traceparent": {"type": "string", "description": "W3C Trace Context"},
        "Nats-Msg-Id": {"type": "string", "description": "the server drops a second message with the same id"},
    },
}
