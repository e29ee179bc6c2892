"""The rules that every plugin keeps, each of them a test on a real server.

::

    from stenobus_testing import conformance

    TestWords = conformance("acme-words")
"""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, NoReturn, cast

import pytest
import pytest_asyncio
from pydantic import ValidationError

from stenobus_bus import Bus, Envelope, RetryPolicy, apply, dead_letters, history, ledger
from stenobus_bus.topology import domain_stream
from stenobus_contracts import DeadLetter, Event, incompatibilities, registry, schemas
from stenobus_core import Check, CoreSettings, Handler, Host, Plugin, PluginError, SettingsError
from stenobus_core.discovery import discover
from stenobus_core.errors import Undeclared
from stenobus_core.services import topology

from .forgetting import forget_duplicates
from .link import Link, Sent
from .process import HostProcess, host_process, reference
from .pytest_plugin import missing
from .samples import NoSample, sample
from .stage import Outcome, Stage
from .waiting import eventually
from .watching import Call, Meanwhile, only, stall_watch, watched

#: An event, or a function that stores what the event refers to and returns the event.
Example = Event | Callable[[Stage], Awaitable[Event]]
#: How many events a handler published, by subject.
Effects = Counter[str]

#: Who publishes the examples.
SOURCE: Final = "stenobus-conformance"
#: Seconds of silence after which the rules have an event delivered again.
_ACK_WAIT: Final = 0.5
#: Nobody waits that long.
_LONG: Final = 300.0
_QUICK: Final = RetryPolicy(attempts=5, base=0.01)
_NS: Final = 1_000_000_000
#: Bytes that are no event of any contract.
_POISON: Final = {
    "nothing": b"",
    "no JSON": b"hello",
    "half of a JSON document": b'{"',
    "bytes that are no text": b"\xff\xfe\x00",
    "a list": b"[]",
    "a text": b'"text"',
    "a number": b"42",
    "null": b"null",
    "a hundred thousand open brackets": b"[" * 100_000,
}


@dataclass(frozen=True, slots=True)
class Case:
    """One handler and one event for it."""

    handler: Handler
    #: None: one is made from the contract.
    example: Example | None
    name: str


@dataclass(frozen=True, slots=True)
class Plain:
    """What comes of a case when nothing goes wrong."""

    effects: Effects
    seconds: float


def conformance(
    plugin: Plugin | str,
    *,
    examples: Sequence[Example] = (),
    beside: Sequence[Plugin] = (),
    settings: Mapping[str, Any] | None = None,
    schemas: Path | str | None = None,
    blocking: float = 1.0,
    stop_within: float = 20.0,
    within: float = 60.0,
    rules: Collection[str] = (),
) -> type[Conformance]:
    """A test class that checks that a plugin keeps every rule. Give it a name that begins with ``Test``.

    Args:
        plugin: the plugin, or the name of its entry point. It must have a name at the top of the module of its
            handlers: some rules run it in a process of its own.
        examples: events that handlers can handle; made from the contract for a handler without one. An example that
            refers to content is an ``async`` function that stores it: it gets the :class:`Stage` and returns the event.
            Functions say by their return annotation which handler they are for.
        beside: plugins that answer its requests.
        settings: the plugin's settings in these tests, by field.
        schemas: folder with the JSON Schemas its contracts have promised; ``schemas`` beside the test by default.
        blocking: seconds a handler may keep the event loop from everything else.
        stop_within: seconds a stop may take.
        within: seconds an example may take.
        rules: names of the rules to check, for a second, costly example; all when empty.

    Raises:
        PluginError: no plugin has this name, or it cannot be loaded; there is no such rule.
    """
    known = {name.removeprefix("test_") for name in vars(Conformance) if name.startswith("test_")}
    if unknown := set(rules) - known:
        raise PluginError(f"There is no rule {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}.")
    caller = sys._getframe(1).f_globals
    found = _installed(plugin) if isinstance(plugin, str) else plugin
    members = {
        **{f"test_{name}": None for name in known - set(rules) if rules},
        "__module__": caller["__name__"],
        "__doc__": f"The rules, for {found.name}.",
        "plugin": found,
        "cases": _cases(found, examples),
        "beside": tuple(beside),
        "settings": dict(settings or {}),
        "schemas": Path(schemas) if schemas else Path(caller["__file__"]).parent / "schemas",
        "blocking": blocking,
        "stop_within": stop_within,
        "within": within,
        "plain": {},
    }
    return cast("type[Conformance]", type(f"Conformance of {found.name}", (Conformance,), members))


@pytest.mark.asyncio
class Conformance:
    """The rules. :func:`conformance` makes a test class out of them."""

    plugin: ClassVar[Plugin]
    cases: ClassVar[tuple[Case, ...]]
    beside: ClassVar[tuple[Plugin, ...]]
    settings: ClassVar[dict[str, Any]]
    schemas: ClassVar[Path]
    blocking: ClassVar[float]
    stop_within: ClassVar[float]
    within: ClassVar[float]
    #: What comes of each case, once it is known.
    plain: ClassVar[dict[str, Plain]]

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Rules about events are checked with every case."""
        if "case" in metafunc.fixturenames:
            metafunc.parametrize("case", self.cases, ids=[case.name for case in self.cases])

    @pytest.fixture(autouse=True)
    def environment(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """The settings of these tests, and nothing of the machine's own file."""
        config = tmp_path / "stenobus.toml"
        config.touch()
        monkeypatch.setenv("STENOBUS_CONFIG", str(config))
        monkeypatch.setenv("STENOBUS_DATA_DIR", str(tmp_path / "data"))
        prefix = f"STENOBUS_{self.plugin.name.upper().replace('-', '_')}_"
        for name, value in self.settings.items():
            monkeypatch.setenv(f"{prefix}{name.upper()}", value if isinstance(value, str) else json.dumps(value))

    @pytest_asyncio.fixture
    async def trial(
        self, request: pytest.FixtureRequest, bus: Bus, core_settings: CoreSettings, case: Case
    ) -> AsyncIterator[Trial]:
        """The plugin on an empty bus."""
        await apply(bus, topology(core_settings.bucket))  # of the plugin's contracts too, whatever the bus fixture has
        stage = Stage(bus, core_settings.model_copy(update={"cache": False}))
        trial = Trial(type(self), case, stage, rule(request), request.config.rootpath)
        yield trial
        with suppress(TimeoutError):  # a rule of its own says that this takes too long
            async with asyncio.timeout(self.stop_within):
                for host in stage.hosts:
                    await host.stop(grace=0)

    # --- what it says about itself -----------------------------------------------------------------------------------

    async def test_settings(self, request: pytest.FixtureRequest) -> None:
        """Every setting has a description, and a default unless the test gives a value."""
        for name, field in self.plugin.settings_class.model_fields.items():
            if not field.description:
                self.broken(
                    rule(request),
                    f"the setting {name} has no description.",
                    f"Write {name}: … = Field(description='…, in which unit').",
                )
            if field.is_required() and name not in self.settings:
                self.broken(
                    rule(request),
                    f"the setting {name} has no default.",
                    f"Give it one, or a value for these tests: conformance(…, settings={{'{name}': …}}).",
                )

    async def test_doctor(self, request: pytest.FixtureRequest) -> None:
        """The doctor says what is wrong, and never raises."""
        try:
            checks = self.plugin.check()
        except SettingsError as error:
            pytest.skip(f"no settings, no doctor: {error}")
        except Exception as error:
            self.broken(
                rule(request),
                f"its doctor raises {type(error).__name__}: {error}.",
                "Catch it there and return Check(name, False, what to do).",
            )
        if wrong := next((check for check in checks if not isinstance(check, Check)), None):
            self.broken(rule(request), f"its doctor returns {wrong!r}.", "Return a list of Check.")

    async def test_schema(self, request: pytest.FixtureRequest) -> None:
        """Its contracts still keep what their checked-in schemas promised."""
        unwritten = []
        for contract in self._contracts():
            path = self.schemas / f"{contract.event_type}.json"
            now = schemas([contract])[contract.event_type]
            if path.exists():
                for problem in incompatibilities(json.loads(path.read_text(encoding="utf-8")), now):
                    self.broken(
                        rule(request),
                        f"{contract.__name__} ({contract.event_type}) is not what {path.name} promised: {problem}.",
                        f"Change only by addition, or declare a class with version={contract.version + 1} beside it.",
                    )
            elif contract.__module__.partition(".")[0] == "stenobus_contracts":
                continue  # the distribution of the contracts keeps their schemas
            elif request.config.getoption("--write-schemas"):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(now, indent=2, sort_keys=True) + "\n", encoding="utf-8")
            else:
                unwritten.append(path.name)
        if unwritten:
            missing(
                f"{self.plugin.name}: there is no {' and no '.join(unwritten)} in {self.schemas}; "
                "run `pytest --write-schemas` and check it in"
            )

    # --- what it makes of events -------------------------------------------------------------------------------------

    async def test_example(self, trial: Trial) -> None:
        """The example is handled: every other rule builds on it."""
        await trial.expected()

    async def test_declared(self, trial: Trial) -> None:
        """It publishes nothing but what it declares."""
        plain = await trial.expected()
        declared = {subject for contract in trial.case.handler.outputs for subject in contract.subjects()}
        if undeclared := sorted(plain.effects.keys() - declared):
            trial.broken(
                f"the handler {trial.name} publishes {', '.join(undeclared)} past the host, and does not declare it.",
                "Return it and name it in the return annotation, or use ctx.publish and publishes=[…].",
            )

    async def test_duplicates(self, trial: Trial) -> None:
        """The same event twice has one effect, within the server's window for duplicates and beyond it."""
        plain = await trial.expected()
        await trial.host()
        envelope = await trial.publish()
        await trial.publish(envelope)
        await trial.idle()
        await trial.compare(plain.effects, "the same event was published twice at once")
        streams = {domain_stream(subject) for subject in (*plain.effects, trial.case.handler.contract.subject)}
        for stream in streams:
            await forget_duplicates(trial.stage.bus, stream)
        await trial.publish(envelope)
        await trial.idle()
        await trial.compare(
            plain.effects,
            "the same event came again beyond the server's window for duplicates",
            "Leave ledger=True on a handler that publishes, and publish by returning or by ctx.publish.",
        )

    async def test_unknown_fields(self, trial: Trial) -> None:
        """A field that a newer producer adds is no trouble."""
        plain = await trial.expected()
        await trial.host()
        event = json.loads((await trial.event()).body())
        await trial.raw(json.dumps({**event, "x-unknown-field": 1}).encode())
        outcome = await trial.idle()
        for entry in outcome.letters:
            trial.broken(
                f"{trial.case.handler.contract.__name__} refuses an unknown field: {entry.letter.message}.",
                "Carry unknown fields along: derive from Event and Model, and do not set extra='forbid'.",
            )
        await trial.compare(plain.effects, "an event came with an unknown field")

    async def test_poison(self, trial: Trial) -> None:
        """What is no event of the contract becomes a dead letter, and the events behind it go on."""
        plain = await trial.expected()
        bodies = dict(_POISON)
        bodies.update(_broken_fields(trial.case.handler.contract, json.loads((await trial.event()).body())))
        for body in bodies.values():
            await trial.raw(body)
        await trial.publish()
        await trial.host()
        outcome = await trial.idle()
        buried = {dead_letters.data(entry.letter): entry.letter for entry in outcome.letters}
        for what, body in bodies.items():
            if body not in buried:
                trial.broken(
                    f"{trial.case.handler.contract.__name__} accepts {what} ({body[:40]!r}).",
                    "Let its validators refuse what is no object with its fields, instead of repairing it.",
                )
            if buried[body].reason != "invalid":
                trial.broken(
                    f"{what} ({body[:40]!r}) ended as {buried[body].reason}, not as invalid: {buried[body].message}.",
                    "Let the contract say what is valid, so that the handler never sees anything else.",
                )
        await trial.compare(plain.effects, "an event came behind invalid ones")

    async def test_slow(self, trial: Trial) -> None:
        """A handler that takes longer than ack_wait keeps its event; one that takes longer than its timeout ends,
        and the event is tried again."""
        plain = await trial.expected()

        async def linger(_: int) -> None:
            await asyncio.sleep(1.5 * _ACK_WAIT)

        host = await trial.host(linger, ack_wait=_ACK_WAIT)
        await trial.publish()
        await trial.idle()
        if len(trial.calls) != 1:
            trial.broken(
                f"the handler {trial.name} ran {len(trial.calls)} times for one event that took longer than ack_wait.",
                "Let nothing keep the event loop from its heartbeats: use asyncio.to_thread for what blocks.",
            )
        await host.stop()

        async def hang_once(number: int) -> None:
            if number == 1:
                await asyncio.Event().wait()

        trial.calls.clear()
        await trial.host(hang_once, timeout=max(0.3, 4 * plain.seconds), retry=_QUICK)
        await trial.publish()
        todo = "Catch Exception, not BaseException or asyncio.CancelledError, and raise the latter on."
        await trial.idle(todo)
        if len(trial.calls) == 1:
            trial.broken(
                f"the handler {trial.name} goes on when its timeout is over: it ran once, and not again after the "
                "attempt that took too long.",
                todo,
            )
        await trial.compare(plain.effects + plain.effects, "an attempt took longer than the handler's timeout", todo)

    async def test_redelivery(self, trial: Trial) -> None:
        """While its process stands still, another one gets the event; both finish it, and it has one effect."""
        plain = await trial.expected()
        await trial.others()
        await trial.publish()
        async with trial.process(_first_output, ack_wait=_ACK_WAIT) as (link, process):
            await trial.reached(link, process)
            process.pause()
            await trial.host(ack_wait=_ACK_WAIT)
            todo = "Do not lock an event: let both do the work, and make its effects repeatable."
            outcome = await trial.idle(todo)
            link.resume()
            process.go_on()
            await process.stop()
        trial.no_letters(outcome, "its process stood still, and another one got the event", todo)
        trial.no_letters(await trial.idle(), "its process stood still, and went on after another one was done", todo)
        await trial.compare(plain.effects, "two processes finished the same event", todo)

    async def test_crash(self, trial: Trial) -> None:
        """Killed before its first output is stored, killed again before it is remembered: one effect in the end."""
        plain = await trial.expected()
        await trial.others()
        await trial.publish()
        for point in (_first_output, _completion):
            async with trial.process(point, ack_wait=_ACK_WAIT) as (link, process):
                await trial.reached(link, process)
                await process.kill()
        await trial.host(ack_wait=_ACK_WAIT, retry=RetryPolicy(attempts=10, base=0.01))
        todo = "Keep no mark of your own that an event is done: return the same events again, the bus stores them once."
        trial.no_letters(await trial.idle(todo), "its process was killed", todo)
        await trial.compare(plain.effects, "its process was killed twice while it handled the event", todo)

    async def test_drain(self, trial: Trial) -> None:
        """A stop ends within its time, and what was in hand is handed back at once."""
        plain = await trial.expected()

        async def hang(_: int) -> None:
            await asyncio.Event().wait()

        host = await trial.host(hang, ack_wait=_LONG)
        await trial.publish()
        await eventually(lambda: trial.calls)
        todo = "End at cancellation, in the handler and behind the yield of the lifespan."
        try:
            async with asyncio.timeout(self.stop_within):
                await host.stop(grace=0)
        except TimeoutError:
            trial.broken(f"a stop takes longer than {self.stop_within:g} s.", todo)
        await trial.host(ack_wait=_LONG)
        trial.no_letters(await trial.idle(todo), "its host was stopped", todo)
        await trial.compare(plain.effects, "its host was stopped while it handled the event", todo)

    async def test_replay(self, trial: Trial) -> None:
        """A replay is seen by the handler, and publishes everything again under the same ids."""
        plain = await trial.expected()
        await trial.host()
        await trial.publish()
        first = trial.outputs((await trial.idle()).published)
        original = (await trial.stage.stored(trial.case.handler.contract))[-1]
        replay = await history.replay(trial.stage.bus, trial.name, [original])
        outcome = await trial.idle()
        trial.no_letters(outcome, "the event was replayed", "Handle a replayed event like any other.")
        if trial.calls[-1].event_id is not None and trial.calls[-1].replay != replay:
            trial.broken(f"the handler {trial.name} did not see the replay.", "Pass the context on as it came.")
        again = trial.outputs(outcome.published)
        if Counter(message.subject for message in again) != plain.effects:
            trial.broken(
                f"the handler {trial.name} published {_told(Counter(message.subject for message in again))} in a "
                f"replay, not {_told(plain.effects)}.",
                "Return its events in a replay too, and skip only outward effects when ctx.replay is set.",
            )
        if {message.event_id for message in first} != {message.event_id for message in again}:
            trial.broken(
                f"the outputs of {trial.name} have other ids in a replay.",
                "Publish by returning or by ctx.publish, always in the same order: ids follow from the input.",
            )

    async def test_blocking(self, trial: Trial) -> None:
        """It leaves the event loop to the others."""
        await trial.expected()
        await trial.host()
        with stall_watch(asyncio.get_running_loop(), self.blocking) as stalls:
            await trial.publish()
            await trial.idle()
        code = inspect.unwrap(trial.case.handler.function).__code__
        for stall in stalls:
            if where := stall.within(code):
                trial.broken(
                    f"the handler {trial.name} blocks the event loop for {stall.seconds:.1f} s at {where}.",
                    "Await what blocks in a thread: await asyncio.to_thread(…).",
                )

    # -----------------------------------------------------------------------------------------------------------------

    @classmethod
    def broken(cls, rule: str, what: str, todo: str) -> NoReturn:
        """The plugin breaks a rule."""
        message = f"The plugin {cls.plugin.name} breaks the rule {rule!r}: {what} {todo}"
        raise pytest.fail.Exception(message, pytrace=False) from None

    @classmethod
    def _contracts(cls) -> list[type[Event]]:
        """Every contract it handles or publishes."""
        found = {
            contract.event_type: contract
            for handler in cls.plugin.handlers
            for contract in (handler.contract, *handler.outputs)
        }
        return list(found.values())


class Trial:
    """One rule, one case: the plugin with one handler on an empty bus."""

    def __init__(self, rules: type[Conformance], case: Case, stage: Stage, rule: str, root: Path) -> None:
        self.rules, self.case, self.stage, self.rule, self._root = rules, case, stage, rule, root
        self.name = case.handler.name
        #: What the handler was called with, in this process.
        self.calls: list[Call] = []
        self._others = {f"stenobus/{handler.name}" for plugin in rules.beside for handler in plugin.handlers}
        self._event: Event | None = None
        #: Outputs so far that are not what the rule is about.
        self._before: Effects = Counter()

    # --- events ------------------------------------------------------------------------------------------------------

    async def event(self) -> Event:
        """The example, made once in every trial."""
        if self._event is None:
            self._event = await self._made()
            self._before = await self.effects()  # whatever it took to make it
        return self._event

    async def _made(self) -> Event:
        example = self.case.example
        if isinstance(example, Event):
            return example
        if example is not None:
            return await example(self.stage)
        try:
            return await sample(self.case.handler.contract, self.stage.put)
        except NoSample as error:
            pytest.fail(
                f"The plugin {self.rules.plugin.name}: no example of {self.case.handler.contract.__name__} can be "
                f"made for the handler {self.name} ({error}); pass conformance(…, examples=[…]).",
                pytrace=False,
            )

    async def publish(self, envelope: Envelope | None = None) -> Envelope:
        """Publish the example, under an envelope that was used before or under a new one."""
        event = await self.event()
        envelope = envelope or Envelope.new(event, SOURCE)
        await self.stage.bus.publish(event, envelope)
        return envelope

    async def raw(self, body: bytes) -> None:
        """Publish bytes as a stranger may."""
        await self.stage.bus.store(self.case.handler.contract.subject, body, {"ce-source": SOURCE})

    # --- the plugin --------------------------------------------------------------------------------------------------

    async def host(self, meanwhile: Meanwhile | None = None, *, ack_wait: float = _LONG, **changes: Any) -> Host:
        """Start a host in this process.

        Args:
            meanwhile: what happens in the middle of the handler.
            changes: of the handler's declaration.
        """
        await self.event()  # making it may take hosts that would share the work of this one
        plugin = only(self.rules.plugin, self.name, **watched(self.case.handler, self.calls, meanwhile), **changes)
        try:
            host = await self.stage.run(plugin, *self.rules.beside, ack_wait=ack_wait)
        except PluginError as error:
            self._not_started(str(error))
        if plugin.name in host.failed:
            self._not_started(host.failed[plugin.name])
        return host

    async def others(self) -> None:
        """Start the plugins that answer its requests, and nothing else."""
        await self.event()
        if self.rules.beside:
            await self.stage.run(*self.rules.beside)

    def process(self, until: Callable[[Sent], bool], *, ack_wait: float) -> _Process:
        """A host in a process of its own, which stands still before it sends a certain message."""
        try:
            reference(self.rules.plugin)
        except LookupError as error:
            pytest.fail(f"{error}; give it one, so that another process can run it.", pytrace=False)
        return _Process(self, until, self.stage.settings.model_copy(update={"ack_wait": ack_wait}), self._root)

    async def reached(self, link: Link, process: HostProcess) -> None:
        """Wait until the process is about to send the message."""
        reached, ended = asyncio.create_task(link.reached.wait()), asyncio.create_task(process.ended())
        await asyncio.wait([reached, ended], timeout=self.rules.within, return_when=asyncio.FIRST_COMPLETED)
        for task in (reached, ended):
            task.cancel()
        if not link.reached.is_set():
            end = f"it ended: {ended.result()}" if ended.done() and not ended.cancelled() else "it goes on"
            self.broken(
                f"the handler {self.name} handles its example in this process, but not within "
                f"{self.rules.within:g} s in another one ({end}).",
                "Let it depend on nothing but its settings and its event.",
            )

    async def idle(self, todo: str = "Let it finish or fail.") -> Outcome:
        """Wait until nothing is left to do."""
        try:
            return await self.stage.run_until_idle(self.rules.within)
        except AssertionError as error:
            self.broken(f"{error}.", todo)

    # --- what came of it ---------------------------------------------------------------------------------------------

    def outputs(self, messages: Sequence[history.Remembered]) -> list[history.Remembered]:
        """Those messages that the handler published: neither our examples, nor questions, nor answers to them, nor the
        alarms of its plugin's schedules."""
        return [
            message
            for message in messages
            if message.attributes.get("source") not in {SOURCE, *self._others}
            and not _is_question(message.subject)
            and not message.subject.startswith("schedules.")
        ]

    async def effects(self) -> Effects:
        """How many events the handler has published since the rule began."""
        return Counter(message.subject for message in self.outputs(await self.stage.published())) - self._before

    async def compare(self, wanted: Effects, when: str, todo: str = "") -> None:
        """The handler has published what it publishes when nothing goes wrong, no more and no less."""
        found = await self.effects()
        if found != wanted:
            self.broken(
                f"when {when}, the handler {self.name} published {_told(found)}, not {_told(wanted)}.",
                todo or "Return the same events for the same event, and publish nothing past the bus.",
            )

    def no_letters(self, outcome: Outcome, when: str, todo: str) -> None:
        """Nothing ended as a dead letter."""
        for entry in outcome.letters:
            self.broken(f"when {when}, the event ended as {entry.letter.reason}: {entry.letter.message}.", todo)

    async def expected(self) -> Plain:
        """What comes of the example when nothing goes wrong.

        A dead letter breaks the rule that it is about; every other rule is skipped then.
        """
        if self.case.name not in self.rules.plain:
            outcome, plain = await self._plainly()
            for entry in outcome.letters:
                self._unhandled(entry.letter)
            self.rules.plain[self.case.name] = plain
            self._before += plain.effects
            self.calls.clear()
        return self.rules.plain[self.case.name]

    def broken(self, what: str, todo: str) -> NoReturn:
        """The plugin breaks the rule."""
        self.rules.broken(self.rule, what, todo)

    def _unhandled(self, letter: DeadLetter) -> NoReturn:
        if letter.error == Undeclared.__name__:
            what, about, todo = letter.message, "declared", "Streams and permissions are made from declarations."
        else:
            made = "automatic example" if self.case.example is None else "example"
            what = (
                f"the {made} for the handler {self.name} ended as a dead letter ({letter.reason}): {letter.message}; "
                f"it was {(letter.data or '')[:300]}."
            )
            about, todo = "example", "Pass events that it can handle: conformance(…, examples=[…])."
        if self.rule == about:
            self.broken(what, todo)
        pytest.skip(f"{what} (see test_{about})")

    def _not_started(self, why: str) -> NoReturn:
        what = f"{self.rules.plugin.name} does not start: {why}"
        if self.rule == "example":
            self.broken(what, "Give it what it needs: conformance(…, settings={…}, beside=[…]).")
        pytest.skip(f"{what} (see test_example)")

    async def _plainly(self) -> tuple[Outcome, Plain]:
        loop = asyncio.get_running_loop()
        host = await self.host()
        started = loop.time()
        await self.publish()
        outcome = await self.idle()
        seconds = loop.time() - started
        with suppress(TimeoutError):
            async with asyncio.timeout(self.rules.stop_within):
                await host.stop(grace=0)
        return outcome, Plain(await self.effects(), seconds)


class _Process:
    """A host process behind a link."""

    def __init__(self, trial: Trial, until: Callable[[Sent], bool], settings: CoreSettings, root: Path) -> None:
        self._trial, self._settings, self._root = trial, settings, root
        self._link = Link.open(str(settings.nats_url), until)
        self._host: Any = None

    async def __aenter__(self) -> tuple[Link, HostProcess]:
        link = await self._link.__aenter__()
        trial = self._trial
        settings = self._settings.model_copy(update={"nats_url": link.url})
        self._host = host_process(trial.rules.plugin, trial.name, settings, self._root)
        try:
            return link, await self._host.__aenter__()
        except BaseException:
            await self._link.__aexit__(None, None, None)
            raise

    async def __aexit__(self, *exception: Any) -> None:
        await self._host.__aexit__(*exception)
        await self._link.__aexit__(*exception)


def rule(request: pytest.FixtureRequest) -> str:
    """The name of the rule that a test is about."""
    return str(request.function.__name__).removeprefix("test_").replace("_", " ")


def _first_output(sent: Sent) -> bool:
    """The handler has done its work, and nothing of it is stored."""
    return registry.by_subject(sent.subject) is not None or _completion(sent)


def _completion(sent: Sent) -> bool:
    """Its outputs are stored, and nobody knows that the event is done."""
    if sent.subject.startswith(f"$KV.{ledger.BUCKET}."):
        return True
    return sent.subject.startswith("$JS.ACK.") and sent.body.endswith(b"+ACK")


def _is_question(subject: str) -> bool:
    contract = registry.by_subject(subject)
    return contract is not None and registry.answer_to(contract) is not None


def _broken_fields(contract: type[Event], event: Mapping[str, Any]) -> dict[str, bytes]:
    """The event with one field missing or of another kind at a time, as far as the contract cares."""
    found = {}
    for name in event:
        for what, changed in {
            f"no {name}": {key: value for key, value in event.items() if key != name},
            f"a {name} of another kind": {**event, name: {"unexpected": []}},
        }.items():
            body = json.dumps(changed).encode()
            try:
                contract.model_validate_json(body)
            except ValidationError:
                found[what] = body
    return found


def _told(effects: Effects) -> str:
    return ", ".join(f"{count} × {subject}" for subject, count in sorted(effects.items())) or "nothing"


def _installed(name: str) -> Plugin:
    found = discover(CoreSettings(), [name])
    if name in found.broken:
        raise PluginError(f"The plugin {name} cannot be loaded: {found.broken[name]}")
    return found.plugins[name]


def _cases(plugin: Plugin, examples: Sequence[Example]) -> tuple[Case, ...]:
    cases = []
    for handler in plugin.handlers:
        matching = [example for example in examples if _contract(example) is handler.contract]
        cases += [
            Case(handler, example, f"{handler.name}-{number}" if len(matching) > 1 else handler.name)
            for number, example in enumerate(matching or [None], start=1)
        ]
    used = {handler.contract for handler in plugin.handlers}
    for example in examples:
        if _contract(example) not in used:
            raise PluginError(f"{plugin.name}: no handler takes the example {example}; check its contract.")
    return tuple(cases)


def _contract(example: Example) -> type[Event]:
    if isinstance(example, Event):
        return type(example)
    found = inspect.get_annotations(example, eval_str=True).get("return")
    if not (isinstance(found, type) and issubclass(found, Event)):
        raise PluginError(f"The example {example} must say by its return annotation which event it makes.")
    return found
