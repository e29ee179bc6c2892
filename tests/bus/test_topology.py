"""Streams and consumers as code."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from stenobus_bus import Bus, BusError, ConsumerSpec, DeclarationRefused, StreamSpec, apply, plan
from stenobus_bus.topology import domain, key_value, object_bucket

SPEC = domain("test")
CONSUMER = ConsumerSpec("TEST", "handler", "test.ping")


async def config(bus: Bus, subject: str = "STREAM.INFO.TEST") -> dict[str, Any]:
    found: dict[str, Any] = (await bus.api(subject))["config"]
    return found


async def test_a_plan_changes_nothing_and_applying_leaves_nothing_to_plan(bus: Bus) -> None:
    specs = [domain("other"), ConsumerSpec("OTHER", "handler", "other.ping"), key_value("kv"), object_bucket("blobs")]
    assert [change.action for change in await plan(bus, specs)] == ["create"] * 4
    assert [change.action for change in await plan(bus, specs)] == ["create"] * 4
    assert [change.action for change in await apply(bus, specs)] == ["create"] * 4
    assert [change.action for change in await plan(bus, specs)] == ["none"] * 4
    assert [change.action for change in await apply(bus, specs)] == ["none"] * 4


async def test_buckets_are_what_the_nats_tools_expect(bus: Bus) -> None:
    await apply(bus, [key_value("kv", ttl=60), object_bucket("blobs")])
    bucket = await bus.js.key_value("kv")
    await bucket.put("a.b", b"1")
    assert (await bucket.get("a.b")).value == b"1"
    assert (await bucket.status()).ttl == 60
    await (await bus.js.object_store("blobs")).put("x", b"1")


async def test_what_operators_set_survives(bus: Bus) -> None:
    await apply(bus, [CONSUMER])
    theirs = {
        "max_age": 3600 * 10**9, "max_bytes": 10**9, "compression": "s2", "discard": "old", "max_msgs_per_subject": 5,
        "description": "ours", "duplicate_window": 10**9,
    }  # fmt: skip
    await bus.api("STREAM.UPDATE.TEST", {**await config(bus), **theirs, "metadata": {"team": "talks"}})
    consumer = await config(bus, "CONSUMER.INFO.TEST.handler")
    await bus.api(
        "CONSUMER.CREATE.TEST.handler.test.ping",
        {"stream_name": "TEST", "config": {**consumer, "max_batch": 7, "metadata": {"team": "talks"}}},
    )
    await apply(bus, [SPEC, ConsumerSpec("TEST", "handler", "test.ping", ack_wait=7)])  # a change, so that it writes
    found = await config(bus)
    assert theirs.items() <= found.items()
    assert found["metadata"]["team"] == "talks"
    found = await config(bus, "CONSUMER.INFO.TEST.handler")
    assert (found["ack_wait"], found["max_batch"], found["metadata"]["team"]) == (7 * 10**9, 7, "talks")


async def test_a_setting_this_code_has_never_heard_of_survives_an_update(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole configuration the server has is written back, whatever is in it."""
    real, written = bus.api, []

    async def api(subject: str, body: Any = None, **more: Any) -> Any:
        if subject == "STREAM.UPDATE.TEST":
            written.append(body)
            return {}
        answer = await real(subject, body, **more)
        if subject == "STREAM.INFO.TEST":
            answer["config"]["invented_in_2030"] = {"deep": [1]}
        return answer

    monkeypatch.setattr(bus, "api", api)
    await apply(bus, [StreamSpec("TEST", ("test.>", "test2.>"))])
    assert written[0]["invented_in_2030"] == {"deep": [1]}
    assert written[0]["subjects"] == ["test.>", "test2.>"]


@pytest.mark.parametrize("setting", [{"ack_wait": 5 * 10**9}, {"max_deliver": 3}, {"max_ack_pending": 1}])
async def test_a_drifted_consumer_is_repaired(bus: Bus, setting: dict[str, int]) -> None:
    await apply(bus, [CONSUMER])
    wanted = await config(bus, "CONSUMER.INFO.TEST.handler")
    await bus.api("CONSUMER.CREATE.TEST.handler.test.ping", {"stream_name": "TEST", "config": {**wanted, **setting}})
    (change,) = await plan(bus, [CONSUMER])
    ((name, drifted),) = setting.items()
    assert change.differences == {name: (drifted, wanted[name])}
    assert str(change) == f"update consumer TEST/handler ({name}: {drifted!r} → {wanted[name]!r})"
    await apply(bus, [CONSUMER])
    assert (await config(bus, "CONSUMER.INFO.TEST.handler"))[name] == wanted[name]


async def test_a_drifted_filter_is_repaired(bus: Bus) -> None:
    await apply(bus, [ConsumerSpec("TEST", "handler", "test.pong")])
    await apply(bus, [CONSUMER])
    assert (await config(bus, "CONSUMER.INFO.TEST.handler"))["filter_subject"] == "test.ping"


async def test_subjects_that_others_added_stay(bus: Bus) -> None:
    await bus.api("STREAM.UPDATE.TEST", {**await config(bus), "subjects": ["test.>", "theirs.>"]})
    (change,) = await apply(bus, [SPEC])
    assert change.action == "none"
    await apply(bus, [StreamSpec("TEST", ("test.>", "more.>"))])
    assert sorted((await config(bus))["subjects"]) == ["more.>", "test.>", "theirs.>"]


async def test_a_narrower_subject_that_was_there_gives_way_to_the_domain(bus: Bus) -> None:
    await bus.api("STREAM.CREATE.ACME", {"name": "ACME", "subjects": ["acme.ping", "acme.*.done", "theirs.ping"]})
    await apply(bus, [domain("acme")])
    assert sorted((await config(bus, "STREAM.INFO.ACME"))["subjects"]) == ["acme.>", "theirs.ping"]


async def test_what_cannot_be_changed_is_refused_in_one_sentence_and_nothing_is_changed(bus: Bus) -> None:
    await bus.api(
        "STREAM.CREATE.JOBS", {"name": "JOBS", "subjects": ["jobs.>"], "retention": "workqueue", "allow_direct": True}
    )
    with pytest.raises(DeclarationRefused) as caught:
        await apply(bus, [domain("fresh"), domain("jobs")])
    assert str(caught.value) == (
        "refused stream JOBS (retention: 'workqueue' → 'limits'): the server cannot change this in place; "
        "delete or rename the old one first."
    )
    with pytest.raises(BusError):
        await config(bus, "STREAM.INFO.FRESH")
    assert (await config(bus, "STREAM.INFO.JOBS"))["retention"] == "workqueue"


@pytest.mark.parametrize("setting", [{"ack_policy": "none"}, {"deliver_subject": "push.here"}])
async def test_a_consumer_of_another_kind_is_refused(bus: Bus, setting: dict[str, str]) -> None:
    await bus.api(
        "CONSUMER.CREATE.TEST.handler.test.ping",
        {
            "stream_name": "TEST",
            "config": {
                "durable_name": "handler", "name": "handler", "filter_subject": "test.ping",
                "ack_policy": "explicit", **setting,
            },
        },
    )  # fmt: skip
    with pytest.raises(DeclarationRefused, match="refused consumer TEST/handler"):
        await apply(bus, [CONSUMER])


async def test_a_consumer_without_its_stream_is_one_sentence(bus: Bus) -> None:
    with pytest.raises(BusError, match="stream not found"):
        await apply(bus, [ConsumerSpec("NOSUCH", "handler", "nosuch.ping")])


async def test_history_can_be_read_whatever_a_stream_was_made_with(bus: Bus) -> None:
    await bus.api("STREAM.CREATE.ACME", {"name": "ACME", "subjects": ["acme.>"], "allow_direct": False})
    await apply(bus, [domain("acme")])
    assert (await config(bus, "STREAM.INFO.ACME"))["allow_direct"] is True


async def test_a_single_server_refuses_copies_in_one_sentence(bus: Bus) -> None:
    with pytest.raises(BusError, match="replicas > 1 not supported in non-clustered mode"):
        await apply(bus, [replace(domain("copied"), replicas=3)])
