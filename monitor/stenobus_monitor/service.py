"""The monitor plugin: it watches by itself, and hears its own incidents like everybody else."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from stenobus_bus import RetryableError, RetryPolicy
from stenobus_contracts import (
    LlmDone,
    LlmRequest,
    MonitorActionApproved,
    MonitorActionDone,
    MonitorActionProposed,
    MonitorAlert,
    MonitorDiagnosed,
    MonitorIncident,
    MonitorLabelled,
)
from stenobus_core import AnswerRefused, Check, Client, Context, PermanentError, Plugin
from stenobus_core.blobs import Blobs
from stenobus_core.runs import Runs
from stenobus_core.session import connect
from stenobus_core.settings import CoreSettings

from .actions.approvals import ApprovalRefused, Approvals, Checker
from .actions.hands import Hands
from .actions.levels import CRASHED_PLUGIN, FULL_DISK
from .actions.life import Life
from .actions.progress import Progress
from .actions.proposing import Proposing
from .actions.remedies import Tools, remedies
from .alerts import alert_line, alerts
from .channels import sender
from .diagnosis import MOST_CALLS, Means, Record, by_rule
from .diagnosis import diagnose as find_cause
from .dossier import gather
from .engine import Engine
from .precision import Precision
from .proposals import CALLS
from .pulse import Pulse
from .settings import Settings
from .store import BUCKET, TTL, Store
from .telling import action_alerts, said, summary
from .watch import Watch, speaks
from .watching import graph, lookouts, policy, rules

#: Kinds of actions that can have a level.
KINDS = {CRASHED_PLUGIN, FULL_DISK, *(call.kind for calls in CALLS.values() for call in calls)}

plugin = Plugin(
    "monitor",
    summary="Watches containers, bus and pipeline, and says what is wrong and why",
    settings=Settings,
    buckets={BUCKET: TTL},
    watches=True,
    publishes=[MonitorIncident],
    clients={
        "monitor-api": Client(
            reads=(BUCKET,),
            writes={BUCKET: ("label.*", "silence.*", "hold.*")},
            publishes=(MonitorLabelled, MonitorActionApproved),
        ),
        "monitor-remedies": Client(repairs=True),
    },
)


@plugin.enabled
def enabled(settings: Settings) -> bool:
    """Only where somebody asks for it."""
    return settings.on


@dataclass(frozen=True, slots=True)
class Guard:
    """What runs while the plugin runs."""

    watch: Watch
    proposing: Proposing
    life: Life


@plugin.lifespan
async def watching(settings: Settings) -> AsyncIterator[Guard]:
    """The watch and the life of actions, from the first event to the last."""
    core = CoreSettings.load("core")
    if settings.nats_creds:
        core = core.model_copy(update={"nats_creds": settings.nats_creds})
    engine = Engine(str(settings.engine)) if settings.engine else None
    async with AsyncExitStack() as resources:
        if engine is not None:
            resources.push_async_callback(engine.close)
        session = await resources.enter_async_context(connect(core, name="stenobus monitor"))
        store, blobs = await Store.open(session.bus), Blobs(core, session.bus)
        resources.push_async_callback(blobs.close)
        found = await lookouts(settings, core, session.bus, blobs, engine, store)
        watch = Watch(
            session.bus,
            store,
            found.collectors,
            rules(settings),
            policy(settings),
            graph=graph(settings, core),
            places=found.places,
            pulse=Pulse(store, settings.beat, found.rhythms, settings.heartbeat_url),
            out=sys.stdout,
        )
        hands = Hands(str(settings.executor), partial(_token, store)) if settings.executor else None
        if hands is not None:
            resources.push_async_callback(hands.close)
        bus = session.bus
        if settings.remedy_creds:
            repairing = core.model_copy(update={"nats_creds": settings.remedy_creds})
            bus = (await resources.enter_async_context(connect(repairing, name="stenobus monitor remedies"))).bus
        content, runs = Blobs(core, bus), await Runs.open(bus)
        resources.push_async_callback(content.close)
        known = remedies(Tools(settings, core, bus, content, store, runs, watch.graph, engine, hands))
        checker: Checker = hands or Approvals(settings.approval_key)
        proposing = Proposing(
            store,
            known,
            checker,
            Precision(store.labels, settings.trust, settings.trust_labels),
            engine,
            levels=settings.levels,
            holds_for=timedelta(seconds=settings.approval_time),
            able=hands is not None,
            url=settings.approval_url,
        )
        life = Life(store, known, checker, Progress(session.bus, store, watch.graph), engine)
        await watch.start()
        try:
            yield Guard(watch, proposing, life)
        finally:
            await watch.stop()


async def _token(store: Store, action_id: str) -> str | None:
    """What an action was approved with."""
    course = await store.course(action_id.removesuffix("-undo"))
    return course.token if course is not None else None


@plugin.doctor
def doctor(settings: Settings) -> list[Check]:
    """Whether sockets and key are there, and levels are of actions that there are."""
    unknown = sorted(settings.levels.keys() - KINDS)
    return [
        _socket("engine", settings.engine, "containers are not watched; STENOBUS_MONITOR_ENGINE names its socket"),
        _socket("executor", settings.executor, "nothing is done to them; STENOBUS_MONITOR_EXECUTOR names its socket"),
        _key(settings),
        Check("levels", not unknown, f"there is no action {', '.join(unknown)}" if unknown else "of actions there are"),
    ]


def _key(settings: Settings) -> Check:
    where = "the executor says which hold" if settings.executor else "nothing can be approved"
    if settings.approval_key is None:
        return Check("approvals", True, f"{where}; STENOBUS_MONITOR_APPROVAL_KEY names the key of those who approve")
    try:
        Approvals(settings.approval_key).read()
    except ApprovalRefused as error:
        return Check("approvals", False, str(error))
    return Check("approvals", True, str(settings.approval_key))


def _socket(name: str, path: Path | None, without: str) -> Check:
    if path is None:
        return Check(name, True, without)
    there = path.is_socket()
    return Check(name, there, str(path) if there else f"{path} is no socket")


# Alerts and proposals of one incident follow each other, so that its end is never told before its beginning.
@plugin.handler(name="monitor-alert", concurrency=1)
async def alert(event: MonitorIncident, ctx: Context[Settings, Guard]) -> list[MonitorAlert]:
    """Tell people at once, on standard output and through the channels that take it; no model is waited for."""
    if ctx.replay is not None or ctx.shadow is not None or not speaks(event):
        return []
    print(alert_line(event), flush=True)
    known = await ctx.state.watch.store.courses() if event.status == "resolved" else []
    return alerts(event, by_rule(event), ctx.settings.channels, summary(known, event))


@plugin.handler(name="monitor-explain", concurrency=1)
async def explain(event: MonitorDiagnosed, ctx: Context[Settings, Guard]) -> list[MonitorAlert]:
    """Tell people again when a model found another cause than the rule that they heard of."""
    known = await ctx.state.watch.store.incident(event.incident_id)
    if known is None or ctx.replay is not None or ctx.shadow is not None or known.status == "resolved":
        return []
    if event.method == "rule" or event.cause == by_rule(known.incident).cause:
        return []
    return alerts(known.incident, event, ctx.settings.channels)


@plugin.handler(name="monitor-send", concurrency=4, timeout=300, retry=RetryPolicy(attempts=12, base=5.0, cap=600.0))
async def send(event: MonitorAlert, ctx: Context[Settings, Guard]) -> None:
    """Deliver an alert; what is delivered already is not sent again."""
    channel = next((each for each in ctx.settings.channels if each.name == event.channel), None)
    if channel is None:
        raise PermanentError(f"There is no channel {event.channel} any more.")

    async def delivered(parts: int) -> None:
        ctx.note(delivered=parts)

    await ctx.progress(0.0, f"to {channel.name}")
    done = ctx.earlier.get("delivered", 0)
    async with ctx.state.watch.turn(f"channel.{channel.name}"):  # so that they come in order
        parts = await sender(channel).send(event, done if isinstance(done, int) else 0, delivered)
    ctx.note(channel=channel.name, parts=parts)


@plugin.handler(name="monitor-diagnose", concurrency=4, timeout=3600, requests=[LlmRequest])
async def diagnose(event: MonitorIncident, ctx: Context[Settings, Guard]) -> MonitorDiagnosed | None:
    """Find the probable cause of an incident that opened, or that became one of another kind."""
    if event.status != "open" or not speaks(event):
        return None
    async with ctx.state.watch.turn(event.incident_id):  # its revisions follow each other
        store = ctx.state.watch.store
        known = await store.diagnosis(event.incident_id)
        if known.kind == event.kind:  # again only where the process died before anybody heard of it
            return known.found if known.revision == event.revision else None
        causes = {name: found.cause for name, found in (await store.diagnoses()).items()}
        needs = ctx.state.watch.graph.needs(event.component)
        facts = gather(event, await store.incidents(), needs, causes, ctx.settings.diagnosis_tokens)
        calls = MOST_CALLS - known.calls if ctx.settings.diagnose != "rules" else 0
        means = Means(partial(_asked, ctx), calls, escalate=ctx.settings.diagnose == "any")
        found, made = await find_cause(event, facts, means)
        if ctx.shadow is None:
            record = Record(kind=event.kind, revision=event.revision, calls=known.calls + made, found=found)
            await store.put_diagnosis(event.incident_id, record)
        return found


async def _asked(ctx: Context[Settings, Guard], request: LlmRequest) -> LlmDone | None:
    try:
        done = await ctx.request(request, timeout=ctx.settings.diagnosis_timeout)
    except AnswerRefused as refused:
        done = refused.answer
    except RetryableError:  # none in time, or a model that cannot now: the rule's result does not wait for it
        return None
    return done if isinstance(done, LlmDone) else None


@plugin.handler(name="monitor-propose", concurrency=1)
async def propose(event: MonitorIncident, ctx: Context[Settings, Guard]) -> list[MonitorActionProposed]:
    """Propose what the kind of incident calls for."""
    return await ctx.state.proposing.propose(event) if _now(ctx) else []


# An action waits its turn inside the handler, for up to two minutes, and then for a container to become well.
_PATIENT = RetryPolicy(attempts=60, base=1.0, cap=30.0)


@plugin.handler(name="monitor-act", concurrency=8, timeout=1800, retry=_PATIENT)
async def act(event: MonitorActionProposed, ctx: Context[Settings, Guard]) -> MonitorActionDone | None:
    """Do what asks nobody. What is in the bucket decides, not what the event says."""
    return await ctx.state.life.carry_out(event.action.action_id) if _now(ctx) else None


@plugin.handler(name="monitor-approve", concurrency=8, timeout=1800, retry=_PATIENT)
async def approve(event: MonitorActionApproved, ctx: Context[Settings, Guard]) -> MonitorActionDone | None:
    """Do what somebody approved."""
    return await ctx.state.life.approve(event, ctx.event_id) if _now(ctx) else None


@plugin.handler(name="monitor-ask", concurrency=1)
async def ask(event: MonitorActionProposed, ctx: Context[Settings, Guard]) -> list[MonitorAlert]:
    """Tell people what waits for them: what they may approve, and what they have to do by hand."""
    known = await ctx.state.watch.store.incident(event.action.incident_id)
    if known is None or event.level not in {"propose", "approve"} or not _now(ctx):
        return []
    print(f"PROPOSED {event.action.action_id} {event.dry_run} ({event.level})", flush=True)
    return action_alerts(event, known.incident, ctx.settings.channels, link=ctx.state.proposing.link(event))


@plugin.handler(name="monitor-report", concurrency=1)
async def report(event: MonitorActionDone, ctx: Context[Settings, Guard]) -> list[MonitorAlert]:
    """Tell people what came of an action."""
    known = await ctx.state.watch.store.incident(event.action.incident_id)
    if known is None or not _now(ctx):
        return []
    print(f"DONE {event.action.action_id} {said(event)}", flush=True)
    course = await ctx.state.watch.store.course(event.action.action_id)
    undoable = course is not None and course.objection(datetime.now(UTC), undo=True) is None
    return action_alerts(event, known.incident, ctx.settings.channels, undoable=undoable)


def _now(ctx: Context[Settings, Guard]) -> bool:
    """Whether this is about the present: a replay or a shadow does nothing to anything."""
    return ctx.replay is None and ctx.shadow is None
