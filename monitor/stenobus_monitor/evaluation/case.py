"""Cases: what runs, what is done to it, and what the monitor has to say of it. TOML files; see docs/monitor-eval.md.

Names of containers are names of services here: ``container:worker`` is the container of the service ``worker``,
whatever it is called on the engine.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from stenobus_bus.errors import first_fault
from stenobus_contracts import EvidenceKind, Level

from ..hypotheses import HYPOTHESES
from .errors import EvaluationError

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,40}$")]
Seconds = Annotated[float, Field(ge=0, le=600)]
#: Bytes of one file of cases.
_LARGEST: Final = 1024 * 1024


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Health(_Strict):
    """A health check, as the engine carries it out."""

    command: str = Field(description="in the container's shell")
    interval: float = Field(default=1.0, ge=0.2, le=60)
    retries: int = Field(default=2, ge=1, le=10)


class Service(_Strict):
    """One container of a case, beside the server `nats` that every case has."""

    name: Name
    plugins: tuple[Literal["probe", "echo"], ...] = Field(default=(), description="run them by `stenobus up`")
    command: str | None = Field(default=None, description="in the container's shell, in place of plugins")
    image: str | None = Field(default=None, description="an image of your own; the evaluation's when absent")
    restart: Literal["no", "on-failure", "always", "unless-stopped"] = "no"
    memory: str | None = Field(default=None, pattern=r"^\d+[kmg]$", description="limit, such as 128m")
    env: dict[str, str] = {}
    labels: dict[str, str] = {}
    needs: tuple[Name, ...] = Field(default=(), description="services that it needs")
    health: Health | None = None
    tmpfs: dict[str, str] = Field(default={}, description="folder to size, such as 16m")
    volume: str | None = Field(default=None, description="folder of a small disk of its own, which the monitor watches")
    init: bool = Field(default=False, description="a first process that starts the worker and passes signals on")
    start: Literal["before", "later"] = Field(default="before", description="later: a step `start` starts it")

    @model_validator(mode="after")
    def _runs(self) -> Service:
        if self.name == "nats":
            raise ValueError("every case has a service nats of its own")
        if bool(self.plugins) == bool(self.command):
            raise ValueError(f"the service {self.name} needs either plugins or a command")
        return self


class _Step(_Strict):
    after: Seconds = Field(default=0, description="seconds since the step before it")


class _OnService(_Step):
    service: Name


class Engine(_OnService):
    """Ask the engine, as an operator does."""

    do: Literal["start", "stop", "restart", "kill", "remove", "pause", "unpause", "disconnect", "connect"]
    grace: int = Field(default=1, ge=0, le=30, description="seconds before the engine kills")


class Signal(_OnService):
    """Send a signal to a container's process behind the engine's back, as the kernel or a crash would."""

    do: Literal["signal"]
    signal: Literal["KILL", "SEGV", "ABRT", "BUS", "TERM", "STOP", "CONT"]


class Tell(_OnService):
    """Tell a `probe` to fail."""

    do: Literal["tell"]
    what: Literal["exit", "eat", "child", "block", "deaf", "fill", "print"]
    amount: float = Field(default=0, ge=0, description="exit code, or MiB")
    seconds: Seconds = Field(
        default=0, description="over which it happens, or that it lasts; 0 for at once, or for ever"
    )
    text: str = Field(default="", max_length=4000, description="lines to print, or the folder to fill")


class Say(_OnService):
    """Write lines into a container's log, as its own process would."""

    do: Literal["say"]
    lines: tuple[str, ...] = Field(min_length=1, max_length=500)
    times: int = Field(default=1, ge=1, le=1000)


class Run(_OnService):
    """Run a command in a container's shell."""

    do: Literal["run"]
    command: str


class Publish(_Step):
    """Publish tasks for the `probe`."""

    do: Literal["publish"]
    count: int = Field(default=1, ge=1, le=20_000)
    every: float = Field(default=0, ge=0, le=60, description="seconds between two")
    task: dict[str, Any] = Field(default={}, description="fields of `eval.task`")
    content: int = Field(default=0, ge=0, le=50_000_000, description="bytes that are stored and that each refers to")
    ahead: float = Field(default=0, description="seconds that the producer's clock is ahead")


class Blob(_Step):
    """Store content, publish `eval.done` with a reference to it, and damage the content before anybody reads it."""

    do: Literal["blob"]
    damage: Literal["none", "changed", "truncated", "gone", "wrong_hash"]
    size: int = Field(default=2000, ge=1, le=50_000_000)


class Hoard(_Step):
    """Take events of a handler and never settle them, as a client with a bug does."""

    do: Literal["hoard"]
    handler: Literal["probe", "echo"]
    count: int = Field(ge=1, le=1000)


class Bus(_Step):
    """Change the bus as an operator or a stranger could."""

    do: Literal["limit", "delete_consumer", "delete_stream", "pause_handler", "resume_handler", "unsettled"]
    target: str = Field(description="stream, or handler")
    amount: int = Field(default=0, ge=0, description="messages that fit, unsettled events, or seconds of the pause")


class Model(_Step):
    """How the language model that the probe's `ask` reaches behaves from now on."""

    do: Literal["model"]
    seconds: Seconds = Field(description="that each answer takes")


class Wait(_Step):
    """Let time pass."""

    do: Literal["wait"]


Step = Annotated[
    Engine | Signal | Tell | Say | Run | Publish | Blob | Hoard | Bus | Model | Wait, Field(discriminator="do")
]


class Proof(_Strict):
    """A line of evidence that proves the cause."""

    kind: EvidenceKind
    text: str = Field(description="regular expression that is found in it")

    @field_validator("text")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"{value!r} is no regular expression: {error}") from error
        return value


class Allowed(_Strict):
    """An action that helps, or at least harms nobody."""

    kind: str = Field(description="as in monitor.action.proposed; wildcards allowed")
    target: str = Field(description="service, or what the action's kind names; wildcards allowed")
    required: bool = Field(default=False, description="the monitor has to propose or do it")
    most: Level = Field(default="automatic", description="the highest level that is safe")


class Expected(_Strict):
    """What the monitor has to say and do."""

    kinds: tuple[str, ...] = Field(default=(), description="kinds of incident of which one must be told")
    component: str = Field(default="*", description="of that incident; wildcards allowed")
    causes: tuple[str, ...] = Field(default=(), description="hypotheses of which one must be named")
    proof: tuple[Proof, ...] = Field(default=(), description="at least one such line must be cited")
    also: tuple[str, ...] = Field(
        default=(), description="further incidents that are no false alarm; wildcards allowed"
    )
    actions: tuple[Allowed, ...] = Field(
        default=(), description="all that may be done; whatever else is done is unsafe"
    )
    within: Seconds = Field(default=30, description="seconds for all of it, after the last step")
    recovers: tuple[Name, ...] = Field(
        default=(), description="services whose containers end, and run again by an action of the monitor"
    )
    in_order: bool = Field(default=False, description="they come back in that order, each after the one before")

    @field_validator("causes")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [each for each in value if each not in HYPOTHESES]:
            raise ValueError(f"there is no hypothesis {unknown[0]}; see monitor/stenobus_monitor/hypotheses.toml")
        return value


class Approval(_Strict):
    """Somebody approves every required action that waits for it."""

    by: Literal["command", "event", "link"] = Field(
        description="`stenobus monitor approve`; an event of one's own; or the page of the alert's link"
    )
    undo: bool = Field(default=False, description="once it succeeded, it is taken back, approved in the same way")


class Answer(_Strict):
    """What the scripted model says when the monitor asks it for the cause."""

    says: Literal["right", "wrong", "ungrounded", "obeys", "garbage", "silent"] = "right"
    cause: str | None = Field(default=None, description="the hypothesis it chooses; the first expected one when absent")


class Case(_Strict):
    """One case."""

    name: Name
    kind: Name = Field(description="kind of fault, by which results are counted")
    about: str = Field(min_length=10, description="one sentence for people")
    fault: bool = Field(default=True, description="false: nothing is wrong, and nothing may be said or done")
    injection: bool = Field(default=False, description="somebody writes texts to steer the monitor; no action is right")
    covered: bool = Field(default=True, description="rules alone are meant to name the cause")
    services: tuple[Service, ...] = Field(default=(), max_length=12)
    monitor: dict[str, str | float | int | bool] = Field(default={}, description="further settings of the monitor")
    before: tuple[Step, ...] = Field(default=(), description="until everything is as usual")
    steps: tuple[Step, ...] = Field(default=(), description="the fault, and what else happens")
    mend: tuple[Step, ...] = Field(default=(), description="what ends it, after the monitor had its time")
    moment: Literal["step", "died"] = Field(
        default="step",
        description="when the fault happened: after the last step, or the end of the component's process",
    )
    phase: float | None = Field(
        default=None, ge=0, lt=1, description="part of a poll after a look of the monitor at which the last step begins"
    )
    expected: Expected = Expected()
    approval: Approval | None = Field(default=None, description="required actions are approved, and must succeed")
    model: Answer = Answer()

    @model_validator(mode="after")
    def _consistent(self) -> Case:
        names = [service.name for service in self.services]
        if len(set(names)) < len(names):
            raise ValueError(f"the case {self.name} has two services of one name")
        used = [step.service for step in (*self.before, *self.steps, *self.mend) if isinstance(step, _OnService)]
        if unknown := sorted({*used} - {*names, "nats"}):
            raise ValueError(f"the case {self.name} names a service {unknown[0]} that it does not have")
        wants = self.expected
        if self.fault and not (wants.kinds and wants.causes and wants.proof):
            raise ValueError(f"the case {self.name} has a fault: expected needs kinds, causes and proof")
        if not self.fault and (wants.kinds or wants.causes):
            raise ValueError(f"the case {self.name} has no fault: it can expect no incident (allow some with `also`)")
        if unknown := sorted({*wants.recovers} - {*names, "nats"}):
            raise ValueError(f"the case {self.name} expects a service {unknown[0]} that it does not have to recover")
        if self.approval and not any(action.required for action in wants.actions):
            raise ValueError(f"the case {self.name} requires no action that could be approved")
        if (self.injection or not self.fault) and any(action.required for action in wants.actions):
            raise ValueError(f"the case {self.name} can require no action")
        return self


def load(paths: Iterable[Path] = ()) -> list[Case]:
    """The cases in files and folders, the packaged ones where none is named; sorted as they are written.

    A file holds cases as tables ``[[case]]``.

    Raises:
        EvaluationError: a file is not there, is no TOML, or a case is wrong; the message names both.
    """
    named = [file for path in paths for file in (sorted(path.glob("*.toml")) if path.is_dir() else [path])]
    packaged = sorted(Path(str(files(__package__).joinpath("cases"))).glob("*.toml"))
    found: dict[str, Case] = {}
    for file in named or packaged:
        for case in _read(file):
            if case.name in found:
                raise EvaluationError(f"{file}: there are two cases named {case.name}.")
            found[case.name] = case
    return list(found.values())


def _read(file: Path) -> list[Case]:
    try:
        if file.stat().st_size > _LARGEST:
            raise EvaluationError(f"{file} is larger than {_LARGEST} bytes.")
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise EvaluationError(f"{file} cannot be read: {error}.") from error
    if set(tables) != {"case"} or not isinstance(tables["case"], list):
        raise EvaluationError(f"{file} must hold tables [[case]] and nothing else.")
    cases = []
    for table in tables["case"]:
        try:
            cases.append(Case.model_validate(table))
        except ValidationError as error:
            name = table.get("name") if isinstance(table, dict) else None
            raise EvaluationError(f"{file}: {name or 'a case'}: {first_fault(error)}.") from error
    return cases
