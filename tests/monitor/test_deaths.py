"""Ends of containers: event, flag, exit code and signal together say what each was."""

from __future__ import annotations

import pytest

from stenobus_monitor.containers import Container
from stenobus_monitor.findings import Trouble
from stenobus_monitor.observations import (
    ContainerDied,
    ContainerGone,
    ContainerOutOfMemory,
    ContainerSeen,
    ContainerSignalled,
    ContainerStarted,
    ContainerUsage,
)
from stenobus_monitor.rules.deaths import Deaths

from .simulated import Story, at, container, handler


@pytest.fixture
def story() -> Story:
    told = Story(Deaths())
    told.sees(ContainerSeen(at=at(0), container=container()))
    return told


def died(seconds: float, code: int = 1, *, log: tuple[str, ...] = (), **more: object) -> ContainerDied:
    gone = container(status="exited", finished=at(seconds), exit_code=code, **more)
    return ContainerDied(at=at(seconds), container=gone, exit_code=code, log=log)


def started(seconds: float, **more: object) -> ContainerStarted:
    return ContainerStarted(at=at(seconds), container=container(started=seconds, **more))


def test_a_crash_is_told_with_its_exit_code_and_last_words_and_its_end_when_it_stays_up(story: Story) -> None:
    (trouble,) = story.sees(died(10, 3, log=("bye",)))
    assert isinstance(trouble, Trouble)
    assert [(line.kind, line.text) for line in trouble.evidence] == [("event", "died with exit code 3"), ("log", "bye")]
    story.sees(started(11))
    assert story.waits(12) == []
    story.waits(17)
    assert story.kinds == ["container.crashed", "recovered death"]


def test_the_kernel_s_word_makes_a_kill_a_want_of_memory(story: Story) -> None:
    story.sees(ContainerOutOfMemory(at=at(10), name="worker"), died(10.03, 137))
    story.waits(20)  # no child: the first process is what was killed
    assert story.kinds == ["container.oom"]


def test_the_flag_alone_is_enough_for_a_kill_and_not_for_a_clean_end(story: Story) -> None:
    story.sees(died(10, 137, oom_killed=True))
    assert story.kinds == ["container.oom"]
    story.sees(started(11), died(700, 0, oom_killed=True))
    assert story.kinds[1:] == ["container.exited"]


def test_memory_near_its_limit_explains_a_kill_that_neither_event_nor_flag_did(story: Story) -> None:
    near = ContainerUsage(at=at(5), name="worker", memory=95, memory_limit=100, cores=None)
    story.sees(near, died(10, 137))
    assert story.kinds == ["container.oom"]
    assert "95% of its memory was in use" in [each.text for each in story.found[0].evidence]  # type: ignore[attr-defined]
    ordered = Story(Deaths())
    ordered.sees(near, ContainerSignalled(at=at(9), name="worker", signal="9"), died(10, 137))
    assert ordered.kinds == []


def test_a_kill_without_word_of_the_kernel_is_no_want_of_memory(story: Story) -> None:
    story.sees(died(10, 137))
    assert story.kinds == ["container.crashed"]


def test_a_child_that_was_killed_is_told_when_no_death_follows(story: Story) -> None:
    story.sees(ContainerOutOfMemory(at=at(10), name="worker"))
    assert story.waits(10.5) == []
    story.waits(11.5)
    story.waits(700)
    assert story.kinds == ["container.child_oom", "recovered child"]


def test_a_restart_by_somebody_is_no_trouble(story: Story) -> None:
    story.sees(ContainerSignalled(at=at(10), name="worker", signal="15"), died(12, 143), started(13))
    story.waits(60)
    assert story.kinds == []


def test_what_somebody_stops_and_does_not_start_again_is_told_as_that(story: Story) -> None:
    story.sees(ContainerSignalled(at=at(10), name="worker", signal="9"), died(10.1, 137))
    assert story.waits(20) == []
    story.waits(26)
    story.waits(27)
    assert story.kinds == ["container.stopped"]


def test_a_signal_that_ends_nothing_explains_no_death(story: Story) -> None:
    story.sees(ContainerSignalled(at=at(10), name="worker", signal="1"), died(10.1))
    assert story.kinds == []  # a hang-up ends what does not catch it
    told = Story(Deaths())
    told.sees(ContainerSignalled(at=at(10), name="worker", signal="10"), died(10.1))
    assert told.kinds == ["container.crashed"]


def test_want_of_memory_is_told_though_somebody_stopped_it_just_then(story: Story) -> None:
    story.sees(ContainerSignalled(at=at(10), name="worker", signal="15"))
    story.sees(ContainerOutOfMemory(at=at(11), name="worker"), died(11.02, 137))
    assert story.kinds == ["container.oom"]


def test_three_deaths_in_ten_minutes_are_a_loop_and_three_in_an_hour_are_not(story: Story) -> None:
    for moment in (10, 20, 30):
        story.sees(died(moment), started(moment + 1))
    assert story.kinds == ["container.crashed", "container.crashed", "container.crash_loop"]
    slow = Story(Deaths())
    for moment in (0, 1200, 2400):
        slow.sees(died(moment), started(moment + 1))
    assert slow.kinds == ["container.crashed"] * 3


def test_deaths_are_counted_on_after_a_restart_of_the_monitor(story: Story) -> None:
    story.sees(died(10), started(11), died(20))
    after = Deaths()
    after.restore(story.rule.state())
    (trouble,) = after.observe(died(30))
    assert isinstance(trouble, Trouble) and trouble.kind == "container.crash_loop"
    after.restore({"worker": "damaged"})  # and says nothing


def test_a_job_may_end_and_a_service_that_must_run_may_not(story: Story) -> None:
    story.sees(died(10, 0, labels={"stenobus.job": "true"}))
    assert story.kinds == []
    story.sees(died(20, 0))
    assert story.kinds == ["container.exited"]


def test_a_death_that_no_event_told_of_is_found_by_looking(story: Story) -> None:
    gone = container(status="exited", finished=at(20), exit_code=2)
    story.sees(ContainerSeen(at=at(30), container=gone), ContainerSeen(at=at(60), container=gone))
    assert story.kinds == ["container.crashed"]


def test_an_event_that_comes_after_a_look_tells_of_the_same_death_and_the_next_one_of_another(story: Story) -> None:
    gone = container(status="exited", finished=at(20), exit_code=1)
    story.sees(ContainerSeen(at=at(20.01), container=gone), died(20.02))
    assert story.kinds == ["container.crashed"]
    story.sees(started(20.2), died(20.4))
    assert story.kinds == ["container.crashed"] * 2


def test_a_signal_long_ago_explains_no_death(story: Story) -> None:
    story.sees(ContainerSignalled(at=at(0), name="worker", signal="15"), died(500))
    assert story.kinds == ["container.crashed"]


def test_a_death_is_not_found_again_by_looking(story: Story) -> None:
    story.sees(died(20), ContainerSeen(at=at(30), container=container(status="exited", finished=at(20), exit_code=1)))
    assert story.kinds == ["container.crashed"]


def test_unhealthy_is_not_recovered(story: Story) -> None:
    story.sees(died(10), started(11, health="starting"))
    assert story.waits(60) == []
    story.sees(started(11, health="healthy"))
    assert story.kinds == ["container.crashed", "recovered death"]


def test_a_plugin_s_container_has_recovered_when_its_handlers_move_again() -> None:
    story = Story(Deaths())
    asr = {"labels": {"stenobus.plugin": "asr"}}
    story.sees(ContainerSeen(at=at(0), container=container(**asr)), handler(5, pending=3, floor=10))
    story.sees(died(10), started(11, **asr), handler(15, pending=3, floor=10))
    assert story.waits(30) == []  # it is up, and stands still
    story.sees(handler(35, pending=2, floor=11))
    story.waits(36)
    assert story.kinds == ["container.crashed", "recovered death"]


def test_what_always_ends_well_and_is_started_again_is_a_loop_all_the_same() -> None:
    story = Story(Deaths())
    for moment in (10, 20, 30):
        gone = died(moment, 0).container
        kept = Container(id=gone.id, name=gone.name, restart_policy="unless-stopped")
        story.sees(ContainerDied(at=at(moment), container=kept, exit_code=0))
    assert story.kinds == ["container.exited", "container.exited", "container.crash_loop"]


def test_what_is_removed_is_in_trouble_no_more(story: Story) -> None:
    story.sees(died(10), ContainerGone(at=at(11), name="worker"))
    assert story.kinds == ["container.crashed", "recovered death"]
