"""What is read of a site that changes, throttles, fails and lies."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from stenobus_sources.errors import Misconfigured, Unreachable
from stenobus_sources.records import Extraction, lines
from stenobus_sources.settings import PostType, WordPress
from stenobus_sources.state import Known, State
from stenobus_sources.wordpress.client import Client
from stenobus_sources.wordpress.extract import extract

from .site import Asked, Reply, Site, wrong

KIND = PostType(type="event", collection="eventos", kind="event")


class Reader:
    """Reads the events of a site, and notes how long it would have waited."""

    def __init__(self, site: Site) -> None:
        self.site, self.slept = site, list[float]()
        self.settings: dict[str, Any] = {"per_page": 5}
        self.paced = 0

    async def __call__(self, reads: Any = "full", state: State | None = None, **kind: Any) -> Extraction:
        config = WordPress(name="agenda", url=self.site.url, types=(KIND,), **self.settings)

        async def sleep(seconds: float) -> None:
            self.slept.append(seconds)

        async def pace() -> None:
            self.paced += 1

        async def progress(fraction: float, message: str) -> None:
            assert 0 <= fraction <= 1

        async with Client(config, pace, sleep) as client:
            known = state or State(source="agenda.event")
            found = await extract(client, config, KIND.model_copy(update=kind), reads, known, progress=progress)
        assert self.paced == found.requests == len(self.site.asked)
        return found


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    await site.start()
    for number in range(1, 13):
        site.add("event", id=number)
    yield site
    await site.stop()


@pytest.fixture
def read(site: Site) -> Reader:
    return Reader(site)


def ids(found: Extraction) -> list[int]:
    return sorted(int(name) for name in found.records)


def once(change: Callable[[], Any], when: Callable[[Asked], bool]) -> Callable[[Asked], None]:
    """A change of the site at the first request of a kind."""
    done: list[Asked] = []

    def before(asked: Asked) -> None:
        if not done and when(asked):
            done.append(asked)
            change()

    return before


ALL = list(range(1, 13))


# --- listings --------------------------------------------------------------------------------------------------------


async def test_every_post_is_read_and_the_listing_is_proven_by_a_second_one(site: Site, read: Reader) -> None:
    found = await read()
    assert ids(found) == ALL and found.complete and found.doubt == ""
    assert found.listing == [str(number) for number in ALL]
    asked = site.requests("event")
    assert [(one.page, one.slim) for one in asked] == [(n, slim) for slim in (False, True) for n in (1, 2, 3)]
    assert {(one.parameters["orderby"], one.parameters["order"]) for one in asked} == {("id", "asc")}


async def test_one_page_is_proof_enough(site: Site, read: Reader) -> None:
    read.settings["per_page"] = 100
    found = await read()
    assert found.complete and len(site.requests("event")) == 1


async def test_equal_dates_lose_nothing(site: Site, read: Reader) -> None:
    for post in site.posts["event"].values():
        post.modified = site.now
    assert ids(await read()) == ALL


async def test_a_post_that_goes_while_pages_are_read_makes_the_listing_be_read_again(site: Site, read: Reader) -> None:
    site.before = once(lambda: site.trash("event", 3), lambda asked: asked.page == 2)
    found = await read()
    assert found.complete and ids(found) == [number for number in ALL if number != 3]


async def test_a_page_that_is_gone_means_that_the_set_shrank(site: Site, read: Reader) -> None:
    def shrink() -> None:
        for number in (1, 2, 3):
            site.trash("event", number)

    site.before = once(shrink, lambda asked: asked.page == 3)
    found = await read()
    assert found.complete and ids(found) == ALL[3:]


@pytest.mark.parametrize("proof", [False, True], ids=["at first", "in the proof"])
async def test_one_that_comes_while_another_goes_leaves_the_total_and_is_still_noticed(
    site: Site, read: Reader, proof: bool
) -> None:
    def swap() -> None:
        site.trash("event", 3)
        site.add("event", id=99)

    site.before = once(swap, lambda asked: asked.page == 2 and asked.slim == proof)
    found = await read()
    # Six slipped onto the first page when that had been read: no total tells.
    assert found.complete and set(ids(found)) >= {*ALL, 99} - {3}
    assert found.listing is not None and "6" in found.listing and "3" not in found.listing
    again = [asked.parameters["include"] for asked in site.requests("event") if "include" in asked.parameters]
    assert again == (["99"] if proof else ["6"])


async def test_a_site_that_changes_all_the_time_is_read_but_not_believed(site: Site, read: Reader) -> None:
    def grow(asked: Asked) -> None:
        if asked.page == 2:
            site.add("event")

    site.before = grow
    found = await read()
    assert not found.complete and "the total changed" in found.doubt
    assert set(ALL) <= set(ids(found))


@pytest.mark.parametrize(
    ("headers", "doubt"),
    [
        ({"X-WP-Total": "40", "X-WP-TotalPages": "3"}, "the site says 40 posts and gives 12"),
        ({"X-WP-Total": "7", "X-WP-TotalPages": "3"}, "the site says 7 posts and gives 12"),
        ({"X-WP-Total": "12", "X-WP-TotalPages": "2"}, "the site says 12 posts and gives 10"),
        ({"X-WP-Total": "12", "X-WP-TotalPages": "9"}, "page 4 is gone: the listing shrank while it was read"),
        ({}, "the site does not say how many posts there are (X-WP-Total)"),
        ({"X-WP-Total": "lots", "X-WP-TotalPages": "-1"}, "the site does not say"),
    ],
)
async def test_wrong_totals_prove_nothing(site: Site, read: Reader, headers: dict[str, str], doubt: str) -> None:
    site.bend = lambda asked, true, posts: (headers, posts)
    found = await read()
    assert not found.complete and found.doubt.startswith(doubt)
    assert set(ids(found)) >= set(ALL[:10])


async def test_an_empty_list_is_no_proof_that_everything_is_gone(site: Site, read: Reader) -> None:
    site.bend = lambda asked, headers, posts: ({"X-WP-Total": "0", "X-WP-TotalPages": "0"}, [])
    found = await read("listing", State(source="agenda.event", cursor=site.now))
    assert (found.listing, found.complete) == ([], False) and found.doubt == "the site says that it has none at all"


async def test_an_empty_type_may_be_declared(site: Site, read: Reader) -> None:
    site.posts["event"].clear()
    found = await read(may_be_empty=True)
    assert (found.listing, found.complete) == ([], True)


async def test_pages_without_end_come_to_one(site: Site, read: Reader) -> None:
    first = json.dumps([{"id": number} for number in ALL[:5]])
    site.bend = lambda asked, headers, posts: ({"X-WP-Total": "99999", "X-WP-TotalPages": "9999"}, json.loads(first))
    found = await read()
    assert ids(found) == ALL[:5] and not found.complete
    assert len(site.requests("event")) <= 24


async def test_more_pages_than_the_limit_are_not_read(site: Site, read: Reader) -> None:
    read.settings["max_pages"] = 2
    found = await read()
    assert len(found.records) == 10 and found.doubt == "there are more than 2 pages"


async def test_duplicates_are_read_once_and_prove_nothing(site: Site, read: Reader) -> None:
    site.bend = lambda asked, headers, posts: (headers, [*posts, posts[0]] if asked.page == 3 else posts)
    found = await read()
    assert ids(found) == ALL and found.doubt == "post 11 came twice"


async def test_a_post_without_an_id_is_counted_as_failed(site: Site, read: Reader) -> None:
    site.bend = lambda asked, headers, posts: (
        headers,
        [{**post, "id": None} if post["id"] == 4 else post for post in posts],
    )
    found = await read()
    assert ids(found) == [number for number in ALL if number != 4]
    assert not found.complete


# --- failures --------------------------------------------------------------------------------------------------------


def breaks_on(number: int, how: Reply, site: Site) -> Callable[[Asked, dict[str, str], list[Any]], Any]:
    """The site fails whenever the content of one post is among what it would show."""

    def bend(asked: Asked, headers: dict[str, str], posts: list[Any]) -> Any:
        if not asked.slim and any(post["id"] == number for post in posts):
            raise how
        return headers, posts

    return bend


@pytest.mark.parametrize(
    "how",
    [
        wrong("internal_server_error", "There has been a critical error.", 500),
        Reply(200, b"<html><body>Error establishing a database connection</body></html>", Content_Type="text/html"),
        Reply(200, b"[" + b" " * 300_000 + b"]"),
        Reply(200, {"code": "wp_die", "message": "?"}),
        Reply(200, b"[" * 100_000),
    ],
    ids=["500", "html", "huge", "object", "deep"],
)
async def test_one_post_that_the_site_fails_on_does_not_stop_the_others(site: Site, read: Reader, how: Reply) -> None:
    read.settings |= {"per_page": 6, "max_body": 200_000}
    site.bend = breaks_on(8, how, site)
    found = await read()
    assert ids(found) == [number for number in ALL if number != 8]
    assert len(found.failures) == 1 and found.complete
    assert found.listing is not None and "8" in found.listing  # it is there: it must not be deleted
    assert len(site.asked) < 40


async def test_a_site_that_fails_on_everything_is_left_alone_soon(site: Site, read: Reader) -> None:
    def fail(asked: Asked) -> None:
        raise Reply(500)

    site.before, read.settings["per_page"] = fail, 100
    with pytest.raises(Unreachable, match="fails on too many requests"):
        await read()
    assert len(site.asked) < 100


async def test_a_failure_that_passes_is_tried_again_with_jitter(site: Site, read: Reader) -> None:
    site.before = once(lambda: _raise(Reply(502)), lambda asked: asked.page == 2)
    found = await read()
    assert found.complete and len(read.slept) == 1 and 0 <= read.slept[0] <= 1


def _raise(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_kept(site: Site, read: Reader, status: int) -> None:
    site.before = once(lambda: _raise(Reply(status, Retry_After="7")), lambda asked: asked.page == 2)
    assert (await read()).complete
    assert len(read.slept) == 1 and 7 <= read.slept[0] <= 8


async def test_retry_after_may_be_a_date(site: Site, read: Reader) -> None:
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=40), usegmt=True)
    site.before = once(lambda: _raise(Reply(429, Retry_After=at)), lambda asked: True)
    await read()
    assert 35 <= read.slept[0] <= 41


async def test_a_long_retry_after_is_left_to_the_next_attempt(site: Site, read: Reader) -> None:
    site.before = lambda asked: _raise(Reply(429, Retry_After="3600"))
    with pytest.raises(Unreachable) as raised:
        await read()
    assert raised.value.delay == 3600 and read.slept == [] and len(site.requests("event")) == 1


async def test_a_site_that_is_not_there_is_unreachable(site: Site, read: Reader) -> None:
    await site.stop()
    read.settings |= {"attempts": 2, "robots": "ignore"}
    with pytest.raises(Unreachable, match="does not answer"):
        await read()


@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        (wrong("rest_no_route", "No route", 404), "check url and type of agenda"),
        (wrong("rest_forbidden", "No", 403), "set username and password_env of agenda"),
        (Reply(301, Location="https://www.sitio.example/"), "has moved to https://www.sitio.example/: correct url"),
        (wrong("rest_invalid_param", "?"), r"refuses the request \(400, rest_invalid_param\)"),
    ],
)
async def test_what_somebody_has_to_change_is_one_sentence(
    site: Site, read: Reader, reply: Reply, sentence: str
) -> None:
    site.before = lambda asked: _raise(reply)
    with pytest.raises(Misconfigured, match=sentence):
        await read()
    assert len(site.requests("event")) == 1


@pytest.mark.parametrize("value", ["9" * 4000, "soon", "-5", ""])
async def test_a_senseless_retry_after_is_no_command(site: Site, read: Reader, value: str) -> None:
    site.before = once(lambda: _raise(Reply(429, Retry_After=value)), lambda asked: True)
    read.settings["max_wait"] = 3600
    assert (await read()).complete and read.slept[0] <= 3601


async def test_half_a_character_and_endless_depth_cost_one_record_at_most(site: Site, read: Reader) -> None:
    deep: Any = "x"
    for _ in range(600):
        deep = [deep]
    site.edit("event", 3, title="caf\ud83d")
    site.edit("event", 5, extra=deep)
    found = await read()
    assert set(ids(found)) >= set(ALL) - {5} and found.complete
    assert "\ud83d" not in found.records["3"].model_dump_json()
    lines(found.records.values())


async def test_changes_that_were_not_all_read_are_asked_for_again(site: Site, read: Reader) -> None:
    before = state(site, datetime(2026, 8, 1, 12, 30, tzinfo=UTC))
    assert (await read("changes", before)).cursor == site.now
    site.asked.clear()
    read.paced = 0
    site.bend = breaks_on(8, Reply(500), site)
    found = await read("changes", before)
    assert found.failures and found.cursor is None


# --- manners ---------------------------------------------------------------------------------------------------------


async def test_robots_txt_is_obeyed(site: Site, read: Reader) -> None:
    site.robots = "User-agent: *\nDisallow: /wp-json/\n"
    with pytest.raises(Misconfigured, match='set robots = "ignore" for agenda if the site is yours'):
        await read()
    assert site.requests("event") == []
    site.asked.clear()
    read.settings["robots"], read.paced = "ignore", 0
    assert (await read()).complete and site.asked[0].path != "/robots.txt"


async def test_a_crawl_delay_is_kept(site: Site, read: Reader) -> None:
    site.robots = "User-agent: *\nCrawl-delay: 9\n"
    await read()
    assert len(read.slept) == len(site.requests("event")) and min(read.slept) > 8


async def test_the_site_knows_who_asks_and_with_which_password(
    site: Site, read: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.login = ("lector", "abcd efgh")
    monkeypatch.setenv("AGENDA_PASSWORD", "abcd efgh")
    read.settings |= {"user_agent": "museo/1", "username": "lector", "password_env": "AGENDA_PASSWORD"}
    assert (await read()).complete
    assert {asked.headers["user-agent"] for asked in site.asked} == {"museo/1"}
    monkeypatch.setenv("AGENDA_PASSWORD", "wrong")
    with pytest.raises(Misconfigured, match="check username and the application password of agenda") as raised:
        read.paced, _ = 0, site.asked.clear()
        await read()
    assert "wrong" not in str(raised.value)


# --- changes ---------------------------------------------------------------------------------------------------------


def state(site: Site, cursor: datetime) -> State:
    known = {str(post.id): Known(digest="x", modified=post.modified) for post in site.posts["event"].values()}
    return State(source="agenda.event", cursor=cursor, known=known)


async def test_changes_are_asked_for_by_the_clock_of_the_site_two_hours_further_back(site: Site, read: Reader) -> None:
    before = state(site, datetime(2026, 8, 1, 12, 30, tzinfo=UTC))
    site.edit("event", 4)
    found = await read("changes", before)
    asked = site.requests("event")[0]
    assert asked.parameters["modified_after"] == "2026-08-01T06:30:00"  # UTC-4
    assert 4 in ids(found) and found.listing is None


@pytest.mark.parametrize("shift", ["2026-04-05T03:00:00", "2026-09-06T04:00:00"], ids=["back", "forward"])
async def test_no_change_is_lost_where_the_clock_of_the_site_is_moved(site: Site, read: Reader, shift: str) -> None:
    for number in range(3, 13):
        site.trash("event", number)
    moved = datetime.fromisoformat(shift).replace(tzinfo=UTC)
    for minutes in (-90, -60, -30, -1, 0, 1, 30, 60, 90):
        cursor = moved + timedelta(minutes=minutes)
        site.posts["event"][1].modified = cursor  # the last that was seen
        for later in (1, 59, 61):
            site.posts["event"][2].modified = cursor + timedelta(minutes=later)
            site.asked.clear()
            read.paced = 0
            assert 2 in ids(await read("changes", state(site, cursor))), (cursor, later)


async def test_a_site_that_counts_from_utc_has_no_city(site: Site, read: Reader) -> None:
    def about(offset: Any) -> Any:
        return lambda wanted: Reply(200, {"timezone_string": "", "gmt_offset": offset})

    for offset, expected in ((0, "10:30"), (-3, "07:30"), ("5.5", "16:00")):
        site.asked.clear()
        read.paced = 0
        site.about = about(offset)
        await read("changes", state(site, datetime(2026, 8, 1, 12, 30, tzinfo=UTC)))
        assert site.requests("event")[0].parameters["modified_after"] == f"2026-08-01T{expected}:00"


async def test_a_site_that_does_not_say_its_zone_needs_a_setting(site: Site, read: Reader) -> None:
    site.about = lambda wanted: Reply(200, {"name": "Sitio"})
    with pytest.raises(Misconfigured, match="set timezone of agenda"):
        await read("changes", state(site, site.now))
    site.asked.clear()
    read.settings["timezone"], read.paced = "America/Santiago", 0
    await read("changes", state(site, site.now))


async def test_a_listing_reads_what_other_passes_missed(site: Site, read: Reader) -> None:
    before = state(site, site.now)
    site.edit("event", 4)
    site.add("event", id=50)
    found = await read("listing", before)
    assert ids(found) == [4, 50] and found.complete
    contents = [one for one in site.requests("event") if not one.slim]
    assert [one.parameters["include"] for one in contents] == ["4,50"]


async def test_without_a_state_everything_is_read(site: Site, read: Reader) -> None:
    for reads in ("changes", "listing"):
        site.asked.clear()
        read.paced = 0
        assert ids(await read(reads)) == ALL
