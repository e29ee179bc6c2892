"""Every other rule, on simulated observations: trouble where there is some, silence where there is none."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from stenobus_monitor.findings import Trouble
from stenobus_monitor.observations import (
    Advised,
    BlobChecked,
    ClockSeen,
    CollectorState,
    ContainerDied,
    ContainerGone,
    ContainerHealth,
    ContainerSeen,
    ContainerSignalled,
    ContainerUsage,
    DiskSeen,
    EventStored,
    HandlerSeen,
    LetterSeen,
    LettersRising,
    LogLines,
    LogSeen,
    MetricSeen,
    StepsRead,
    StreamSeen,
)
from stenobus_monitor.rules.backlog import Backlog
from stenobus_monitor.rules.blindness import Blindness
from stenobus_monitor.rules.clocks import Clocks
from stenobus_monitor.rules.contents import Contents
from stenobus_monitor.rules.deletions import Deletions
from stenobus_monitor.rules.errors import Errors
from stenobus_monitor.rules.fullness import Fullness
from stenobus_monitor.rules.health import Health
from stenobus_monitor.rules.letters import Letters
from stenobus_monitor.rules.memory import Memory
from stenobus_monitor.rules.metrics import Metrics
from stenobus_monitor.rules.networks import Networks
from stenobus_monitor.rules.orphans import Orphans
from stenobus_monitor.rules.poison import Poison
from stenobus_monitor.rules.slowness import Slowness

from .simulated import Story, at, container, handler, step

# --- a backlog --------------------------------------------------------------------------------------------------------


POLL = 5.0
#: What a collector sees between two looks while something is in doubt.
CLOSER = POLL / 3
DEAF = {"pending": 5, "waiting": 0, "asked": 0, "room": 2}


def told_after(story: Story, begin: float = 0.0, **standing: Any) -> float:
    """Seconds from the first of many close looks at something that stands still until it is told."""
    for look in range(40):
        if story.sees(handler(begin + look * CLOSER, **standing)):
            return look * CLOSER
    raise AssertionError("never told")


@pytest.mark.parametrize(
    ("standing", "kind", "polls"),
    [
        ({"pending": 5, "processes": 0, "waiting": 0}, "handler.absent", 4 / 3),
        ({"unsettled": 1, "processes": 0, "waiting": 0}, "handler.absent", 4 / 3),
        (DEAF, "consumer.stalled", 2 / 3),
        ({**DEAF, "waiting": 1}, "consumer.stalled", 2 / 3),  # a dead process's request, or somebody else's
        ({"pending": 5, "waiting": 0}, "consumer.stalled", 8 / 3),  # an older version, which says less
        ({"pending": 5, "waiting": 0, "asked": 0, "room": 0}, "consumer.stalled", 9),  # others have its share
        ({"pending": 5, "waiting": 0, "asked": 1, "room": 1}, "consumer.stalled", 8 / 3),  # a request that got lost
        ({"pending": 5, "waiting": 3, "asked": 3, "room": 0}, "handler.idle", 8 / 3),
        ({"pending": 5, "waiting": 3, "asked": 0, "room": 0}, "handler.idle", 8 / 3),
        ({"unsettled": 100, "in_hand": 2}, "consumer.blocked", 8 / 3),
    ],
)
def test_a_backlog_that_nobody_works_on_is_told_once_it_is_certain(
    standing: dict[str, int], kind: str, polls: float
) -> None:
    story = Story(Backlog(POLL))
    assert told_after(story, **standing) == pytest.approx(polls * POLL)
    story.sees(handler(80, **standing), handler(85, floor=15))
    assert story.kinds == [kind, kind, "recovered backlog"]
    assert [each.again for each in story.found[:2]] == [True, False]  # type: ignore[attr-defined]


def test_what_the_processes_say_themselves_is_part_of_the_evidence() -> None:
    story = Story(Backlog(POLL))
    told_after(story, **DEAF)
    (trouble,) = story.found
    assert isinstance(trouble, Trouble)
    assert any("they say they asked for 0 and could ask for 2" in each.text for each in trouble.evidence)


def test_a_short_poll_makes_nobody_faster() -> None:
    story = Story(Backlog(0.5))
    story.sees(*(handler(each / 4, **DEAF) for each in range(12)))
    assert story.kinds == []
    story.sees(handler(3, **DEAF))
    assert story.kinds == ["consumer.stalled"]


@pytest.mark.parametrize("phase", [0.01, 0.5, 0.99])
def test_a_stall_is_told_within_two_polls_wherever_it_begins_between_two_looks(phase: float) -> None:
    story = Story(Backlog(POLL))
    story.sees(handler(0, pending=9, waiting=0, in_hand=2, asked=0, room=0, handled=20))
    begin = phase * POLL
    assert POLL - begin + told_after(story, POLL, **DEAF, handled=40, floor=30) < 2 * POLL


def test_what_moves_meanwhile_begins_anew() -> None:
    story = Story(Backlog(POLL))
    story.sees(handler(0, **DEAF), handler(2, **DEAF), handler(3.5, **DEAF, failures=1))
    assert told_after(story, 3.5, **DEAF, failures=1) == pytest.approx(2 / 3 * POLL)


def test_one_word_among_others_proves_nothing() -> None:
    story = Story(Backlog(POLL))
    busy = {**DEAF, "room": 0}
    story.sees(handler(0, **DEAF), handler(2, **busy), handler(4, **DEAF))
    assert story.kinds == []
    assert told_after(story, 4, **DEAF) == pytest.approx(2 / 3 * POLL)


def test_hands_that_hang_are_told_by_how_long_nothing_was_settled() -> None:
    story, full = Story(Backlog(POLL)), {"unsettled": 100, "in_hand": 2}
    story.sees(handler(0), handler(5), handler(10))
    assert told_after(story, 15, **full) == pytest.approx(2 / 3 * POLL)
    moving = Story(Backlog(POLL))
    moving.sees(*(handler(5 * look, **full, floor=look) for look in range(6)))
    assert moving.kinds == []


# --- nobody there -----------------------------------------------------------------------------------------------------

GONE = {"pending": 5, "processes": 0, "waiting": 0}


def host(started: float = -100, **more: Any) -> ContainerSeen:
    return ContainerSeen(
        at=at(0), container=container("asr-1", labels={"stenobus.plugin": "asr"}, started=started, **more)
    )


@pytest.mark.parametrize(
    ("engine", "polls"),
    [
        ([], 4 / 3),  # nobody shows whether it is on its way back
        ([host()], 2 / 3),
        ([host(status="exited")], 4 / 3),
        ([host(started=-1)], 2 / 3),  # it started just now, and spoke since
        ([host(started=4)], 4 / 3),
        ([ContainerSeen(at=at(0), container=container("other"))], 4 / 3),
    ],
    ids=str,
)
def test_whoever_may_be_on_the_way_is_waited_for(engine: list[Any], polls: float) -> None:
    story = Story(Backlog(POLL))
    story.sees(*engine, handler(0))
    assert told_after(story, 5, **GONE, silent_since=at(5 / 3)) == pytest.approx(polls * POLL)
    assert story.kinds[0] == "handler.absent"


def test_whoever_may_be_too_busy_to_answer_is_waited_for() -> None:
    story = Story(Backlog(POLL))
    story.sees(host(), handler(2))
    assert told_after(story, 5, **GONE, silent_since=at(5)) == pytest.approx(4 / 3 * POLL)
    story = Story(Backlog(POLL))
    story.sees(host(), handler(2), *(handler(5 + each, **GONE, silent_since=at(each)) for each in range(20)))
    assert story.kinds == []  # it answers now and then, between two looks


def test_nobody_expects_a_word_of_what_ran_in_a_container_that_is_gone() -> None:
    other = ContainerSeen(at=at(0), container=container("other"))
    story = Story(Backlog(POLL))
    story.sees(other, host(), handler(0, in_hand=1, unsettled=1), ContainerGone(at=at(1), name="asr-1"))
    assert told_after(story, 5, **GONE, silent_since=at(5 / 3)) == pytest.approx(2 / 3 * POLL)


def test_nobody_is_missed_while_somebody_restarts_the_only_worker() -> None:
    story = Story(Backlog())
    story.sees(ContainerSeen(at=at(0), container=container("asr-1", labels={"stenobus.plugin": "asr"})))
    story.sees(ContainerSignalled(at=at(1), name="asr-1", signal="SIGTERM"))
    story.sees(*(handler(second, pending=5, processes=0) for second in (2, 7, 12)))
    assert story.kinds == []
    story.sees(*(handler(second, pending=5, processes=0) for second in (17, 22, 27)))
    assert story.kinds == ["handler.absent"]  # it is not back


def test_a_restart_explains_that_nobody_answers_and_nothing_else() -> None:
    story = Story(Backlog(POLL))
    story.sees(host(), ContainerSignalled(at=at(1), name="asr-1", signal="SIGTERM"))
    assert told_after(story, 2, **DEAF) == pytest.approx(2 / 3 * POLL)


@pytest.mark.parametrize("change", [{"status": "paused"}, {"cut_off": True}], ids=str)
def test_what_is_frozen_or_cut_off_does_not_hang(change: dict[str, Any]) -> None:
    story = Story(Backlog())
    story.sees(ContainerSeen(at=at(0), container=container("asr-1", labels={"stenobus.plugin": "asr"}, **change)))
    story.sees(*(handler(second, processes=0) for second in (40, 45, 50, 55)))
    assert story.kinds == []


def test_a_container_on_no_network_is_cut_off_until_it_is_on_one_again() -> None:
    story = Story(Networks())
    story.sees(ContainerSeen(at=at(0), container=container(cut_off=True)))
    assert story.waits(2) == []  # it may be on its way to another one
    (trouble,) = story.waits(4)
    assert (trouble.component, trouble.kind, trouble.at) == ("container:worker", "container.cut_off", at(0))  # type: ignore[attr-defined]
    assert story.waits(5) == []
    story.sees(ContainerSeen(at=at(6), container=container()))
    assert story.kinds == ["container.cut_off", "recovered network"]
    story.sees(ContainerSeen(at=at(7), container=container(cut_off=True)), ContainerGone(at=at(8), name="worker"))
    assert story.waits(20) == []


def test_a_container_that_runs_and_does_not_answer_hangs() -> None:
    story = Story(Backlog())
    story.sees(ContainerSeen(at=at(0), container=container("asr-1", labels={"stenobus.plugin": "asr"})))
    story.sees(handler(10, processes=0), handler(20, processes=0))
    assert story.kinds == []  # it is starting
    story.sees(*(handler(40 + each, processes=0, handler=name) for each in (0, 2, 5) for name in ("asr", "asr-late")))
    assert story.kinds == []  # it may be busy
    story.sees(handler(47, processes=0), handler(50, processes=0))
    assert story.kinds == ["container.hung"]
    assert story.found[0].component == "container:asr-1"
    story.sees(handler(55))
    assert story.kinds == ["container.hung", "recovered hang"]


def test_the_time_that_a_container_has_to_start_counts_for_nothing() -> None:
    story = Story(Backlog(POLL))
    story.sees(host(started=0), *(handler(each, processes=0, silent_since=at(1)) for each in (10, 20, 30, 35)))
    assert story.kinds == []
    story.sees(handler(36, processes=0, silent_since=at(1)))
    assert story.kinds == ["container.hung"]


# --- dead letters -----------------------------------------------------------------------------------------------------


def letter(seconds: float, reason: str) -> LetterSeen:
    return LetterSeen(
        at=at(seconds), handler="asr", reason=reason, event_id="e1", run="r1", attempts=3, error="E", message="no"
    )


def test_what_ends_its_worker_is_no_consequence_of_the_worker_s_end() -> None:
    (crashed,) = Story(Letters()).sees(letter(1, "crashed"))
    (lost,) = Story(Letters()).sees(letter(1, "undelivered"))
    assert isinstance(crashed, Trouble) and isinstance(lost, Trouble)
    assert (crashed.symptom, lost.symptom) == (False, True)


def test_a_rising_rate_of_dead_letters_is_told_with_the_latest_error_and_its_end() -> None:
    story = Story(Letters())
    rising = {"handler": "asr", "previous": 0, "reason": "permanent"}
    story.sees(letter(1, "permanent"))
    (trouble,) = story.sees(LettersRising(at=at(2), resolved=False, count=12, **rising))  # type: ignore[arg-type]
    assert isinstance(trouble, Trouble) and [each.kind for each in trouble.evidence] == ["bus", "bus", "log"]
    story.sees(LettersRising(at=at(400), resolved=True, count=1, **rising))  # type: ignore[arg-type]
    assert story.kinds == ["handler.dead_letters", "recovered letters"]


def test_letters_that_another_attempt_could_help_are_left_when_the_trouble_is_over() -> None:
    story = Story(Letters())
    rising = {"handler": "asr", "previous": 0, "reason": "exhausted"}
    story.sees(letter(1, "exhausted"), letter(2, "exhausted"), letter(3, "permanent"))
    story.sees(LettersRising(at=at(4), resolved=False, count=3, **rising))  # type: ignore[arg-type]
    _, left = story.sees(LettersRising(at=at(400), resolved=True, count=1, **rising))  # type: ignore[arg-type]
    assert isinstance(left, Trouble) and (left.severity, left.component) == ("info", "handler:asr")
    assert [(each.kind, each.text[:14]) for each in left.evidence] == [("bus", "2 dead letters")]
    story.sees(LettersRising(at=at(500), resolved=True, count=1, **rising))  # type: ignore[arg-type]
    story.waits(3999)
    story.waits(4001)
    told = ["handler.dead_letters", "recovered letters", "handler.letters_left", "recovered letters", "recovered left"]
    assert story.kinds == told


def test_events_that_wait_in_a_pause_of_the_monitors_own_are_told_now_and_then() -> None:
    story = Story(Backlog())
    held = {"paused": True, "ours": True, "pending": 3}
    story.sees(handler(0, paused=True, pending=3), handler(5, **held), handler(10, **held), handler(130, **held))
    story.sees(handler(135, paused=True, ours=True), handler(140), handler(145))
    assert story.kinds == ["handler.held", "handler.held", "recovered held"]


def test_one_event_that_ended_its_process_is_enough_and_one_that_is_wrong_is_not() -> None:
    story = Story(Letters())
    story.sees(letter(1, "permanent"), letter(2, "crashed"))
    story.waits(601)
    story.waits(603)
    assert story.kinds == ["event.crashed", "recovered lost"]


# --- poison -----------------------------------------------------------------------------------------------------------


def test_the_third_attempt_that_ended_with_its_process_proves_poison() -> None:
    story = Story(Poison())
    event = {"run": "r1", "event_id": "bad"}
    story.sees(handler(0), step(5), step(200, "running", kills=2, **event))
    assert story.kinds == []
    worker = container("asr-1", labels={"stenobus.plugin": "asr"})
    story.sees(ContainerDied(at=at(201), container=worker, exit_code=139), step(202, event_id="good"))
    (trouble,) = story.sees(step(203, "running", kills=3, **event))
    assert isinstance(trouble, Trouble)
    told = " | ".join(each.text for each in trouble.evidence)
    assert trouble.component == "event:asr/bad"
    assert "3 attempts ended with their process" in told and "asr-1" in told and "handled event good" in told
    assert story.sees(step(204, "running", kills=3, **event)) == []
    story.sees(step(300, "done", **event))
    assert story.kinds == ["event.kills_worker", "recovered poison"]


def test_an_event_that_was_set_aside_kills_nobody_any_more() -> None:
    story = Story(Poison())
    event = {"run": "r1", "event_id": "bad", "kills": 3}
    story.sees(handler(0), step(200, "running", **event), step(300, "failed", reason="terminated", **event))
    assert story.kinds == ["event.kills_worker", "recovered poison"]


def test_attempts_that_failed_with_an_error_killed_nobody() -> None:
    story = Story(Poison())
    seen = step(200, "running", kills=4, event_id="bad")
    ended = tuple(each.model_copy(update={"seconds": 1.0}) for each in seen.step.tries)
    story.sees(type(seen)(at=seen.at, step=seen.step.model_copy(update={"tries": ended})))
    assert story.kinds == []


# --- what should follow -----------------------------------------------------------------------------------------------


def stored(seconds: float, subject: str, run: str) -> EventStored:
    return EventStored(at=at(seconds), subject=subject, run=run, event_id="e", source="test", said=None)


def test_a_run_without_its_document_after_its_usual_time_is_an_orphan() -> None:
    story = Story(Orphans({"asr.done": "doc.ready"}, timedelta(minutes=15)))
    for number in range(10):
        story.sees(stored(number * 100, "asr.done", f"r{number}"), stored(number * 100 + 20, "doc.ready", f"r{number}"))
    story.sees(stored(1000, "asr.done", "lost"))
    assert story.waits(1045) == []
    (trouble,) = story.waits(1055)  # 20 s usually, 50 s are unusual
    assert trouble.component == "run:lost"
    assert story.waits(1056) == []
    story.sees(stored(1100, "doc.ready", "lost"))
    assert story.kinds == ["run.orphaned", "recovered orphan"]


def test_without_history_patience_says_when_and_work_in_progress_is_no_orphan() -> None:
    story = Story(Orphans({"asr.done": "doc.ready"}, timedelta(minutes=15)))
    story.sees(stored(0, "asr.done", "r"), step(1, "running", run="r", handler="documents-clean", event_id="e"))
    assert story.waits(1000) == []
    story.sees(step(1001, "done", run="r", handler="documents-clean", event_id="e"))
    assert len(story.waits(1002)) == 1


def test_a_run_that_failed_is_no_orphan_and_order_of_reading_is_no_matter() -> None:
    story = Story(Orphans({"asr.done": "doc.ready"}, timedelta(minutes=15)))
    story.sees(stored(20, "doc.ready", "early"), stored(0, "asr.done", "early"), stored(0, "asr.done", "failed"))
    story.sees(step(5, "failed", run="failed"))
    assert story.waits(1000) == []


def test_a_run_whose_event_still_waits_for_its_handler_is_no_orphan() -> None:
    def queue(seconds: float, oldest: float | None, **more: Any) -> HandlerSeen:
        return handler(seconds, handler="next", subjects=("asr.done",), pending=3, oldest=oldest, **more)

    story = Story(Orphans({"asr.done": "doc.ready"}, timedelta(minutes=15)))
    story.sees(stored(0, "asr.done", "waits"), queue(990, 990.0))
    assert story.waits(1000) == []
    story.sees(queue(1001, None))  # nobody can tell how old they are
    assert story.waits(1002) == []
    story.sees(queue(1003, 100.0))  # those that wait came later
    assert len(story.waits(1004)) == 1


# --- what is usual ----------------------------------------------------------------------------------------------------


def test_a_stage_that_takes_longer_than_it_used_to_is_told_and_does_not_become_usual() -> None:
    story = Story(Slowness())
    for number in range(20):
        story.sees(step(number, seconds=2.0 + number % 3 / 10))
    story.sees(step(30, seconds=40.0), step(31, seconds=2.0), step(32, seconds=2.0))
    assert story.kinds == []  # one long recording
    story.sees(*(step(40 + number, seconds=9.0) for number in range(30)))
    assert set(story.kinds) == {"stage.slow"}
    story.sees(step(100, seconds=2.0), step(101, seconds=2.0))
    assert story.kinds[-1] == "recovered slow"


def test_a_step_that_is_still_at_work_is_slow_before_it_ends_and_cached_ones_say_nothing() -> None:
    story = Story(Slowness())
    story.sees(*(step(number, seconds=0.001, cached=True) for number in range(50)))
    story.sees(*(step(number, seconds=2.0) for number in range(10)))
    story.sees(step(20, "running", started=at(20)))
    story.sees(StepsRead(at=at(29)))
    story.waits(31)  # it may have ended since: nobody has looked
    assert story.kinds == []
    story.sees(StepsRead(at=at(31)), StepsRead(at=at(32)))
    assert story.kinds == ["stage.slow"]


def test_a_step_that_ended_before_the_next_look_was_not_slow() -> None:
    story = Story(Slowness())
    story.sees(*(step(number, seconds=0.1) for number in range(10)))
    story.sees(step(20, "running", started=at(20), run="r", event_id="e"), StepsRead(at=at(20.1)))
    story.waits(25)
    story.sees(step(20.2, seconds=0.1, run="r", event_id="e"), StepsRead(at=at(25.1)))
    assert story.kinds == []


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_a_health_check_that_fails_is_told_once_with_what_it_said() -> None:
    story = Story(Health())
    ill = container(health="unhealthy", health_text="connection refused")
    story.sees(ContainerHealth(at=at(1), container=ill), ContainerSeen(at=at(2), container=ill))
    assert story.kinds == ["container.unhealthy"]
    story.sees(ContainerHealth(at=at(3), container=container(health="healthy")))
    assert story.kinds == ["container.unhealthy", "recovered health"]


def test_content_that_differs_is_told_at_once() -> None:
    story = Story(Contents())
    checked = {"uri": "nats://b/k", "run": "r", "subject": "asr.done"}
    story.sees(BlobChecked(at=at(0), trouble=None, **checked), BlobChecked(at=at(1), trouble="differs", **checked))  # type: ignore[arg-type]
    story.sees(BlobChecked(at=at(2), trouble="gone", gone=True, **checked))  # type: ignore[arg-type]
    story.sees(BlobChecked(at=at(3), trouble=None, **checked))  # type: ignore[arg-type]
    assert story.kinds == ["blob.mismatch", "blob.missing", "recovered content"]


def test_a_stream_that_fills_up_does_not_flutter() -> None:
    story = Story(Fullness())
    for number, used in enumerate((50, 84, 86, 84, 86, 98, 79)):
        story.sees(StreamSeen(at=at(number), stream="ASR", messages=1, bytes=used, max_messages=0, max_bytes=100))
    assert story.kinds == ["stream.full"] * 3 + ["recovered full"]
    assert [each.severity for each in story.found if isinstance(each, Trouble)] == ["warning", "warning", "critical"]


def test_a_disk_without_room_is_full_however_large_it_is() -> None:
    story = Story(Fullness())
    story.sees(DiskSeen(at=at(0), path="/data", total=2**40, free=2**20), DiskSeen(at=at(1), path="/", total=0, free=0))
    assert "disk.full" in story.kinds


def test_a_clock_is_wrong_when_two_looks_say_so_and_asking_explains_it_not() -> None:
    story = Story(Clocks())

    def seen(seconds: float, ahead: float, known_to: float = 0.1) -> ClockSeen:
        return ClockSeen(
            at=at(seconds), source="nats", ahead=timedelta(seconds=ahead), known_to=timedelta(seconds=known_to)
        )

    story.sees(seen(0, 3), seen(5, 0), seen(10, -3, known_to=3), seen(15, -3, known_to=3))
    assert story.kinds == []
    story.sees(seen(20, -3), seen(25, -3), seen(30, 0))
    assert story.kinds == ["clock.skew", "recovered clock"]


def test_an_event_from_the_future_has_a_producer_whose_clock_is_ahead_and_a_late_one_says_nothing() -> None:
    story = Story(Clocks())

    def event(said: float) -> EventStored:
        return EventStored(at=at(0), subject="asr.done", run="r", event_id="e", source="acme", said=at(said))

    story.sees(event(-3600), event(-3600), event(60), event(60))
    assert story.kinds == ["clock.skew"]


def test_a_stream_that_was_deleted_and_is_not_back_is_told_and_a_stranger_s_is_not() -> None:
    story = Story(Deletions())

    def gone(seconds: float, stream: str) -> Advised:
        return Advised(
            at=at(seconds), kind="stream_action.delete", stream=stream, consumer="", sequence=0, deliveries=0
        )

    there = {"messages": 0, "bytes": 0, "max_messages": 0, "max_bytes": 0}
    story.sees(StreamSeen(at=at(0), stream="ASR", **there), StreamSeen(at=at(0), stream="DOC", **there))
    story.sees(gone(1, "ASR"), gone(1, "TOOL"), gone(1, "DOC"), StreamSeen(at=at(3), stream="DOC", **there))
    assert story.waits(5) == []
    story.waits(20)
    assert [(each.component, each.kind) for each in story.found if isinstance(each, Trouble)] == [
        ("stream:ASR", "stream.deleted")
    ]
    story.sees(StreamSeen(at=at(30), stream="ASR", **there))
    assert story.kinds[-1] == "recovered deleted"


def test_a_collector_that_cannot_see_is_trouble_of_its_own() -> None:
    stumbles = Story(Blindness())
    for seconds, trouble in ((0, None), (1, "late"), (2, None), (3, "late"), (4, "late"), (5, None)):
        stumbles.sees(CollectorState(at=at(seconds), collector="usage", trouble=trouble))
    assert stumbles.kinds == ["monitor.blind", "recovered blind"]
    story = Story(Blindness())
    story.sees(CollectorState(at=at(0), collector="engine", trouble=None))
    story.sees(CollectorState(at=at(1), collector="engine", trouble="gone"))
    story.sees(CollectorState(at=at(6), collector="engine", trouble=None))
    assert story.kinds == ["engine.unreachable", "recovered blind"]


# --- containers, from the inside -------------------------------------------------------------------


MIB = 2**20


def used(seconds: float, memory: float, limit: int = 100) -> ContainerUsage:
    return ContainerUsage(at=at(seconds), name="worker", memory=int(memory * MIB), memory_limit=limit * MIB, cores=None)


def test_memory_near_its_limit_is_told_at_the_second_look_and_does_not_flutter() -> None:
    story = Story(Memory())
    story.sees(used(0, 95), used(10, 50), used(20, 95))
    assert story.kinds == []
    story.sees(used(30, 92), used(40, 85), used(50, 79))
    assert story.kinds == ["container.memory", "recovered memory"]


def test_steady_growth_is_told_before_it_is_at_the_limit_and_ups_and_downs_are_not() -> None:
    story = Story(Memory())
    story.sees(*(used(10 * number, 40 + number) for number in range(25)))
    assert story.kinds[:1] == ["container.memory"]
    assert "at its limit in" in story.found[0].evidence[1].text  # type: ignore[attr-defined]
    steady = Story(Memory())
    steady.sees(*(used(10 * number, 62 + 0.4 * number + 8 * (number % 2)) for number in range(45)))
    steady.sees(used(500, 10))
    steady.sees(*(used(10 * number, 70 + 10 * (number % 2)) for number in range(60)))
    steady.sees(*(used(1000 + number, 95, limit=0) for number in range(5)))
    assert steady.kinds == []


def wrote(seconds: float, text: str, count: int, level: str = "error") -> LogSeen:
    lines = (LogLines(template=text, count=count, level=level, first=text, last=text),)
    return LogSeen(at=at(seconds), name="worker", lines=lines, more=False)


def test_a_log_full_of_errors_is_told_with_its_template_and_rests_on_nothing_but_the_log() -> None:
    story = Story(Errors())
    story.sees(wrote(0, "it failed", 10), wrote(90, "it failed", 10), wrote(91, "all is well", 1000, ""))
    assert story.kinds == []  # never twenty in a minute
    (trouble,) = story.sees(wrote(100, "it failed", 15))
    assert isinstance(trouble, Trouble)
    assert trouble.severity == "warning" and {each.kind for each in trouble.evidence} == {"log"}
    assert trouble.evidence[0].text == "25 × it failed"
    story.waits(200)
    story.waits(221)
    assert story.kinds == ["log.errors", "recovered log"]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("nats: Authorization Violation", "log.credentials"),
        ("HTTP 401 from the model", "log.credentials"),
        ("write failed: No space left on device", "log.disk_full"),
        ("connection refused", "log.unreachable"),
        ("MemoryError", "log.memory"),
    ],
)
def test_some_errors_speak_for_themselves(text: str, kind: str) -> None:
    story = Story(Errors())
    story.sees(wrote(0, text, 3))
    assert story.kinds == [kind]


def test_a_figure_that_is_too_high_twice_is_told() -> None:
    story = Story(Metrics())

    def seen(seconds: float, value: float) -> MetricSeen:
        return MetricSeen(at=at(seconds), query="lag", labels="handler=asr", value=value, above=10)

    story.sees(seen(0, 11), seen(15, 9), seen(30, 11), seen(45, 12), seen(60, 10))
    assert story.kinds == ["metric.high", "recovered metric"]
    assert story.found[0].component == "metric:lag{handler=asr}"
