"""What each user of the server may do: worked out from what its plugin declares, and from nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_

from stenobus_bus import advisories, answers, budget, cell, dead_letters, ledger, pieces, schedules, shadow
from stenobus_bus.topology import ConsumerSpec, Spec, StreamSpec, domain_stream
from stenobus_contracts import BusAlert, MonitorActionApproved

from . import cache, facts, mirror, remembered, runs
from .plugin import Client, Handler, Plugin
from .services import topology

_API = "$JS.API"


@dataclass(frozen=True, slots=True)
class Permissions:
    """Subjects that a user may publish and subscribe, its own inbox aside."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...] = ()

    def __or__(self, other: Permissions) -> Permissions:
        """What either may do."""
        return Permissions(_unique((*self.publish, *other.publish)), _unique((*self.subscribe, *other.subscribe)))


#: The provisioner: creates and changes streams, consumers and buckets. Whoever has its key may do anything.
ADMIN = Permissions((">",), (">",))


def plugin_permissions(plugin: Plugin, specs: Sequence[Spec], bucket: str, *, metrics: bool = False) -> Permissions:
    """What a plugin needs for its work, and no more.

    Args:
        specs: streams, buckets and consumers of its host.
        bucket: object bucket for blobs.
        metrics: let it read the streams it listens to, which the age of the oldest event takes.
    """
    found = _looks(specs) | _blobs(bucket) | _service(plugin)
    for spec in specs:
        if isinstance(spec, ConsumerSpec):
            found |= _consumer(spec)
    for handler in plugin.handlers:
        found |= _handler(handler)
        if metrics:
            found |= Permissions((f"{_API}.DIRECT.GET.{handler.stream}",))
    if plugin.schedules:
        found |= _schedules(plugin)
    if plugin.watches:
        found |= _sees()
    found |= bucket_permissions(plugin)
    found |= Permissions(tuple(_get(name, key) for name, keys in plugin.reads.items() for key in keys))
    found |= Permissions(tuple(subject for output in plugin.publishes for subject in output.subjects()))
    # The names of its limits and budgets follow from its settings, which others may set; all begin with its own.
    return found | Permissions(
        (
            f"$KV.{cell.BUCKET}.rate.{plugin.name}.>",
            f"$KV.{budget.BUCKET}.{plugin.name}.>",
            f"{_API}.STREAM.MSG.GET.KV_{budget.BUCKET}",  # what it looks for stands in the body
            f"$KV.{remembered.BUCKET}.{plugin.name}.>",
            f"{_API}.STREAM.MSG.GET.KV_{remembered.BUCKET}",
        )
    )


def publisher_permissions(subjects: Iterable[str]) -> Permissions:
    """What a producer needs that does nothing but publish events of given subjects."""
    subjects = tuple(subjects)
    return Permissions(_unique((*subjects, *(f"{_API}.STREAM.INFO.{domain_stream(subject)}" for subject in subjects))))


def client_permissions(client: Client, bucket: str) -> Permissions:
    """What a program of a plugin needs that handles no events.

    Args:
        bucket: object bucket for blobs.
    """
    reads = [
        subject
        for name in client.reads
        for subject in (f"{_API}.DIRECT.GET.KV_{name}", f"{_API}.STREAM.INFO.KV_{name}", _get(name, ">"))
    ]
    writes = [f"$KV.{name}.{key}" for name, keys in client.writes.items() for key in keys]
    published = publisher_permissions(subject for contract in client.publishes for subject in contract.subjects())
    found = Permissions(_unique((*reads, *writes))) | published
    if client.repairs:
        operator = operator_permissions(bucket)
        # Whoever repairs is no person: it approves nothing.
        own = f"{MonitorActionApproved.subject.partition('.')[0]}.>"
        subjects = tuple(each for each in operator.publish if each != own)
        found |= Permissions(subjects, operator.subscribe) | undertaker_permissions() | Permissions(("$JS.ACK.>",))
    return found


def operator_permissions(bucket: str) -> Permissions:
    """What people need who look after the system: see everything, publish, replay, retry, pause. Nothing of it creates,
    changes or empties a stream but that of the dead letters."""
    domains = [spec for spec in topology(bucket) if isinstance(spec, StreamSpec) and "$" not in spec.subjects[0]]
    return (
        _sees()
        | Permissions(
            (
                f"{_API}.CONSUMER.PAUSE.*.*",
                *(f"{_API}.STREAM.{call}.{dead_letters.STREAM}" for call in ("MSG.DELETE", "PURGE")),
                *(subject for spec in domains for subject in spec.subjects),
                f"$KV.{schedules.BUCKET}.>",
                "stenobus.ready.>",
            ),
            (f"$KV.{runs.BUCKET}.>",),
        )
        | _blobs(bucket)
        | _asking("process")
        | _asking("ask")
    )


def bucket_permissions(plugin: Plugin) -> Permissions:
    """What it takes to read and write the buckets of a plugin, and to hear of their changes."""
    keys = tuple(f"$KV.{name}.>" for name in plugin.buckets)
    gets = (f"{_API}.{call}" for name in plugin.buckets for call in (f"DIRECT.GET.KV_{name}", f"STREAM.INFO.KV_{name}"))
    return Permissions((*keys, *gets, *(_get(name, ">") for name in plugin.buckets)), keys)


def caretaker_permissions() -> Permissions:
    """What ``stenobus caretaker`` needs: see everything, bury, raise the alarm. It handles and provisions nothing."""
    return _sees() | undertaker_permissions() | Permissions((BusAlert.subject,))


def undertaker_permissions() -> Permissions:
    """What it takes to bury the events of handlers whose processes are all gone."""
    return Permissions(
        (
            f"{_API}.CONSUMER.MSG.NEXT.>",
            f"$JS.ACK.{advisories.STREAM}.{advisories.UNDERTAKER}.>",
            "dlq.>",
            f"$KV.{runs.BUCKET}.>",
        )
    )


def mirror_permissions(stores: Iterable[str]) -> Permissions:
    """What it takes to copy the run record into further stores: reading every step of every run."""
    return reduce(or_, (_consumer(mirror.consumer(store)) for store in stores), Permissions(()))


def _sees() -> Permissions:
    """See every stream, bucket, consumer and service, and hear what the server advises. None of it changes anything."""
    streams = ("INFO", "STREAM.NAMES", "STREAM.LIST", "STREAM.INFO.*", "STREAM.MSG.GET.*", "DIRECT.GET.>")
    consumers = ("CONSUMER.NAMES.*", "CONSUMER.LIST.*", "CONSUMER.INFO.*.*")
    return Permissions((*(f"{_API}.{call}" for call in (*streams, *consumers)), "$SRV.>"), ("$JS.EVENT.ADVISORY.>",))


def _looks(specs: Sequence[Spec]) -> Permissions:
    """Whether streams and buckets are there, and whether they are as they should be."""
    return Permissions(tuple(f"{_API}.STREAM.INFO.{spec.name}" for spec in specs if isinstance(spec, StreamSpec)))


def _consumer(spec: ConsumerSpec) -> Permissions:
    place = f"{spec.stream}.{spec.name}"
    return Permissions(
        (f"{_API}.CONSUMER.INFO.{place}", f"{_API}.CONSUMER.MSG.NEXT.{place}", f"$JS.ACK.{place}.>"),
    )


#: Give an answer and its pieces, and look whether one was given already: by its leader, as in the ledger.
_ANSWERING = (f"$KV.{answers.BUCKET}.>", f"{pieces.ROOT}.>", f"{_API}.STREAM.MSG.GET.KV_{answers.BUCKET}")


def _handler(handler: Handler) -> Permissions:
    name = handler.name
    outputs = [subject for output in handler.outputs for subject in output.subjects()]
    found = Permissions(
        (
            *outputs,
            *(f"{shadow.DOMAIN}.*.{subject}" for subject in outputs),
            f"dlq.{name}.*",
            f"$KV.{ledger.BUCKET}.{name}.>",
            # Both take what they look for in the body: reading the ledger cannot be limited to some of its keys.
            f"{_API}.DIRECT.GET.KV_{ledger.BUCKET}",
            f"{_API}.STREAM.MSG.GET.KV_{ledger.BUCKET}",
            f"{_API}.STREAM.MSG.GET.KV_{cell.BUCKET}",
            f"$KV.{cell.BUCKET}.*.{name}",
            f"$KV.{cache.BUCKET}.{name}.>",
            _get(cache.BUCKET, f"{name}.>"),
            f"$KV.{facts.BUCKET}.{handler.contract.subject}",
            _get(facts.BUCKET, ">"),
            *([f"$KV.{runs.BUCKET}.*.{name}.>"] if handler.track else []),
            *([f"{_API}.DIRECT.GET.KV_{runs.BUCKET}"] if handler.delivers else []),
            *(_ANSWERING if _answers(handler) else []),
            *(subject for request in handler.requests for subject in request.subjects()),
        ),
        (f"$KV.{cell.BUCKET}.*.{name}",),
    )
    return found | _asking(name) if handler.requests else found


def _answers(handler: Handler) -> bool:
    return any(output.answers is handler.contract for output in handler.outputs)


def _asking(who: str) -> Permissions:
    """Hear the answers to one's own requests and their pieces, and look for earlier ones."""
    heard = (f"$KV.{answers.BUCKET}.{who}.*", f"{pieces.ROOT}.{who}.*")
    return Permissions((_get(answers.BUCKET, f"{who}.*"),), heard)


def _blobs(bucket: str) -> Permissions:
    stream = f"OBJ_{bucket}"
    return Permissions(
        (
            f"$O.{bucket}.C.*",
            f"$O.{bucket}.M.*",
            f"{_API}.STREAM.INFO.{stream}",
            f"{_API}.DIRECT.GET.{stream}",
            f"{_API}.DIRECT.GET.{stream}.$O.{bucket}.M.*",
        )
    )


def _service(plugin: Plugin) -> Permissions:
    """Answer `nats micro` and whoever asks whether it is ready. The answers themselves go to whoever asked."""
    calls = ("PING", "INFO", "STATS")
    own = (f"$SRV.{call}{name}" for call in calls for name in ("", f".{plugin.name}", f".{plugin.name}.*"))
    return Permissions((), (*own, f"stenobus.ready.{plugin.name}"))


def _schedules(plugin: Plugin) -> Permissions:
    return Permissions(
        (
            f"schedules.alarm.{plugin.name}.>",
            f"$KV.{schedules.BUCKET}.*.{plugin.name}.>",
            _get(schedules.BUCKET, ">"),
            f"{_API}.STREAM.MSG.GET.{schedules.STREAM}",
            *(subject for schedule in plugin.schedules for subject in schedule.contract.subjects()),
        )
    )


def _get(bucket: str, keys: str) -> str:
    """The last value of keys, asked for by their subject."""
    return f"{_API}.DIRECT.GET.KV_{bucket}.$KV.{bucket}.{keys}"


def _unique(subjects: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(subjects))
