"""``stenobus dlq``: dead letters that people can live with."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from stenobus_bus import Bus, EmbeddedServer, apply
from stenobus_bus.envelope import MSG_ID
from stenobus_bus.history import read
from stenobus_bus.topology import domain

from ..support.command import Command, work

Do = Callable[[Callable[[Bus], Awaitable[Any]]], Any]


@pytest.fixture
def on_bus(server: EmbeddedServer) -> Do:
    """Does something with a connection of its own."""

    def do(something: Callable[[Bus], Awaitable[Any]]) -> Any:
        async def connected() -> Any:
            async with await Bus.connect(server.url) as bus:
                return await something(bus)

        return asyncio.run(connected())

    return do


def die(stenobus: Command, *numbers: int) -> None:
    """Publish pings that the plugin buries, each in a run named by its number."""
    for number in numbers:
        stenobus("publish", "acme.ping", json.dumps({"number": number}), "--run", f"run{number}")
    work()


def now() -> str:
    return datetime.now(UTC).isoformat()


def numbers(stenobus: Command, *options: str) -> list[int]:
    """Dead letters, in the order they came."""
    found = stenobus.json("dlq", "list", "--limit", "100", *options)
    return sorted(letter["number"] for group in found["groups"] for letter in group["newest"])


def pings(on_bus: Do) -> list[Any]:
    """What is stored on the plugin's subject."""

    async def stored(bus: Bus) -> list[Any]:
        return [message async for message in read(bus, "ACME", "acme.ping")]

    found: list[Any] = on_bus(stored)
    return found


# --- list -------------------------------------------------------------------------------------------------------------


def test_without_dead_letters_the_list_says_so(stenobus: Command) -> None:
    assert stenobus("dlq", "list").stdout == "There are no dead letters.\n"
    assert stenobus("dlq", "list", "--run", "r").stdout == "There are no such dead letters.\n"
    assert stenobus.json("dlq", "list") == {"total": 0, "groups": []}


def test_the_list_groups_by_reason_and_handler_with_count_age_and_the_newest(stenobus: Command, on_bus: Do) -> None:
    die(stenobus, -1, -2, -3)
    on_bus(lambda bus: bus.store("acme.ping", b"garbage", {}))
    work()
    found = stenobus.json("dlq", "list", "--limit", "2")
    assert found["total"] == 4
    permanent, invalid = found["groups"]
    assert (permanent["handler"], permanent["reason"], permanent["count"]) == ("acme", "permanent", 3)
    assert [letter["run"] for letter in permanent["newest"]] == ["run-3", "run-2"]
    assert (invalid["reason"], invalid["count"]) == ("invalid", 1)
    text = stenobus("dlq", "list", "--limit", "2").stdout
    assert "permanent  acme  3 dead letters, up to " in text
    assert "run run-3  there is no negative ping" in text
    assert "… 1 older" in text
    assert "run-1" not in text
    assert "4 dead letters. `stenobus dlq show NUMBER`" in text


def test_the_list_can_be_narrowed_down(stenobus: Command, on_bus: Do) -> None:
    die(stenobus, -1)
    between = now()
    die(stenobus, -2)
    one, two = numbers(stenobus)
    assert numbers(stenobus, "--run", "run-2") == [two]
    assert numbers(stenobus, "--handler", "acme", "--reason", "permanent") == [one, two]
    assert numbers(stenobus, "--reason", "crashed") == numbers(stenobus, "--handler", "other") == []
    assert numbers(stenobus, "--since", "1h") == [one, two]
    assert numbers(stenobus, "--since", between) == numbers(stenobus, "--since", between, "--run", "run-2") == [two]
    assert numbers(stenobus, "--until", between) == numbers(stenobus, "--until", between, "--run", "run-1") == [one]
    assert numbers(stenobus, "--until", between, "--run", "run-2") == numbers(stenobus, "--until", "1h") == []
    assert "is no duration" in stenobus("dlq", "list", "--since", "soon", expect=2).stderr
    assert "no handler can have the name" in stenobus("dlq", "list", "--handler", "a.>", expect=2).stderr


def test_the_newest_are_found_among_numbers_with_holes(stenobus: Command) -> None:
    die(stenobus, *range(-12, 0))
    every = numbers(stenobus)
    stenobus("dlq", "purge", *map(str, every[2:11:2]), "--yes")
    left = [number for number in every if number not in every[2:11:2]]
    for limit in range(1, 9):
        (group,) = stenobus.json("dlq", "list", "--limit", str(limit))["groups"]
        assert [letter["number"] for letter in group["newest"]] == left[::-1][:limit]
        assert group["count"] == len(left)


# --- show -------------------------------------------------------------------------------------------------------------


def test_a_dead_letter_is_shown_whole(stenobus: Command) -> None:
    die(stenobus, -1)
    (number,) = numbers(stenobus)
    shown = stenobus.json("dlq", "show", str(number))
    assert json.loads(shown["data"]) == {"number": -1}
    assert "in ping" in shown["traceback"]
    text = stenobus("dlq", "show", str(number)).stdout
    for part in (f"Dead letter {number}  permanent  acme", "there is no negative ping", "run-1", '"number": -1',
                 "ce-id", "Traceback", f"stenobus dlq retry {number} --edit"):  # fmt: skip
        assert part in text


def test_raw_writes_the_original_bytes_and_nothing_else(stenobus: Command, on_bus: Do) -> None:
    body = b'\xff\x00{"number"\r\n'
    on_bus(lambda bus: apply(bus, [domain("acme")]))
    on_bus(lambda bus: bus.store("acme.ping", body, {}))
    large = json.dumps({"number": -1, "text": "x" * 400_000}).encode()
    on_bus(lambda bus: _claimed(bus, large))
    work()
    small, big = numbers(stenobus)
    assert stenobus("dlq", "show", str(small), "--raw").stdout_bytes == body
    assert stenobus("dlq", "show", str(big), "--raw").stdout_bytes == large
    assert "Payload, 13 bytes" in stenobus("dlq", "show", str(small)).stdout
    assert "--raw writes all" in stenobus("dlq", "show", str(big)).stdout


async def _claimed(bus: Bus, body: bytes) -> None:
    from stenobus_bus.topology import object_bucket

    await apply(bus, [object_bucket("stenobus")])
    reference, claim = await bus.claims.check_in(body)
    assert claim
    await bus.store("acme.ping", reference, claim)


def test_show_leads_back_to_the_first_event_of_the_run_as_far_as_it_is_stored(stenobus: Command, on_bus: Do) -> None:
    async def publish(bus: Bus) -> None:
        await apply(bus, [domain("acme")])
        for event_id, cause in (("first", ""), ("second", "first"), ("third", "second"), ("lost", "never")):
            headers = {MSG_ID: event_id, "ce-id": event_id, "ce-correlationid": "r", "ce-causationid": cause}
            await bus.store("acme.pong", b'{"number": 1}', {name: value for name, value in headers.items() if value})
        for event_id, cause in (("x", "third"), ("y", "lost"), ("z", "gone")):
            headers = {MSG_ID: event_id, "ce-id": event_id, "ce-correlationid": "r", "ce-causationid": cause}
            await bus.store("acme.ping", b'{"number": -1}', headers)

    on_bus(publish)
    work()
    found = {stenobus.json("dlq", "show", str(n))["event_id"]: n for n in numbers(stenobus)}
    causes = stenobus.json("dlq", "show", str(found["x"]))["causes"]
    assert [cause["id"] for cause in causes] == ["first", "second", "third"]
    assert [cause["id"] for cause in stenobus.json("dlq", "show", str(found["y"]))["causes"]] == ["lost"]
    assert "never, which is stored no more" in stenobus("dlq", "show", str(found["y"])).stdout
    assert "gone, which is stored no more" in stenobus("dlq", "show", str(found["z"])).stdout
    text = stenobus("dlq", "show", str(found["x"])).stdout
    assert text.index("ACME/1") < text.index("ACME/2") < text.index("ACME/3") < text.index("this one")


def test_a_dead_letter_that_is_not_there_is_one_sentence(stenobus: Command) -> None:
    for arguments in (["show", "7"], ["show", "7", "--raw"], ["retry", "7"], ["purge", "7", "--yes"]):
        message = stenobus.fails("dlq", *arguments)
        assert message == "There is no such dead letter: 7; `stenobus dlq list` shows what is there."


# --- retry ------------------------------------------------------------------------------------------------------------


def test_dead_letters_are_retried_one_by_one_or_by_what_they_have_in_common(stenobus: Command, on_bus: Do) -> None:
    die(stenobus, -1, -2, -3)
    between = now()
    die(stenobus, -4)
    one, *_, four = numbers(stenobus)
    assert stenobus("dlq", "retry", str(one)).stdout == "1 published again.\n"
    assert stenobus("dlq", "retry", "--run", "run-2").stdout == "1 published again.\n"
    assert stenobus("dlq", "retry", "--handler", "acme", "--until", between).stdout == "1 published again.\n"
    assert numbers(stenobus) == [four]
    done = stenobus.json("dlq", "retry", "--reason", "permanent")
    assert [letter["number"] for letter in done["published"]] == [four]
    again = pings(on_bus)[4:]
    assert [json.loads(message.data)["number"] for message in again] == [-1, -2, -3, -4]
    assert {message.headers["stenobus-only"] for message in again} == {"acme"}
    assert again[0].headers["stenobus-retry"] == f"DLQ/{one}"
    work()
    assert len(numbers(stenobus)) == 4


def test_a_dry_run_says_what_would_be_published_and_does_nothing(stenobus: Command, on_bus: Do) -> None:
    die(stenobus, -1, -2)
    one, two = numbers(stenobus)
    said = stenobus("dlq", "retry", "--all", "--dry-run").stdout
    assert said == f"2 would be published again: {one}, {two}.\n"
    said = stenobus("dlq", "retry", str(one), "--payload", '{"number": "x"}', "--dry-run", expect=1)
    assert "acme.ping: number: Input should be a valid integer" in said.stderr
    assert numbers(stenobus) == [one, two]
    assert len(pings(on_bus)) == 2


def test_an_edited_payload_is_handled_though_its_event_is_known_and_can_be_traced(
    stenobus: Command, on_bus: Do, tmp_path: Path
) -> None:
    die(stenobus, -1, -2, -3)
    one, two, three = map(str, numbers(stenobus))
    (tmp_path / "event.json").write_text('{"number": 1}')
    assert stenobus("dlq", "retry", one, "--payload", f"@{tmp_path / 'event.json'}").stdout == "1 published again.\n"
    assert stenobus("dlq", "retry", two, "--payload", "-", input='{"number": 2}').stdout == "1 published again.\n"
    assert stenobus("dlq", "retry", three, "--payload", '{"number": 3}').stdout == "1 published again.\n"
    work()
    assert numbers(stenobus) == []
    first, second, third, *again = pings(on_bus)
    assert [message.event_id for message in again] == [first.event_id, second.event_id, third.event_id]
    assert all(message.headers["stenobus-edited"].startswith("sha256:") for message in again)
    assert "stenobus-edited" not in first.headers


def test_a_field_can_be_set_in_many_and_what_breaks_its_contract_stays(stenobus: Command, on_bus: Do) -> None:
    die(stenobus, -1, -2)
    on_bus(lambda bus: bus.store("acme.ping", b'["no object"]', {}))
    work()
    *_, broken = numbers(stenobus)
    said = stenobus("dlq", "retry", "--all", "--set", "number=7", "--set", "extra.list=[1, 2]", expect=1)
    assert said.stdout == "2 published again.\n"
    assert said.stderr.startswith(f"Dead letter {broken} stays: ")
    assert numbers(stenobus) == [broken]
    seven = {"number": 7, "extra": {"list": [1, 2]}}
    assert [json.loads(message.data) for message in pings(on_bus)[3:]] == [seven, seven]
    work()
    assert numbers(stenobus) == [broken]


def test_a_field_of_a_structured_event_is_set_inside_its_data(stenobus: Command, on_bus: Do) -> None:
    event = {"specversion": "1.0", "id": "i", "source": "s", "type": "t", "data": {"number": -1}}
    on_bus(lambda bus: apply(bus, [domain("acme")]))
    on_bus(lambda bus: bus.store("acme.ping", json.dumps(event).encode(), {}))
    work()
    assert stenobus("dlq", "retry", "--all", "--set", "number=1").stdout == "1 published again.\n"
    work()
    assert numbers(stenobus) == []
    assert json.loads(pings(on_bus)[1].data) == event | {"data": {"number": 1}}


@pytest.mark.parametrize(
    ("assignment", "says"),
    [
        ("number", "is no path=JSON"),
        ("number=seven", "is no JSON; a text is written as number='\"seven\"'"),
        (".number=7", "is no path=JSON"),
    ],
)
def test_an_assignment_that_is_none_is_refused_before_anything_is_done(
    stenobus: Command, assignment: str, says: str
) -> None:
    assert says in stenobus("dlq", "retry", "--all", "--set", assignment, expect=2).stderr


@pytest.mark.parametrize(
    ("assignment", "says"),
    [
        ("number.deep=7", "nothing can be set at number.deep"),
        ("items.7=1", "there is no items.7; the list has 2 items"),
        ("items.x=1", "there is no items.x"),
    ],
)
def test_a_field_that_cannot_be_set_is_named(stenobus: Command, on_bus: Do, assignment: str, says: str) -> None:
    on_bus(lambda bus: apply(bus, [domain("acme")]))
    on_bus(lambda bus: bus.store("acme.ping", b'{"number": -1, "items": [1, 2]}', {}))
    work()
    assert says in stenobus("dlq", "retry", "--all", "--set", assignment, expect=1).stderr
    assert len(numbers(stenobus)) == 1
    assert stenobus("dlq", "retry", "--all", "--set", "items.1=7").stdout == "1 published again.\n"
    assert json.loads(pings(on_bus)[1].data)["items"] == [1, 7]


def _editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """An editor that a program drives: ``text`` is the file's text, before and after."""
    script = tmp_path / "editor.py"
    script.write_text(
        "import pathlib, sys\nfile = pathlib.Path(sys.argv[1])\ntext = file.read_text()\n"
        f"{code}\nfile.write_text(text)\nimport os; os.utime(file, (2e9, 2e9))\n"
    )
    monkeypatch.setenv("VISUAL", "")
    monkeypatch.setenv("EDITOR", f"python {script}")


def test_a_payload_is_edited_in_the_editor(
    stenobus: Command, on_bus: Do, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    die(stenobus, -1)
    (number,) = numbers(stenobus)
    _editor(
        tmp_path, monkeypatch, "assert text.strip() == '{\\n  \"number\": -1\\n}', text; text = text.replace('-1', '5')"
    )
    assert stenobus("dlq", "retry", str(number), "--edit").stdout == "1 published again.\n"
    assert json.loads(pings(on_bus)[1].data) == {"number": 5}
    work()
    assert numbers(stenobus) == []


def test_an_edit_that_breaks_the_contract_is_kept_for_another_try(
    stenobus: Command, on_bus: Do, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    die(stenobus, -1)
    (number,) = numbers(stenobus)
    _editor(tmp_path, monkeypatch, "text = text.replace('-1', '\"much work\"')")
    said = stenobus("dlq", "retry", str(number), "--edit", expect=1).stderr
    assert "acme.ping: number: Input should be a valid integer" in said
    (file,) = tmp_path.glob(f"stenobus-dlq-{number}-*.json")
    assert f"your edit is in {file}" in said
    assert "much work" in file.read_text()
    assert numbers(stenobus) == [number]
    assert len(pings(on_bus)) == 1


def test_an_editor_that_changes_nothing_publishes_nothing(
    stenobus: Command, on_bus: Do, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    die(stenobus, -1)
    (number,) = numbers(stenobus)
    _editor(tmp_path, monkeypatch, "pass")
    message = stenobus.fails("dlq", "retry", str(number), "--edit")
    assert message == "The payload was left as it was; nothing was published."
    assert numbers(stenobus) == [number]


def test_what_cannot_go_together_is_refused(stenobus: Command) -> None:
    for what in ("retry", "purge"):
        assert "Name dead letters by number" in stenobus("dlq", what, expect=2).stderr
        assert "not by both" in stenobus("dlq", what, "1", "--all", expect=2).stderr
    for options in (["--all", "--edit"], ["1", "2", "--payload", "{}"], ["--handler", "x", "--payload", "{}"]):
        assert "are for one dead letter" in stenobus("dlq", "retry", *options, expect=2).stderr
    assert "Choose one of" in stenobus("dlq", "retry", "1", "--payload", "{}", "--set", "a=1", expect=2).stderr


# --- purge ------------------------------------------------------------------------------------------------------------


def test_purge_asks_and_deletes_what_was_chosen(stenobus: Command) -> None:
    for number in (-1, -2, -3):
        die(stenobus, number)
    between = now()
    die(stenobus, -4)
    one, two, three, four = numbers(stenobus)
    stenobus("dlq", "purge", "--all", input="n\n", expect=1)
    assert numbers(stenobus) == [one, two, three, four]
    assert stenobus("dlq", "purge", str(two), input="y\n").stdout.endswith("1 deleted.\n")
    assert stenobus("dlq", "purge", "--since", between, "--yes").stdout == "1 deleted.\n"
    assert stenobus("dlq", "purge", "--run", "run-1", "--yes").stdout == "1 deleted.\n"
    assert stenobus("dlq", "purge", "--reason", "crashed", "--yes").stdout == "0 deleted.\n"
    assert numbers(stenobus) == [three]
    assert stenobus("dlq", "purge", "--until", between, "--yes").stdout == "1 deleted.\n"
    assert numbers(stenobus) == []


# --- garbage ----------------------------------------------------------------------------------------------------------


LETTER = {
    "handler": "acme", "reason": "permanent", "error": "E", "message": "m", "attempts": 1, "event_id": "i", "run": "r",
    "stream": "ACME", "sequence": 1, "original_subject": "acme.ping", "failed_at": "2026-01-31T12:00:00Z", "data": "{}",
}  # fmt: skip
GARBAGE = [
    ("dlq.x", b"garbage", {}),
    ("dlq.x", b"", {}),
    ("dlq.acme.permanent", b"\xff\xfe", {"h": "\x1b]0;owned\x07"}),
    ("dlq.acme.permanent", b"[" * 100_000, {}),
    ("dlq.acme.permanent", b"{}", {"stenobus-claim": "1"}),
    ("dlq.acme.no-reason.at-all", json.dumps(LETTER).encode(), {}),
    ("dlq.acme.crashed", json.dumps(LETTER).encode(), {}),
    ("dlq.acme.permanent", json.dumps(LETTER | {"failed_at": "2026-01-31T12:00:00"}).encode(), {}),
    ("dlq.acme.permanent", json.dumps(LETTER | {"failed_at": "0001-01-01T00:00:00+14:00"}).encode(), {}),
    ("dlq.acme.permanent", json.dumps(LETTER | {"data_base64": "no base64!"}).encode(), {}),
    ("dlq.acme.permanent", json.dumps(LETTER | {"sequence": -1}).encode(), {}),
    ("dlq.acme.permanent", json.dumps(LETTER | {"attempts": 0}).encode(), {}),
]


def test_garbage_hides_no_dead_letter_and_breaks_no_command(stenobus: Command, on_bus: Do) -> None:
    stenobus("bus", "apply")

    async def litter(bus: Bus) -> None:
        for subject, body, headers in GARBAGE:
            await bus.store(subject, body, headers)

    on_bus(litter)
    die(stenobus, -1)
    *garbage, mine = numbers(stenobus)
    assert len(garbage) == len(GARBAGE)
    text = stenobus("dlq", "list", "--limit", "100").stdout
    assert text.count("unreadable: ") == len(GARBAGE)
    assert "\x1b" not in text
    for number in garbage:
        assert "\x1b" not in stenobus("dlq", "show", str(number)).stdout
        assert stenobus.json("dlq", "show", str(number))["unreadable"]
        assert "there are no original bytes" in stenobus.fails("dlq", "show", str(number), "--raw")
    assert numbers(stenobus, "--run", "run-1") == [mine]
    said = stenobus("dlq", "retry", "--all", expect=1)
    assert said.stdout == "1 published again.\n"
    assert said.stderr.count(" stays: it is unreadable: ") == len(GARBAGE)
    assert stenobus("dlq", "purge", str(garbage[0]), "--yes").stdout == "1 deleted.\n"
    assert stenobus("dlq", "purge", "--all", "--yes").stdout == f"{len(GARBAGE) - 1} deleted.\n"


@pytest.mark.parametrize(
    ("forged", "says"),
    [
        ({"original_subject": "$JS.API.STREAM.DELETE.ACME"}, "no event has the subject"),
        ({"original_subject": "acme.>"}, "no event has the subject"),
        ({"original_subject": "acme.ping\r\nPUB x 0\r\n"}, "no event has the subject"),
        ({"original_subject": ""}, "no event has the subject"),
        ({"headers": {"a": "b\r\nNats-Rollup: all"}}, "no event has the header"),
        ({"headers": {"a\r\nb": "c"}}, "no event has the header"),
        ({"data": None}, "the event was gone from its stream before it could be kept"),
        ({"headers": {"stenobus-claim": "nats://stenobus/00"}, "data": "{}"}, "its body is gone"),
    ],
    ids=["api", "wildcard", "lines", "empty", "header-lines", "header-name", "gone", "claim"],
)
def test_a_letter_that_must_not_be_published_stays(
    stenobus: Command, on_bus: Do, forged: dict[str, Any], says: str
) -> None:
    stenobus("bus", "apply")
    on_bus(lambda bus: bus.store("dlq.acme.permanent", json.dumps(LETTER | forged).encode(), {}))
    assert says in stenobus("dlq", "retry", "--all", expect=1).stderr
    assert len(numbers(stenobus)) == 1
    stenobus("dlq", "show", "1")
    assert pings(on_bus) == []


def test_an_event_that_is_gone_can_be_retried_with_a_payload_from_elsewhere(stenobus: Command, on_bus: Do) -> None:
    stenobus("bus", "apply")
    on_bus(lambda bus: bus.store("dlq.acme.permanent", json.dumps(LETTER | {"data": None}).encode(), {}))
    assert "It is gone." in stenobus("dlq", "show", "1").stdout
    assert "has no original bytes" in stenobus.fails("dlq", "show", "1", "--raw")
    assert stenobus("dlq", "retry", "1", "--payload", '{"number": 1}').stdout == "1 published again.\n"
    assert [message.data for message in pings(on_bus)] == [b'{"number": 1}']
