"""Bedrock's streams: pieces for who asked, and all that can happen before the last one."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from stenobus_llm.failures import Failure
from stenobus_llm.providers.bedrock import call as call_module
from stenobus_llm.providers.bedrock import stream as stream_module
from stenobus_testing.waiting import Gate, eventually, still

from .conftest import Asking
from .converse import ConverseServer, answer, call, end, event, exception, frame, text


def threads() -> int:
    return sum(thread.name == "bedrock-claude" for thread in threading.enumerate())


async def test_a_stream_comes_in_pieces_and_adds_up_to_the_answer(ask: Asking, service: ConverseServer) -> None:
    service.streams(*answer("Be", "", "cause", " – so."))
    service.completes("Because.")

    streamed, whole = await ask(stream=True), await ask()

    assert (streamed.text, streamed.usage.total, streamed.finish_reason) == ("Because – so.", 17, "stop")
    assert (ask.pieces, whole.text) == (["Be", "cause", " – so."], "Because.")
    assert [way for _, way, _ in service.received] == ["converse-stream", "converse"]


async def test_the_setting_alone_does_not_make_a_stream(ask: Asking, service: ConverseServer) -> None:
    service.completes("Because.")

    assert (await ask(target={"stream": True})).text == "Because."


async def test_a_piece_comes_when_the_model_wrote_it(ask: Asking, service: ConverseServer) -> None:
    service.streams(text("Be"), service.released, text("cause"), *end())

    asking = asyncio.create_task(ask(stream=True))
    await eventually(lambda: ask.pieces == ["Be"])
    assert not asking.done()
    service.released.set()

    assert (await asking).text == "Because"


async def test_who_takes_the_pieces_slowly_slows_the_reading_down(
    ask: Asking, service: ConverseServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    take = stream_module.Gathering.take

    def taking(gathering: stream_module.Gathering, each: dict[str, Any]) -> str:
        read.append(found := take(gathering, each))
        return found

    monkeypatch.setattr(stream_module.Gathering, "take", taking)
    service.streams(*answer(*(f"{number} " for number in range(300))))
    gate, heard = Gate(), list[str]()

    async def slowly(piece: str) -> None:
        await gate()
        heard.append(piece)

    asking = asyncio.create_task(ask(piece=slowly))
    ahead = call_module.AHEAD + 3  # the one at the gate, the one that waits for room, and messageStart
    await eventually(lambda: len(read) == ahead)
    await still(lambda: len(read) == ahead, 0.1)
    gate.open()

    assert (await asking).text == "".join(heard) == "".join(f"{number} " for number in range(300))


async def test_a_thread_that_waits_for_room_ends_with_who_takes_the_pieces(
    ask: Asking, service: ConverseServer
) -> None:
    service.streams(*answer(*["x"] * 300))
    gate = Gate()

    async def slowly(piece: str) -> None:
        await gate()

    asking = asyncio.create_task(ask(piece=slowly))
    await eventually(lambda: gate.waiting)
    await still(lambda: threads() == 1, 0.2)
    asking.cancel()

    await eventually(lambda: threads() == 0)


async def test_the_event_loop_runs_on_while_a_thread_reads(ask: Asking, service: ConverseServer) -> None:
    service.streams(text("Be"), service.released, *end())
    turns = 0

    asking = asyncio.create_task(ask(stream=True))
    await eventually(lambda: ask.pieces)
    while turns < 100:
        await asyncio.sleep(0)
        turns += 1
    service.released.set()

    assert (await asking).text == "Be"


async def test_what_breaks_in_who_takes_the_pieces_is_no_failure_of_the_target(
    ask: Asking, service: ConverseServer
) -> None:
    async def breaks(piece: str) -> None:
        raise TimeoutError("the bus")

    service.drips(text("x"))

    with pytest.raises(TimeoutError, match="the bus"):
        await ask(piece=breaks)
    await eventually(service.left.is_set)


@pytest.mark.parametrize(
    ("kind", "message", "code"),
    [
        ("throttlingException", "Too many tokens, please wait", "throttled"),
        ("serviceUnavailableException", "busy", "overloaded"),
        ("modelStreamErrorException", "it broke", "overloaded"),
        ("internalServerException", "oops", "overloaded"),
        ("validationException", "prompt is too long: 210000 tokens", "context_too_long"),
        ("validationException", "malformed input", "bad_request"),
    ],
)
@pytest.mark.parametrize("before", [0, 1, 3])
async def test_an_exception_in_a_stream_is_known_by_its_name(
    ask: Asking, service: ConverseServer, kind: str, message: str, code: str, before: int
) -> None:
    service.streams(*answer("Be", "cause")[:before], exception(kind, message))

    failure = await ask.fails(stream=True)

    assert (failure.code, len(service.received)) == (code, 1)
    assert message in failure.message
    # What was heard is told, and what it took is estimated; before the first piece nothing is.
    heard = "Because" if before == 3 else ""
    assert ("".join(ask.pieces), failure.text, failure.usage.estimated) == (heard, heard, bool(heard))


async def test_an_exception_without_a_known_name_may_pass(ask: Asking, service: ConverseServer) -> None:
    service.streams(exception("somethingNewException", "what?"))
    service.streams(frame({":message-type": "error", ":error-code": "throttlingException", ":error-message": "w"}, b""))

    failures = [await ask.fails(stream=True) for _ in range(2)]

    assert [(failure.code, failure.retryable) for failure in failures] == [("overloaded", True), ("throttled", True)]


_DELTA = {":message-type": "event", ":event-type": "contentBlockDelta"}
_WHOLE = answer("Be", "cause")


@pytest.mark.parametrize(
    ("frames", "ends"),
    [
        (_WHOLE[:3], True),  # it ends too early
        (_WHOLE[:3], False),  # the connection breaks off
        ([_WHOLE[0], _WHOLE[1][:20]], False),  # within a frame
        ([_WHOLE[0][:-4] + b"\0\0\0\0", *_WHOLE[1:]], True),  # a wrong checksum
        ([b"\xff" * 12, *_WHOLE], True),  # a frame of four gigabytes
        ([b"<html>hello, this is another service</html>"], True),
        ([frame(_DELTA, b'{"contentBlockIndex": 0, "delta": {"te'), *_WHOLE[2:]], True),  # no JSON
        ([frame(_DELTA, b"[]"), *_WHOLE[2:]], True),
        ([frame(_DELTA, b"\xff"), *_WHOLE[2:]], True),
        ([frame(_DELTA, b"[" * 100_000), *_WHOLE[2:]], True),
        ([event("contentBlockDelta", contentBlockIndex=0, delta={"text": 5}), *_WHOLE[2:]], True),
        ([event("contentBlockDelta", contentBlockIndex=0, delta={"toolUse": {"input": "{"}}), *_WHOLE[2:]], True),
        ([event("contentBlockStart", contentBlockIndex=0, start={"toolUse": {"name": "find"}}), *_WHOLE[2:]], True),
        ([*_WHOLE[:3], event("messageStop", stopReason=None)], True),
    ],
)
async def test_a_stream_that_is_broken_is_no_answer(
    ask: Asking, service: ConverseServer, frames: list[bytes], ends: bool
) -> None:
    service.streams(*frames, ends=ends)

    failure = await ask.fails(stream=True)

    assert (failure.code, failure.retryable) == ("transport", True)
    assert failure.text == "".join(ask.pieces)


@pytest.mark.parametrize("rest", ["", "cut", "spoilt", "silence"])
async def test_an_answer_is_whole_without_what_it_took(ask: Asking, service: ConverseServer, rest: str) -> None:
    afterwards: dict[str, list[Any]] = {"spoilt": [b"\xff" * 20], "silence": [service.released]}
    service.streams(*answer("Because")[:-1], *afterwards.get(rest, []), ends=rest != "cut")

    done = await ask(stream=True, target={"silence": 1})

    assert (done.text, done.usage.estimated) == ("Because", True)


async def test_what_is_new_in_a_stream_is_passed_over(ask: Asking, service: ConverseServer) -> None:
    service.streams(
        event("somethingNew", what=5),
        event("contentBlockStart", contentBlockIndex=0, start={"somethingNew": {}}),
        event("contentBlockDelta", contentBlockIndex=0, delta={"somethingNew": {}}),
        event("contentBlockDelta", contentBlockIndex=0, delta={"reasoningContent": {"text": "Let me think."}}),
        *answer("Because"),
    )

    assert (await ask(stream=True)).text == "Because"


async def test_silence_ends_at_the_timeout_and_the_thread_with_it(ask: Asking, service: ConverseServer) -> None:
    service.streams(text("Be"), service.released, *answer("late")[1:])

    failure = await ask.fails(stream=True, timeout=1)

    assert (failure.code, failure.message) == ("transport", "The target claude did not answer within 1 s")
    assert (failure.text, failure.usage.estimated) == ("Be", True)
    await eventually(lambda: threads() == 0)


@pytest.mark.parametrize("begins", [[text("Be")], call(0, "1", "find", "{")])
async def test_silence_in_the_middle_ends_sooner(ask: Asking, service: ConverseServer, begins: list[bytes]) -> None:
    service.streams(*begins, service.released)

    failure = await ask.fails(stream=True, timeout=60, target={"silence": 0.3})

    assert (failure.code, failure.retryable) == ("transport", True)
    assert failure.message == "The target claude fell silent for 0.3 s in the middle of its answer"


async def test_who_thinks_is_not_silent(ask: Asking, service: ConverseServer) -> None:
    thinks = event("contentBlockDelta", contentBlockIndex=0, delta={"reasoningContent": {"text": "Hm."}})
    service.drips(thinks, 0.05, text("Be"))

    asking = asyncio.create_task(ask(stream=True, timeout=1.5, target={"silence": 1}))
    with pytest.raises(Failure, match=r"did not answer within 1\.5 s"):
        await asking


async def test_the_time_of_who_takes_the_pieces_does_not_count(ask: Asking, service: ConverseServer) -> None:
    service.streams(*answer("Be", "cause"))
    gate = Gate()

    async def slowly(piece: str) -> None:
        await gate()

    asking = asyncio.create_task(ask(piece=slowly, timeout=1, target={"silence": 0.7}))
    await eventually(lambda: gate.waiting)
    await still(lambda: not asking.done(), 1.2)
    gate.open()

    assert (await asking).text == "Because"


async def test_who_gives_up_is_not_waited_for_and_the_connection_is_given_back(
    ask: Asking, service: ConverseServer
) -> None:
    service.streams(text("Be"), service.released, *answer("late")[1:])

    asking = asyncio.create_task(ask(stream=True, timeout=100))
    await eventually(lambda: ask.pieces)
    asking.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asking
    await eventually(lambda: threads() == 0)  # though the service is silent, and the timeout far


async def test_the_thread_of_a_stream_that_nobody_waits_for_hangs_up(ask: Asking, service: ConverseServer) -> None:
    service.drips(text("x"))

    failure = await ask.fails(stream=True, timeout=0.3)

    assert failure.code == "transport"
    await eventually(service.left.is_set)
    await eventually(lambda: threads() == 0)


async def test_an_endless_answer_is_left(ask: Asking, service: ConverseServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "LARGEST", 100_000)
    service.drips(text("x" * 1000), 0.0001)

    failure = await ask.fails(stream=True, timeout=30)

    assert (failure.code, failure.retryable, len("".join(ask.pieces))) == ("truncated", False, 100_000)
    assert failure.usage.estimated and not failure.text
    await eventually(service.left.is_set)


async def test_endless_events_end_at_the_timeout(ask: Asking, service: ConverseServer) -> None:
    service.drips(event("contentBlockStop", contentBlockIndex=0), 0.0001)

    failure = await ask.fails(stream=True, timeout=0.5)

    assert (failure.code, ask.pieces) == ("transport", [])
    await eventually(service.left.is_set)


async def test_endless_tools_are_an_endless_answer(
    ask: Asking, service: ConverseServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "LARGEST", 1000)
    service.streams(*call(0, "1", "find", *["x" * 100] * 10), *end())

    assert (await ask.fails(stream=True)).code == "truncated"


async def test_a_connection_is_used_again_after_a_stream(ask: Asking, service: ConverseServer) -> None:
    service.streams(*answer("one"))
    service.streams(*answer("two"))

    done = [await ask(stream=True) for _ in range(2)]

    assert [each.text for each in done] == ["one", "two"]
    assert len(set(service.ports)) == 1


async def test_streams_at_once_stay_apart(ask: Asking, service: ConverseServer) -> None:
    parts = [[f"{name}{number} " for number in range(50)] for name in "abcdefgh"]
    for each in parts:
        service.streams(*answer(*each))
    heard: list[list[str]] = [[] for _ in parts]

    def into(pieces: list[str]) -> Any:
        async def take(piece: str) -> None:
            pieces.append(piece)

        return take

    done = await asyncio.gather(*(ask(piece=into(pieces)) for pieces in heard))

    assert sorted(heard) == parts
    assert ["".join(pieces) for pieces in heard] == [each.text for each in done]


async def test_lone_surrogates_do_not_reach_who_takes_the_pieces(ask: Asking, service: ConverseServer) -> None:
    service.streams(*answer("so\ud83d", "!"))

    done = await ask(stream=True)

    assert (done.text, ask.pieces) == ("so?!", ["so?", "!"])


async def test_a_failure_of_a_schema_is_one_of_a_stream_too(ask: Asking, service: ConverseServer) -> None:
    service.streams(*answer('{"why"', ": 1}"))

    failure: Failure = await ask.fails(
        stream=True, response_schema={"type": "object", "properties": {"why": {"type": "string"}}}
    )

    assert (failure.code, failure.text, failure.usage.total) == ("invalid_answer", '{"why": 1}', 17)
