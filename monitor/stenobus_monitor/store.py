"""What the monitor must not forget: incidents, diagnoses, labels, silences, states. `nats kv` reads the bucket, too."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any, Final, TypeVar

import structlog
from nats.errors import Error as NatsError
from nats.js.errors import KeyNotFoundError
from nats.js.kv import KeyValue
from pydantic import BaseModel, JsonValue, ValidationError

from stenobus_bus import Bus, ServerUnavailable, direct
from stenobus_bus.cell import Cell
from stenobus_contracts import MonitorDiagnosed

from .actions.course import Course
from .actions.holds import Hold
from .actions.pauses import OwnPause
from .diagnosis import Record
from .incidents import Entry
from .labels import Label
from .silences import Silence

log = structlog.get_logger(__name__)
M = TypeVar("M", bound=BaseModel)

BUCKET: Final = "stenobus_monitor"
#: Seconds a key is kept after its last change.
TTL: Final = 90 * 86_400.0


class Store:
    """The bucket. Every method raises ServerUnavailable when the server does not answer.

    ::

        incident.<id>   diagnosis.<id>   rule.<name>   place.<collector>   silence.<id>   label.<incident>
        action.<id>   budget   hold.<id>   paused.<handler>   quarantine.<action>
    """

    def __init__(self, bus: Bus, bucket: KeyValue) -> None:
        self._bus, self._bucket = bus, bucket

    @classmethod
    async def open(cls, bus: Bus) -> Store:
        """The store of a bus, whose bucket the plugin declares."""
        return cls(bus, await bus.bucket(BUCKET))

    async def put_incident(self, entry: Entry) -> None:
        """Keep an incident as it is."""
        await self._put(f"incident.{entry.incident.incident_id}", entry.model_dump_json(exclude_none=True))

    async def incident(self, incident_id: str) -> Entry | None:
        """One incident, None when it is not known."""
        text = await self._get(f"incident.{incident_id}")
        return Entry.model_validate_json(text) if text is not None else None

    async def incidents(self) -> list[Entry]:
        """All incidents that are remembered, the oldest first."""
        found = [entry async for entry in self._all("incident.>", Entry)]
        return sorted(found, key=lambda entry: entry.incident.started_at)

    async def put_diagnosis(self, incident_id: str, record: Record) -> None:
        """Keep what was found out about an incident."""
        await self._put(f"diagnosis.{incident_id}", record.model_dump_json(exclude_none=True))

    async def diagnoses(self) -> dict[str, MonitorDiagnosed]:
        """What was found out about all incidents, by their ids."""
        records = [record async for record in self._all("diagnosis.>", Record)]
        return {record.found.incident_id: record.found for record in records if record.found is not None}

    async def diagnosis(self, incident_id: str) -> Record:
        """What was found out about one incident."""
        text = await self._get(f"diagnosis.{incident_id}")
        return Record.model_validate_json(text) if text is not None else Record()

    async def put_silence(self, silence: Silence) -> None:
        """Keep a silence, in place of one of its id."""
        await self._put(f"silence.{silence.id}", silence.model_dump_json())

    async def remove_silence(self, silence_id: str) -> bool:
        """Forget a silence; false when there was none."""
        return await self._remove(f"silence.{silence_id}")

    async def silences(self) -> list[Silence]:
        """All silences, those that are over as well."""
        return [silence async for silence in self._all("silence.>", Silence)]

    async def put_label(self, label: Label) -> None:
        """Keep what people say of an incident, in place of what they said before."""
        await self._put(f"label.{label.incident_id}", label.model_dump_json(exclude_none=True))

    async def label(self, incident_id: str) -> Label | None:
        """What people say of an incident, None when they said nothing."""
        text = await self._get(f"label.{incident_id}")
        return Label.model_validate_json(text) if text is not None else None

    async def labels(self) -> list[Label]:
        """All labels that are remembered."""
        return [label async for label in self._all("label.>", Label)]

    async def course(self, action_id: str) -> Course | None:
        """What has become of an action, None when it is not known."""
        text = await self._get(f"action.{action_id}")
        return Course.model_validate_json(text) if text else None

    async def courses(self) -> list[Course]:
        """What has become of all actions, the oldest first."""
        found = [course async for course in self._all("action.>", Course)]
        return sorted(found, key=lambda course: course.trail[0].at)

    async def change_course(self, action_id: str, step: Callable[[Course | None], Course]) -> Course:
        """Take an action one step further by compare-and-set; whatever ``step`` raises leaves it as it is."""

        def change(value: dict[str, Any]) -> tuple[dict[str, Any], Course]:
            new = step(Course.model_validate(value) if value else None)
            return new.model_dump(mode="json", exclude_none=True), new

        return await self.cell(f"action.{action_id}").change(change)

    def cell(self, key: str) -> Cell:
        """A record that several processes change."""
        return Cell(self._bus, key, BUCKET)

    async def put_hold(self, hold: Hold) -> None:
        """Keep a hold, in place of one of its id."""
        await self._put(f"hold.{hold.id}", hold.model_dump_json())

    async def remove_hold(self, hold_id: str) -> bool:
        """End a hold; false when there was none."""
        return await self._remove(f"hold.{hold_id}")

    async def holds(self) -> list[Hold]:
        """All holds, those that are over as well."""
        return [hold async for hold in self._all("hold.>", Hold)]

    async def put(self, key: str, value: JsonValue) -> None:
        """Keep a value under a key such as ``rule.deaths``."""
        await self._put(key, json.dumps(value))

    async def get(self, key: str) -> JsonValue:
        """The value of a key, None when there is none."""
        text = await self._get(key)
        try:
            value: JsonValue = json.loads(text) if text is not None else None
        except ValueError:
            log.warning("store.damaged", key=key)
            return None
        return value

    async def put_pause(self, pause: OwnPause) -> None:
        """Keep that the monitor paused a handler, or until when it had."""
        await self._put(f"paused.{pause.handler}", pause.model_dump_json())

    async def pauses(self) -> dict[str, datetime]:
        """Until when the monitor paused which handlers, those whose time is over as well."""
        return {pause.handler: pause.until async for pause in self._all("paused.>", OwnPause)}

    async def _put(self, key: str, text: str) -> None:
        try:
            await self._bucket.put(key, text.encode())
        except (NatsError, OSError) as error:
            raise _silent(error) from error

    async def _remove(self, key: str) -> bool:
        known = bool(await self._get(key))
        if known:
            try:
                await self._bucket.delete(key)
            except (NatsError, OSError) as error:
                raise _silent(error) from error
        return known

    async def _get(self, key: str) -> bytes | None:
        try:
            return (await self._bucket.get(key)).value
        except KeyNotFoundError:
            return None
        except (NatsError, OSError) as error:
            raise _silent(error) from error

    async def _all(self, keys: str, shape: type[M]) -> AsyncIterator[M]:
        try:
            async for message in direct.messages(self._bus.nc, f"KV_{BUCKET}", f"$KV.{BUCKET}.{keys}"):
                try:
                    if message.data:  # a deleted key is empty
                        yield shape.model_validate_json(message.data)
                except ValidationError:
                    log.warning("store.damaged", subject=message.subject)
        except (NatsError, TimeoutError) as error:
            raise _silent(error) from error


def _silent(error: Exception) -> ServerUnavailable:
    return ServerUnavailable(f"The bucket {BUCKET} does not answer ({type(error).__name__}).")
