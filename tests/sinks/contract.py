"""What every sink keeps: one class of tests, inherited once for each of them."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from typing import Any, Protocol

import pytest

from stenobus_contracts import KbSync
from stenobus_core import PermanentError, RetryableError
from stenobus_sinks.port import Sink

from .desk import Desk
from .fakes.http import HttpServer, Reply


class Place(Protocol):
    """A knowledge base that a sink is tested with."""

    #: Every server that the sink talks to.
    servers: list[HttpServer]
    #: A text that it refuses, and words of the reason it gives; None when it takes every text.
    refused: tuple[str, str] | None
    #: Calls between two at which the process dies: 1 where calls are cheap. STENOBUS_EVERY_CALL makes it 1 everywhere.
    step: int
    #: What must never be told.
    secrets: list[str]

    def opened(self) -> Sink: ...

    async def close(self) -> None: ...

    def clear(self) -> None:
        """Forget all."""
        ...

    def texts(self, collection: str) -> dict[str, str]:
        """What can be found now: text by document id."""
        ...

    def writes(self) -> int:
        """How often anything was changed, as far as servers know."""
        ...

    def busy(self, times: int) -> None:
        """Have so many calls to come refused as too many."""
        ...


class Dead:
    """Lets so many calls through and then no more, as for a process that was killed there."""

    def __init__(self, servers: list[HttpServer], calls: int, *, unheard: bool) -> None:
        self._servers, self._left, self._unheard = servers, calls, unheard
        self.struck = False
        for server in servers:
            server.before, server.after = self._before, self._after

    def _before(self, request: Any) -> Reply | bool | None:
        self._left -= 1
        if self._left < (-1 if self._unheard else 0):
            self.struck = True
            return False
        return None

    def _after(self, request: Any) -> bool | None:
        if self._unheard and self._left < 0:
            self.struck = True
            return False
        return None

    def revive(self) -> None:
        for server in self._servers:
            server.before = lambda request: None
            server.after = lambda request: None


LONG = "\n\n".join(f"## Part {{0}} {number}\n\n{{0}} says the number {number}. " + "word " * 150 for number in range(4))


class SinkContract:
    """Inherit it, and give it a fixture ``place``."""

    #: Whether passages of two versions can be found while a document changes.
    versions_overlap = False

    @pytest.fixture
    async def desk(self, place: Place) -> AsyncIterator[Desk]:
        yield Desk(place.opened)
        await place.close()

    async def test_documents_can_be_found(self, place: Place, desk: Desk) -> None:
        done = await desk.sync(desk.event(a="The whale.", b="The giraffe."), 1)
        assert (done.added, done.updated, done.unchanged, done.deleted, done.failed) == (2, 0, 0, 0, 0)
        assert place.texts("handbook") == {"a": "The whale.", "b": "The giraffe."}

    async def test_the_same_again_writes_nothing(self, place: Place, desk: Desk) -> None:
        event = desk.event(a="The whale.", b=LONG.format("lion"))
        await desk.sync(event, 1)
        before = place.writes()
        for order in (1, 2):  # the same event once more, and another one with the same content
            done = await desk.sync(event, order)
            assert (done.added, done.updated, done.unchanged) == (0, 0, 2)
        assert place.writes() == before

    async def test_a_new_version_takes_the_place_of_the_old(self, place: Place, desk: Desk) -> None:
        await desk.sync(desk.event(a=LONG.format("old"), b="The giraffe."), 1)
        done = await desk.sync(desk.event(a="Short."), 2)
        assert (done.added, done.updated, done.unchanged) == (0, 1, 0)
        assert place.texts("handbook") == {"a": "Short.", "b": "The giraffe."}

    async def test_what_is_deleted_is_gone(self, place: Place, desk: Desk) -> None:
        await desk.sync(desk.event(a="The whale.", b=LONG.format("lion")), 1)
        event = desk.event(delete=("b", "never heard of"))
        assert (await desk.sync(event, 2)).deleted == 1
        assert place.texts("handbook") == {"a": "The whale."}
        before = place.writes()
        assert (await desk.sync(event, 3)).deleted == 0
        assert place.writes() == before

    async def test_an_id_in_both_lists_stays(self, place: Place, desk: Desk) -> None:
        await desk.sync(desk.event(delete=("a",), a="The whale."), 1)
        assert place.texts("handbook") == {"a": "The whale."}

    async def test_what_was_deleted_can_come_back(self, place: Place, desk: Desk) -> None:
        await desk.sync(desk.event(a="The whale."), 1)
        await desk.sync(desk.event(delete=("a",)), 2)
        assert (await desk.sync(desk.event(a="The whale."), 3)).added == 1
        assert place.texts("handbook") == {"a": "The whale."}

    async def test_an_older_version_that_comes_late_changes_nothing(self, place: Place, desk: Desk) -> None:
        await desk.sync(desk.event(a="newer", b="newer"), 5)
        await desk.sync(desk.event(delete=("b",)), 6)
        before = place.writes()
        await desk.sync(desk.event(a="older", b="older"), 4)
        await desk.sync(desk.event(delete=("a",)), 4)
        assert place.texts("handbook") == {"a": "newer"}
        assert place.writes() == before

    async def test_collections_do_not_mix(self, place: Place, desk: Desk) -> None:
        await desk.sync(desk.event(a="The whale."), 1)
        await desk.sync(desk.event("events", a="The concert."), 2)
        await desk.sync(desk.event(delete=("a",)), 3)
        assert (place.texts("handbook"), place.texts("events")) == ({}, {"a": "The concert."})

    async def test_metadata_alone_is_a_change(self, place: Place, desk: Desk) -> None:
        event = desk.event(a="The whale.")
        await desk.sync(event, 1)
        metadata = {"city": "Santiago", "floor": 3, "open": True, "tags": ["a", "b"], "none": None, "deep": {"x": [1]}}
        changed = desk.document("a", "The whale.", metadata=metadata, principals=("group:support",), uri="https://x/a")
        assert (await desk.sync(event.model_copy(update={"upsert": (changed,)}), 2)).updated == 1
        assert place.texts("handbook") == {"a": "The whale."}

    async def test_bad_documents_do_not_stop_the_others(self, place: Place, desk: Desk) -> None:
        lost = desk.document("lost", "It is gone.")
        del desk.blobs[lost.content.sha256]
        lines = [
            desk.document("c", "The third.").model_dump_json(),
            '{"id": "", "title": 7}',
            "no JSON at all",
            "",
            desk.document("d", "The fourth.").model_dump_json(),
        ]
        event = KbSync(
            collection="handbook",
            upsert=(desk.document("a", "The first."), desk.document("bytes", b"\xff\xfe\x00"), lost),
            documents=desk.blob("\n".join(lines).encode()),
            source="folder",
            dataset="v7",
        )
        error, told = await desk.fails(event, 1)
        assert isinstance(error, PermanentError) and "4 of 7 documents" in str(error)
        assert told is not None
        assert (told.added, told.failed, told.unchanged, len(told.problems)) == (3, 4, 0, 4)
        assert (told.source, told.dataset) == ("folder", "v7")
        assert place.texts("handbook") == {"a": "The first.", "c": "The third.", "d": "The fourth."}

    async def test_what_it_refuses_is_told_and_tried_again(self, place: Place, desk: Desk) -> None:
        if place.refused is None:
            return
        text, reason = place.refused
        error, told = await desk.fails(desk.event(a="The first.", b=text), 1)
        assert isinstance(error, PermanentError) and reason in str(error) and "b" in str(error)
        assert told is not None and (told.added, told.failed) == (1, 1)
        assert place.texts("handbook") == {"a": "The first."}
        done = await desk.sync(desk.event(a="The first.", b="It can be read now."), 2)
        assert (done.added, done.unchanged) == (1, 1)
        assert place.texts("handbook") == {"a": "The first.", "b": "It can be read now."}

    async def test_a_busy_service_is_waited_for(self, place: Place, desk: Desk) -> None:
        place.busy(3)
        assert (await desk.sync(desk.event(a="The whale."), 1)).added == 1
        assert place.texts("handbook") == {"a": "The whale."}

    async def test_a_trial_changes_nothing(self, place: Place, desk: Desk) -> None:
        await desk.sync(desk.event(a="The whale."), 1)
        before = place.writes()
        done = await desk.sync(desk.event(b="The lion.", delete=("a",)), 2, shadow="trial")
        assert (done.added, done.deleted) == (0, 0)
        assert place.writes() == before and place.texts("handbook") == {"a": "The whale."}

    async def test_two_processes_with_the_same_event(self, place: Place, desk: Desk) -> None:
        event = desk.event(a=LONG.format("lion"), b="The giraffe.")
        await asyncio.gather(desk.sync(event, 1), desk.sync(event, 1))
        found = place.texts("handbook")
        assert found.keys() == {"a", "b"} and found["b"] == "The giraffe."

    async def test_events_at_once_all_arrive(self, place: Place, desk: Desk) -> None:
        events = [desk.event(**{f"d{number}": f"Number {number}."}) for number in range(8)]
        await asyncio.gather(*(desk.sync(event, order) for order, event in enumerate(events, start=1)))
        assert place.texts("handbook") == {f"d{number}": f"Number {number}." for number in range(8)}

    @pytest.mark.parametrize("unheard", [False, True], ids=["before", "after"])
    async def test_broken_off_at_any_call_it_ends_the_same(self, place: Place, desk: Desk, unheard: bool) -> None:
        """After every call to the outside the process dies; the next one gets the same event."""
        old = desk.event(a=LONG.format("old"), b="To go.", c="To stay.")
        new = desk.event(a=LONG.format("new"), d="To come.", delete=("b",))
        step = 1 if os.environ.get("STENOBUS_EVERY_CALL") else place.step
        calls, struck = step // 2 if unheard else 0, True
        while struck:
            place.clear()
            await desk.sync(old, 2 * calls)
            dead = Dead(place.servers, calls, unheard=unheard)
            try:
                await desk.sync(new, 2 * calls + 1)
                assert not dead.struck or unheard
            except RetryableError:
                assert dead.struck
            finally:
                dead.revive()
            struck = dead.struck
            halfway = place.texts("handbook")
            assert halfway.get("c") == "To stay."
            assert self.versions_overlap or not (
                "old says" in halfway.get("a", "") and "new says" in halfway.get("a", "")
            ), "a mixture"
            await desk.sync(new, 2 * calls + 1)
            found = place.texts("handbook")
            assert found.keys() == {"a", "c", "d"} and (found["c"], found["d"]) == ("To stay.", "To come.")
            assert "old" not in found["a"] and found["a"].count("new says") == 4
            calls += step
        assert calls > 3

    async def test_secrets_are_never_told(
        self, place: Place, desk: Desk, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
    ) -> None:
        caplog.set_level(logging.INFO)
        await desk.sync(desk.event(a="The whale."), 1)
        for status in (400, 401, 403, 404, 500, 503):
            for server in place.servers:
                server.before = lambda request, status=status: Reply(status, b'{"message": "No.", "error": "No."}')
            error, _ = await desk.fails(desk.event(a=f"The {status}."), 2)
            assert isinstance(error, PermanentError | RetryableError), repr(error)
            self._is_silent(place, f"{error}")
        told = capsys.readouterr()
        self._is_silent(place, caplog.text + told.out + told.err)

    @staticmethod
    def _is_silent(place: Place, text: str) -> None:
        for secret in place.secrets:
            assert secret not in text
