"""The schedules of plugins as the settings want them: switched off, or at another time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from stenobus_bus import ScheduleRefused, ScheduleSpec
from stenobus_bus.timing import Cron

from .errors import SettingsError
from .plugin import Plugin
from .settings import CoreSettings


def timetable(settings: CoreSettings, plugins: Iterable[Plugin]) -> list[ScheduleSpec]:
    """Every schedule of the plugins at its time, those included that are switched off.

    Raises:
        SettingsError: the time that a setting gives makes no sense.
    """
    return [_timed(settings, schedule) for plugin in plugins for schedule in plugin.schedules]


def is_off(settings: CoreSettings, schedule: ScheduleSpec) -> bool:
    """Whether the settings switch a schedule off."""
    return not {schedule.id, schedule.plugin}.isdisjoint(settings.schedules_off)


def _timed(settings: CoreSettings, schedule: ScheduleSpec) -> ScheduleSpec:
    text = settings.schedules.get(schedule.id)
    if text is None:
        return schedule
    *fields, last = text.split()
    zoned = len(fields) == 6
    try:
        timing = Cron(" ".join(fields), last) if zoned else Cron(text, schedule.timing.zone.key)
    except ScheduleRefused as error:
        raise SettingsError(f"STENOBUS_SCHEDULES (or schedules in [core]), {schedule.id}: {error}") from error
    return replace(schedule, timing=timing)
