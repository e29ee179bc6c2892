"""What the API answers, and to whom."""

from __future__ import annotations

import asyncio
import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest

from stenobus_core.http.guard import LONGEST_BODY
from stenobus_core.http.pace import Pace
from stenobus_kb.api import app as module
from stenobus_kb.api.app import create
from stenobus_kb.api.keys import Keys
from stenobus_kb.api.reading import Busy, Reading
from stenobus_kb.search import Searcher
from stenobus_testing.waiting import eventually

from .conftest import SECRET, Get, Stuck


def names(answer: httpx2.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return sorted(result["document"] for result in answer.json()["results"])


def problem(answer: httpx2.Response, status: int) -> str:
    assert answer.status_code == status and answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status and body["request_id"] == answer.headers["x-request-id"]
    return str(body["detail"])


async def test_a_result_says_what_where_and_at_which_second(get: Get) -> None:
    answer = await get("/v1/search", q="log rotation")
    [result] = answer.json()["results"]
    assert (result["document"], result["collection"], result["title"]) == ("talk", "documents", "Full disk")
    assert (result["heading"], result["start"], result["link"]) == ("Talk › Cause", 65.0, "file:///talk.wav#t=65")
    assert [result["snippet"][start:end] for start, end in result["highlights"]] == ["log", "rotation"]
    assert answer.json()["next_offset"] is None


async def test_the_long_way_of_asking_is_the_same(client: httpx2.AsyncClient, keys: Keys) -> None:
    headers = {"X-API-Key": keys.add("app", None, None, 60)}
    body = {"query": "disk", "collections": ["documents"], "metadata": {"tags": "logs", "year": 2026}}
    answer = await client.post("/v1/search", json=body, headers=headers)
    short = await client.get(
        "/v1/search",
        params={"q": "disk", "collection": "documents", "where": ["tags=logs", "year=2026"]},
        headers=headers,
    )
    assert names(answer) == names(short) == ["talk"]


async def test_pages_follow_each_other_without_gap_or_repeat(get: Get) -> None:
    found, offset = [], 0
    while offset is not None:
        page = (await get("/v1/search", q="disk", principals=None, limit=1, offset=offset)).json()
        found += [result["document"] for result in page["results"]]
        offset = page["next_offset"]
    assert sorted(found) == ["a/b?c", "menu", "plan", "talk"]


# --- who sees what ---------------------------------------------------------------------------------------------------


async def test_a_key_finds_what_is_in_its_collections_and_for_its_holder(get: Get) -> None:
    assert names(await get("/v1/search", q="disk")) == ["a/b?c", "menu", "talk"]
    assert names(await get("/v1/search", ("documents",), q="disk")) == ["talk"]
    assert names(await get("/v1/search", ("documents",), ("group:board",), q="disk")) == ["plan", "talk"]
    assert names(await get("/v1/search", None, None, q="disk")) == ["a/b?c", "menu", "plan", "talk"]
    assert names(await get("/v1/search", (), None, q="disk")) == []
    assert "no right to the collection kitchen" in problem(
        await get("/v1/search", ("documents",), q="disk", collection="kitchen"), 403
    )


async def test_collections_and_documents_show_no_more_than_search(get: Get) -> None:
    assert (await get("/v1/collections", ("documents",))).json() == {
        "collections": [{"name": "documents", "documents": 1, "chunks": 1}]
    }
    listed = (await get("/v1/documents", ("documents",))).json()["documents"]
    assert [document["id"] for document in listed] == ["talk"]
    problem(await get("/v1/documents/documents/plan"), 404)
    problem(await get("/v1/documents/kitchen/menu", ("documents",)), 404)
    problem(await get("/v1/documents", ("documents",), collection="kitchen"), 403)
    whole = (await get("/v1/documents/documents/talk")).json()
    assert whole["title"] == "Full disk" and "log rotation was off" in whole["passages"][0]["text"]
    assert whole["passages"][0]["start"] == 65.0


async def test_only_who_may_see_everything_asks_for_others(client: httpx2.AsyncClient, keys: Keys) -> None:
    async def ask(principals: tuple[str, ...] | None, wanted: list[str]) -> httpx2.Response:
        headers = {"X-API-Key": keys.add("app", None, principals, 60)}
        return await client.post("/v1/search", json={"query": "disk plan", "principals": wanted}, headers=headers)

    assert "plan" in names(await ask(None, ["group:board"]))
    assert "plan" not in names(await ask(None, []))
    assert "plan" in names(await ask(("group:board", "me"), ["group:board"]))
    assert "principal group:board" in problem(await ask(("me",), ["group:board"]), 403)


async def test_a_token_opens_what_it_names(client: httpx2.AsyncClient) -> None:
    claims = {"sub": "ana", "aud": "stenobus", "iss": "https://issuer", "exp": time.time() + 60}
    for more, found in (
        ({}, []), ({"collections": ["documents"]}, ["talk"]),
        ({"collections": ["documents"], "principals": ["group:board"]}, ["plan", "talk"]),
    ):  # fmt: skip
        token = jwt.encode(claims | more, SECRET, "HS256")
        answer = await client.get("/v1/search", params={"q": "disk"}, headers={"Authorization": f"Bearer {token}"})
        assert names(answer) == found


@pytest.mark.parametrize(
    "address", ["/v1/search?q=disk", "/v1/collections", "/v1/documents", "/v1/documents/a/b", "/metrics"]
)
@pytest.mark.parametrize(
    "headers", [{}, {"X-API-Key": "stk_x_y"}, {"Authorization": "Bearer a.b.c"}, {"Authorization": "Basic eA=="}]
)
async def test_nobody_unknown_is_let_in(client: httpx2.AsyncClient, address: str, headers: dict[str, str]) -> None:
    answer = await client.get(address, headers=headers)
    assert "valid API key" in problem(answer, 401) and answer.headers["www-authenticate"] == "Bearer"


async def test_health_is_for_everybody_and_figures_are_not(client: httpx2.AsyncClient, get: Get) -> None:
    assert (await client.get("/healthz")).status_code == 200
    assert (await client.get("/readyz")).json() == {"ready": True, "collections": 2}
    await get("/v1/search", q="disk")
    figures = (await get("/metrics")).text
    assert 'stenobus_kb_requests_total{route="/v1/search",status="200"} 1.0' in figures and "disk" not in figures


# --- limits ----------------------------------------------------------------------------------------------------------


async def test_a_caller_that_comes_too_often_hears_when_to_come_back(client: httpx2.AsyncClient, keys: Keys) -> None:
    headers = {"X-API-Key": keys.add("eager", None, None, 3)}
    answers = [await client.get("/v1/collections", headers=headers) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert 15 <= int(answers[-1].headers["retry-after"]) <= 20
    other = {"X-API-Key": keys.add("calm", None, None, 3)}
    assert (await client.get("/v1/collections", headers=other)).status_code == 200


def test_a_bucket_fills_up_again() -> None:
    now = 0.0
    pace = Pace(lambda: now)
    assert [pace.take("a", 2) for _ in range(3)] == [0, 0, 30]
    now = 29.0
    assert pace.take("a", 2) == pytest.approx(1)
    now = 30.0
    assert pace.take("a", 2) == 0
    now = 10_000.0
    assert [pace.take("a", 2) for _ in range(3)] == [0, 0, 30]


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        ({}, "q: Field required."), ({"q": ""}, "q: "), ({"q": "x" * 1001}, "q: "), ({"q": "x", "limit": 0}, "limit: "),
        ({"q": "x", "limit": 101}, "limit: "), ({"q": "x", "offset": 901}, "offset: "),
        ({"q": "x", "where": "year"}, "where: "), ({"q": "x", "collection": ["c"] * 51}, "collection: "),
    ],
)  # fmt: skip
async def test_a_wrong_parameter_is_named(get: Get, parameters: dict[str, Any], complaint: str) -> None:
    assert problem(await get("/v1/search", **parameters), 422).startswith(complaint)


@pytest.mark.parametrize("after", ["x", "W10=", "ImEi", "WzEsIDJd"])
async def test_a_place_that_was_made_up_is_refused(get: Get, after: str) -> None:
    assert problem(await get("/v1/documents", after=after), 422).startswith("after: ")


async def test_documents_are_listed_page_by_page(get: Get) -> None:
    seen, after = [], None
    while True:
        page = (await get("/v1/documents", principals=None, limit=1, **({"after": after} if after else {}))).json()
        seen += [(document["collection"], document["id"]) for document in page["documents"]]
        if (after := page["next"]) is None:
            break
    assert seen == [("documents", "plan"), ("documents", "talk"), ("kitchen", "a/b?c"), ("kitchen", "menu")]
    assert (await get("/v1/documents/kitchen/a%2Fb%3Fc")).json()["title"] == "Odd"


async def test_a_body_that_is_too_long_is_not_read_to_its_end(client: httpx2.AsyncClient, keys: Keys) -> None:
    headers = {"X-API-Key": keys.add("app", None, None, 60), "Content-Type": "application/json"}
    taken = 0

    async def endless() -> Any:
        nonlocal taken
        while True:
            taken += 1
            yield b" " * 4096

    answer = await client.post("/v1/search", content=endless(), headers=headers)
    assert "longer than" in problem(answer, 413) and taken <= LONGEST_BODY // 4096 + 1
    for body in (b"{", b"[]", json.dumps({"query": "x", "metadata": {"a": [1]}}).encode()):
        problem(await client.post("/v1/search", content=body, headers=headers), 422)
    problem(await client.post("/v1/search", content=b"\xff", headers=headers), 400)


async def test_any_text_is_a_query(get: Get) -> None:
    for text in ('"', "AND OR NOT", "a* ^b NEAR(", "\x00", "';--", "🦒", "\ud7ff"):
        assert (await get("/v1/search", q=text)).status_code == 200


async def test_nothing_is_kept_framed_run_or_named_elsewhere(client: httpx2.AsyncClient) -> None:
    for address in ("/healthz", "/v1/search?q=disk", "/nowhere"):
        headers = (await client.get(address)).headers
        assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")
        assert headers["referrer-policy"] == "no-referrer"
        assert {"default-src 'none'", "frame-ancestors 'none'"} <= set(headers["content-security-policy"].split("; "))


async def test_a_request_has_the_id_it_came_with_if_it_is_one(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/healthz", headers={"X-Request-ID": "abc-1"})).headers["x-request-id"] == "abc-1"
    assert (await client.get("/healthz", headers={"X-Request-ID": "a b\t<"})).headers["x-request-id"] != "a b\t<"


# --- trouble ---------------------------------------------------------------------------------------------------------


async def test_an_index_that_is_not_there_or_broken_is_not_ready_and_its_place_is_not_told(
    tmp_path: Path, client: httpx2.AsyncClient
) -> None:
    broken = tmp_path / "broken.sqlite"
    broken.write_bytes(b"no database, but long enough to be taken for one" * 50)
    for path in (tmp_path / "missing.sqlite", broken):
        transport = httpx2.ASGITransport(
            app=create(Reading(path, partial(Searcher, path)), None), raise_app_exceptions=False
        )
        async with httpx2.AsyncClient(transport=transport, base_url="http://kb") as opened:
            for address in ("/readyz", "/v1/search?q=disk", "/v1/collections"):
                answer = await opened.get(address)
                assert str(tmp_path) not in problem(answer, 503) and answer.headers["retry-after"]
            assert (await opened.get("/healthz")).status_code == 200


async def test_what_nobody_thought_of_is_told_to_the_log_alone(
    client: httpx2.AsyncClient, get: Get, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("the inside of things")

    monkeypatch.setattr(module.catalogue, "collections", fail)
    assert "inside" not in problem(await get("/v1/collections"), 500)
    assert "the inside of things" in capsys.readouterr().out


async def test_a_search_that_finds_no_turn_in_time_is_sent_away_and_who_hangs_up_keeps_its_turn(path: Path) -> None:
    reading, stuck = Reading(path, lambda: Searcher(path), at_once=1, patience=0.05), Stuck()
    gone = asyncio.create_task(reading.run(stuck))
    await eventually(lambda: stuck.waiting)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    with pytest.raises(Busy):
        await reading.run(lambda: None)
    stuck.released.set()
    await eventually(lambda: not reading._turns.locked())
    await reading.run(lambda: None)


async def test_a_new_version_of_a_document_is_found_at_once(get: Get, put: Any) -> None:
    assert names(await get("/v1/search", q="disk", collection="documents")) == ["talk"]
    put("talk", "Nothing of the kind.", title="Other")
    assert names(await get("/v1/search", q="disk", collection="documents")) == []
