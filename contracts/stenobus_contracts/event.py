"""The base of every contract: a frozen pydantic model bound to one subject."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict

E = TypeVar("E", bound="Event")

#: Subjects are lower-case tokens: broad to narrow, ids never in them.
SUBJECT = re.compile(r"[a-z][a-z0-9_-]*(\.[a-z][a-z0-9_-]*)+")


class ContractError(Exception):
    """A contract is declared wrongly, or two contracts claim the same subject."""


class Model(BaseModel):
    """A part of a contract: immutable, and an unknown field is carried along, never refused."""

    model_config = ConfigDict(frozen=True, extra="allow")


class Event(Model):
    """One kind of event. The subject is part of the class, so a handler's type says where it listens.

    ::

        class Shouted(Event, subject="acme.shouted"):
            text: str

    A breaking change is a new class with a higher ``version`` beside the old one; everything else is additive.

    A contract may have lanes: ``lanes=("interactive",)`` adds the subject ``acme.shouted.interactive``, whose events
    every handler of the contract prefers. Events whose :attr:`lane` is None travel on the subject itself.

    Raises:
        ContractError: at class creation, when the subject is malformed or taken by another contract.
    """

    #: The NATS subject the event travels on.
    subject: ClassVar[str]
    #: Lanes beside the subject itself, the one to prefer first.
    lanes: ClassVar[tuple[str, ...]] = ()
    #: Major version of the contract, the last part of :attr:`event_type`.
    version: ClassVar[int]
    #: CloudEvents ``type``: ``stenobus.<subject>.v<version>``.
    event_type: ClassVar[str]
    #: For an answer: the contract of the request it belongs to.
    answers: ClassVar[type[Event] | None]

    def __init_subclass__(
        cls,
        *,
        subject: str = "",
        version: int = 1,
        answers: type[Event] | None = None,
        lanes: tuple[str, ...] = (),
        **kwargs: Any,
    ) -> None:
        super().__init_subclass__(**kwargs)
        if not subject:
            return  # an abstract family, such as DocumentEvent
        cls.subject, cls.version, cls.answers, cls.lanes = subject, version, answers, lanes
        cls.event_type = f"stenobus.{subject}.v{version}"
        registry.add(cls)

    @property
    def lane(self) -> str | None:
        """The lane this event takes, None for the subject itself. Contracts with lanes override it."""
        return None

    @property
    def full_subject(self) -> str:
        """The subject this event travels on: its contract's, or that of its lane."""
        return f"{self.subject}.{self.lane}" if self.lane in self.lanes else self.subject

    @classmethod
    def subjects(cls) -> tuple[str, ...]:
        """Every subject events of the contract travel on: the lanes, the one to prefer first, then the plain one."""
        return (*(f"{cls.subject}.{lane}" for lane in cls.lanes), cls.subject)

    def body(self) -> bytes:
        """The event as it travels: its JSON and nothing else."""
        return self.model_dump_json(exclude_none=True).encode()


class Registry:
    """Every contract that has been imported, by CloudEvents type."""

    def __init__(self) -> None:
        self._types: dict[str, type[Event]] = {}

    def add(self, contract: type[Event]) -> None:
        """Register a contract.

        Raises:
            ContractError: the subject is malformed, or another class has this subject and version.
        """
        for subject in contract.subjects():
            if not SUBJECT.fullmatch(subject):
                raise ContractError(
                    f"{contract.__name__}: subject {subject!r} must be two or more lower-case words joined by dots"
                )
        known = self._types.setdefault(contract.event_type, contract)
        if (known.__module__, known.__qualname__) != (contract.__module__, contract.__qualname__):
            raise ContractError(f"{contract.__name__}: {contract.event_type} is already the contract {known.__name__}")
        self._types[contract.event_type] = contract

    def __iter__(self) -> Iterator[type[Event]]:
        return iter(sorted(self._types.values(), key=lambda contract: contract.event_type))

    def by_subject(self, subject: str) -> type[Event] | None:
        """The newest version of the contract on a subject or lane, or None when nobody declared one."""
        versions = [contract for contract in self._types.values() if subject in contract.subjects()]
        return max(versions, key=lambda contract: contract.version, default=None)

    def answer_to(self, request: type[Event]) -> type[Event] | None:
        """The contract that answers a request, or None when it is not a request."""
        return next((contract for contract in self._types.values() if contract.answers is request), None)

    def domains(self) -> list[str]:
        """First tokens of all subjects, sorted: one stream holds one domain."""
        return sorted({contract.subject.split(".")[0] for contract in self._types.values()})


#: The one registry of this process; a contract joins it when its module is imported.
registry = Registry()
