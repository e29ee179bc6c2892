"""What a source does not list any more is removed with due care, and can be brought back."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from stenobus_bus import Bus, Envelope
from stenobus_contracts import BlobRef, DeadLetter, KbDocument, KbListed, KbSync, KbSynced
from stenobus_core import CoreSettings, Host
from stenobus_kb import plugin
from stenobus_kb.absences import Absent, compare
from stenobus_kb.chunk import Chunk
from stenobus_kb.index import Index
from stenobus_kb.kb_command import kb
from stenobus_kb.order import Order
from stenobus_kb.prepared import Prepared
from stenobus_kb.removed import orders, removed

from .conftest import document, search
from .test_staging import version

TIMEOUT = 60.0
SOURCE = "web.event"
COMMAND = [sys.executable, "-c", "from stenobus_core.cli import main; main()", "kb", "restore"]


def fill(index: Index, *names: str, source: str | None = SOURCE, event: str = "1", stored: int = 0) -> None:
    order = Order(event, "events", source, stored=stored)
    index.stage(order, [version(name, f"whale {name}") for name in names])
    index.flip(order, len(names))
    index.heard(order)


def missed(index: Index, event: str, *present: str, stored: int = 1) -> Absent:
    return compare(index, event, "events", SOURCE, set(present), stored)


def test_who_is_missing_twice_is_missing_again(index: Index) -> None:
    fill(index, "a", "b", "c")
    fill(index, "other", source="folder", event="2")
    fill(index, "mine", source=None, event="3")

    assert missed(index, "l1", "a", "b") == Absent(3, newly=("c",))
    assert missed(index, "l1", "a", "b") == Absent(3, newly=("c",))  # the same event is no second absence
    assert missed(index, "l2", "a") == Absent(3, newly=("b",), again=("c",))
    assert missed(index, "l3", "a", "b") == Absent(3, again=("c",))
    assert missed(index, "l4", "a") == Absent(3, newly=("b",), again=("c",))  # b was back meanwhile


def test_who_was_synchronised_again_is_not_missing(index: Index) -> None:
    fill(index, "a", "b")
    missed(index, "l1", "a")
    order = Order("2", "events", SOURCE)
    index.stage(order, [version("b", "new")])
    index.flip(order, 1)

    assert missed(index, "l2", "a") == Absent(2, newly=("b",))


def test_a_listing_from_before_the_last_sync_says_nothing(index: Index) -> None:
    fill(index, "a", "b", stored=5)

    assert missed(index, "l1", "a", stored=4) == Absent(2, outdated=True)
    assert missed(index, "l2", "a", stored=6) == Absent(2, newly=("b",))
    assert compare(index, "l3", "events", "folder", set(), 1) == Absent(0)


def test_a_listing_in_which_all_are_there_writes_nothing(index: Index) -> None:
    fill(index, "a", "b")
    before = index.connection.total_changes()

    assert missed(index, "l1", "a", "b", "c") == Absent(2)
    assert index.connection.total_changes() == before


class Site:
    """A source that lists and sends what it holds."""

    def __init__(self, bus: Bus, source: str) -> None:
        self._bus, self._source = bus, source
        self.collection = source

    async def heard(self, *subjects: str) -> None:
        self._heard = {subject: await self._bus.nc.subscribe(subject) for subject in subjects}

    async def next(self, subject: str) -> bytes:
        data: bytes = (await self._heard[subject].next_msg(TIMEOUT)).data
        return data

    async def synced(self) -> KbSynced:
        return KbSynced.model_validate_json(await self.next("kb.synced"))

    async def store(self, text: str) -> BlobRef:
        return await self._bus.objects.put(text.encode(), "text/plain")

    async def send(self, *names: str, delete: tuple[str, ...] = ()) -> KbSynced:
        upsert = tuple([KbDocument(id=name, title=name, content=await self.store(f"whale {name}")) for name in names])
        await self._publish(KbSync(collection=self.collection, source=self._source, upsert=upsert, delete=delete))
        return await self.synced()

    async def list(self, *names: str, count: int | None = None, **fields: Any) -> str:
        """Returns the event's id."""
        return await self._publish(
            KbListed(
                collection=self.collection,
                source=self._source,
                listing=await self.store("\n".join(names)),
                count=len(names) if count is None else count,
                **{"complete": True} | fields,
            )
        )

    async def _publish(self, event: Any) -> str:
        envelope = Envelope.new(event, "test")
        await self._bus.publish(event, envelope)
        return envelope.id


@pytest.fixture
async def site(url: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    monkeypatch.setenv("STENOBUS_KB_PATH", str(path))
    async with await Bus.connect(url) as bus:
        host = Host(CoreSettings(data_dir=path.parent), bus, [plugin])
        await host.start()
        site = Site(bus, "site")
        await site.heard("kb.synced", "kb.sync", "dlq.>")
        yield site
        await host.stop()


async def removal(site: Site) -> KbSync:
    """The next order to remove something."""
    while True:
        order = KbSync.model_validate_json(await site.next("kb.sync"))
        if order.delete:
            return order


async def test_two_absences_remove_in_every_index(site: Site, path: Path) -> None:
    await site.send("a", "b", "c")
    await site.list("a", "b")
    await site.list("a", "b")
    order = await removal(site)
    assert (order.delete, order.source) == (("c",), site.collection)
    assert (await site.synced()).deleted == 1
    assert sorted(hit.document for hit in search(path, "whale")) == ["a", "b"]


async def test_more_than_the_cap_is_refused_and_the_refusal_says_what_to_do(site: Site, path: Path) -> None:
    names = [f"d{number}" for number in range(40)]
    await site.send(*names)
    for _ in range(2):
        await site.list(*names[11:])
    letter = DeadLetter.model_validate_json(await site.next("dlq.>"))
    assert "11 of 40 documents" in letter.message and "at most 10" in letter.message
    assert "STENOBUS_KB_REMOVALS_PERCENT" in letter.message
    assert len(search(path, "whale", limit=100)) == 40
    await site.list(*names[10:])
    assert set((await removal(site)).delete) == set(names[:10])


@pytest.mark.parametrize(
    "fields", [{"complete": False}, {"names": ()}, {"count": 7}], ids=["incomplete", "empty", "another count"]
)
async def test_a_listing_that_proves_nothing_removes_nothing(site: Site, path: Path, fields: dict[str, Any]) -> None:
    await site.send("a", "b")
    listed = fields.pop("names", ("a",))
    for _ in range(3):
        await site.list(*listed, **fields)
        if "count" in fields:
            assert "nothing is removed" in DeadLetter.model_validate_json(await site.next("dlq.>")).message
    counted = [await site.list("a"), await site.list("a")]
    assert (await removal(site)).delete == ("b",)
    await site.synced()
    with closing(Index(path)) as index:
        assert [event for (event,) in index.connection.execute("SELECT event FROM listings ORDER BY id")] == counted


async def test_what_was_removed_is_listed_and_brought_back(site: Site, path: Path, url: str, tmp_path: Path) -> None:
    await site.send("a", "b", "c")
    await site.send(delete=("a", "b"))
    environment = {"STENOBUS_KB_PATH": str(path), "STENOBUS_NATS_URL": url, "STENOBUS_DATA_DIR": str(tmp_path)}

    def restore(*arguments: str) -> Any:
        return CliRunner().invoke(kb, ["restore", *arguments], env=environment)

    shown = json.loads(restore("--json").stdout)["removed"]
    assert sorted(each["document"]["id"] for each in shown) == ["a", "b"]
    assert {each["source"] for each in shown} == {site.collection}
    assert "whale" not in restore().stdout and "a" in restore().stdout
    assert restore("--days", "0.0000001", "--collection", "elsewhere").stdout == "Nothing was removed.\n"

    async def bring_back(*arguments: str) -> None:
        process = await asyncio.create_subprocess_exec(*COMMAND, *arguments, env=os.environ | environment)
        assert await process.wait() == 0

    await bring_back("a")
    assert (await site.synced()).added == 1
    assert sorted(hit.document for hit in search(path, "whale")) == ["a", "c"]
    assert restore("a").exit_code == 1 and "is not among" in restore("a").output

    await bring_back("--run", str(shown[0]["run"]))
    assert (await site.synced()).added == 1
    assert sorted(hit.document for hit in search(path, "whale")) == ["a", "b", "c"]
    assert restore().stdout == "Nothing was removed.\n"


def test_what_was_removed_long_ago_is_let_go(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(index, "a", "b")
    index.delete("events", ["a"])
    generation = index.generation("m", 1)
    digests = {digest: b"\0" * 4 for digest, _ in version("b", "whale b").embedded}
    index.keep(generation, digests | {b"unused": b"\0" * 4})

    index.forget(days=1)
    assert index.connection.execute("SELECT count(*) FROM removed").get == 1
    index.connection.execute("UPDATE removed SET at = at - 2 * 86400; UPDATE vectors SET day = day - 2")
    index.forget(days=1)
    assert index.connection.execute("SELECT count(*) FROM removed").get == 0
    assert index.connection.execute("SELECT digest FROM vectors").get == next(iter(digests))


def test_the_removed_document_is_kept_as_it_was(index: Index, path: Path) -> None:
    wanted = document("a", "whale", uri="https://a", metadata={"n": 1}, principals=("group:x",))
    order = Order("1", "events", SOURCE)
    index.stage(order, [Prepared(wanted, [Chunk((), "whale")])])
    index.flip(order, 1)
    index.delete("events", ["a"])
    [event] = orders(removed(path, 1))
    assert (event.upsert, event.source, event.collection) == ((wanted,), SOURCE, "events")
