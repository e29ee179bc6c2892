"""Streams, consumers and buckets as code: plan what differs, then apply it.

Everything is read and written as raw JSON, merged over what the server has: a setting that an operator made, or that
this code has never heard of, survives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Literal

from .connection import ApiError, Bus
from .errors import AccessDenied, DeclarationRefused

Config = dict[str, Any]

_SECOND: Final = 1_000_000_000  # JetStream counts in nanoseconds
_DAY: Final = 86_400 * _SECOND
#: Seconds a cluster gets to choose the leader of a stream or consumer that somebody has just made.
ELECTION: Final = 30.0
STREAM_NOT_FOUND: Final = 10059
CONSUMER_NOT_FOUND: Final = 10014
#: Metadata of a handler's consumer.
HANDLER: Final = "stenobus.handler"
#: Settings that the server cannot change on something that exists.
_FIXED: Final = frozenset({"retention", "storage", "ack_policy", "deliver_policy", "deliver_subject"})


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """A stream that must exist.

    ``required`` is enforced on every apply; ``initial`` is only a starting point that operators may change; an apply
    raises the ``replicas`` and never lowers them.
    """

    name: str
    subjects: tuple[str, ...]
    required: Mapping[str, Any] = field(default_factory=dict)
    initial: Mapping[str, Any] = field(default_factory=dict)
    replicas: int = 1


@dataclass(frozen=True, slots=True)
class ConsumerSpec:
    """A durable pull consumer that must exist: one per handler.

    Args:
        name: durable name; never changes, since it holds the handler's place in history.
        ack_wait: seconds without a sign of life after which the server delivers again.
        max_deliver: last resort of the server; the handler's own attempts end earlier.
        max_ack_pending: deliveries that may wait for settlement, retries that wait for their time included.
        begin: where a consumer begins that is not there yet: with all its stream holds, or with what comes from now on.
    """

    stream: str
    name: str
    subject: str
    ack_wait: float = 30.0
    max_deliver: int = 100
    max_ack_pending: int = 10_000
    description: str = ""
    begin: Literal["all", "new"] = "all"

    @property
    def metadata(self) -> Mapping[str, str]:
        """How to tell a handler's consumer from a stranger's."""
        return {HANDLER: handler_of(self.name)}


Spec = StreamSpec | ConsumerSpec


@dataclass(frozen=True, slots=True)
class Change:
    """What apply would do for one thing."""

    action: Literal["create", "update", "remove", "none", "refused"]
    what: str
    #: setting → (now, wanted)
    differences: Mapping[str, tuple[Any, Any]]

    def __str__(self) -> str:
        details = ", ".join(f"{name}: {old!r} → {new!r}" for name, (old, new) in self.differences.items())
        return f"{self.action} {self.what}" + (f" ({details})" if details and self.action != "create" else "")


@dataclass(frozen=True, slots=True)
class SpecChange(Change):
    """What apply would do for one spec."""

    spec: Spec
    config: Config


def domain_stream(subject: str) -> str:
    """The stream of a subject: its first word in capitals. One stream holds one domain."""
    return subject.split(".")[0].upper()


def handler_of(consumer: str) -> str:
    """The handler of a consumer. That of a lane is named ``<handler>_<lane>``, and no handler has a ``_``."""
    return consumer.partition("_")[0]


def domain(name: str) -> StreamSpec:
    """The stream of one domain. Limits retention, so that history can be replayed."""
    return StreamSpec(
        name=name.upper(),
        subjects=(f"{name}.>",),
        required={"retention": "limits", "allow_direct": True},  # history is read by direct gets
        initial={
            "storage": "file",
            "max_age": 30 * _DAY,
            # A full stream makes the publisher wait; the old policy would silently drop unhandled events.
            "discard": "new",
            "duplicate_window": 600 * _SECOND,
            "allow_msg_ttl": True,
            "description": f"Stenobus events of the domain {name}",
        },
    )


def key_value(name: str, *, ttl: float = 0.0) -> StreamSpec:
    """A key-value bucket, as ``nats kv`` knows it.

    Args:
        ttl: seconds a key lives; 0 for ever.
    """
    return StreamSpec(
        name=f"KV_{name}",
        subjects=(f"$KV.{name}.>",),
        # A roll-up of all keys is one header on any of them: whoever may write a key could empty the bucket.
        required={"allow_rollup_hdrs": False, "allow_direct": True},
        initial={
            "max_msgs_per_subject": 1,
            "max_age": int(ttl * _SECOND),
            "discard": "new",
            "deny_delete": True,
            "storage": "file",
            "duplicate_window": int(min(ttl or 120.0, 120.0) * _SECOND),
        },
    )


def object_bucket(name: str) -> StreamSpec:
    """An object bucket, as ``nats object`` knows it.

    Those tools store and remove by roll-ups, by which whoever may store could empty the bucket as well. Stenobus needs
    none: where plugins are not trusted, switch ``allow_rollup_hdrs`` off.
    """
    return StreamSpec(
        name=f"OBJ_{name}",
        subjects=(f"$O.{name}.C.>", f"$O.{name}.M.>"),
        required={"allow_direct": True},
        initial={"allow_rollup_hdrs": True, "discard": "new", "storage": "file"},
    )


async def plan(bus: Bus, specs: Iterable[Spec]) -> list[SpecChange]:
    """What differs between the specs and the server, in the order of the specs."""
    return await asyncio.gather(*(_compare(bus, spec) for spec in specs))


async def apply(bus: Bus, specs: Iterable[Spec]) -> list[SpecChange]:
    """Make the server match the specs.

    Returns:
        What was done.

    Raises:
        DeclarationRefused: something exists with a setting that cannot be changed in place; nothing was changed.
        AccessDenied: something differs, and this user may not change it.
    """
    changes = await plan(bus, specs)
    if refused := [change for change in changes if change.action == "refused"]:
        raise DeclarationRefused(
            f"{refused[0]}: the server cannot change this in place; delete or rename the old one first."
        )
    for change in changes:
        if change.action != "none":
            try:
                await _write(bus, change)
            except AccessDenied as error:
                raise AccessDenied(
                    f"This user may not {change}; run `stenobus bus apply` with the credentials of admin."
                ) from error
    return changes


async def _compare(bus: Bus, spec: Spec) -> SpecChange:
    wanted, initial = _wanted(spec)
    now = await _read(bus, spec)
    if now is None:
        return SpecChange(
            "create", _label(spec), {k: (None, v) for k, v in wanted.items()}, spec, {**initial, **wanted}
        )
    if isinstance(spec, StreamSpec):
        # Another distribution may have added subjects: keep them.
        kept = [
            subject for subject in now.get("subjects", []) if not any(map(partial(_covers, subject), spec.subjects))
        ]
        wanted["subjects"] = [*spec.subjects, *kept]
        if sorted(wanted["subjects"]) == sorted(now.get("subjects", [])):
            wanted["subjects"] = now["subjects"]
        if now.get("num_replicas", 1) < spec.replicas:
            wanted["num_replicas"] = spec.replicas
    else:
        wanted["metadata"] = {**(now.get("metadata") or {}), **wanted["metadata"]}  # the server adds its own
    differences = {name: (now.get(name), value) for name, value in wanted.items() if now.get(name) != value}
    if not differences:
        return SpecChange("none", _label(spec), {}, spec, now)
    action: Literal["update", "refused"] = "refused" if _FIXED & differences.keys() else "update"
    return SpecChange(action, _label(spec), differences, spec, {**now, **wanted})


def _covers(narrow: str, wide: str) -> bool:
    """Whether every subject that the one pattern matches is matched by the other."""
    return wide == narrow or (wide.endswith(".>") and narrow.startswith(wide[:-1]))


def _wanted(spec: Spec) -> tuple[Config, Config]:
    """Settings to enforce, and settings to start with."""
    if isinstance(spec, StreamSpec):
        return {"name": spec.name, "subjects": list(spec.subjects), **spec.required}, {
            **spec.initial,
            "num_replicas": spec.replicas,
        }
    return (
        {
            "durable_name": spec.name,
            "name": spec.name,
            "filter_subject": spec.subject,
            "ack_policy": "explicit",
            "ack_wait": int(spec.ack_wait * _SECOND),
            "max_deliver": spec.max_deliver,
            "max_ack_pending": spec.max_ack_pending,
            "deliver_subject": None,  # nothing is pushed
            "metadata": dict(spec.metadata),
        },
        {"deliver_policy": spec.begin, "replay_policy": "instant", "description": spec.description},
    )


async def _read(bus: Bus, spec: Spec) -> Config | None:
    try:
        if isinstance(spec, StreamSpec):
            info = await bus.api(f"STREAM.INFO.{spec.name}", patience=ELECTION)
        else:
            info = await bus.api(f"CONSUMER.INFO.{spec.stream}.{spec.name}", patience=ELECTION)
    except ApiError as error:
        if error.err_code in {STREAM_NOT_FOUND, CONSUMER_NOT_FOUND}:
            return None
        raise
    config: Config = info["config"]
    return config


async def _write(bus: Bus, change: SpecChange) -> None:
    if isinstance(change.spec, StreamSpec):
        await bus.api(f"STREAM.{change.action.upper()}.{change.spec.name}", change.config, patience=ELECTION)
        return
    spec = change.spec
    await bus.api(
        f"CONSUMER.CREATE.{spec.stream}.{spec.name}.{spec.subject}",
        {"stream_name": spec.stream, "config": change.config, "action": change.action},
        patience=ELECTION,
    )


def _label(spec: Spec) -> str:
    return f"stream {spec.name}" if isinstance(spec, StreamSpec) else f"consumer {spec.stream}/{spec.name}"
