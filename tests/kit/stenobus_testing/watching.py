"""Handlers under observation: what is done to them, and what they do."""

from __future__ import annotations

import copy
import inspect
import sys
import threading
import time
import traceback
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, get_type_hints

from stenobus_core import Context, Handler, Plugin

#: What happens between a handler's first step and the rest of it, told the number of the call, from 1.
Meanwhile = Callable[[int], Awaitable[None]]

_BEATS: Final = 0.01


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a handler."""

    #: From the context; None when the handler takes none.
    event_id: str | None
    attempt: int | None
    replay: str | None


def only(plugin: Plugin, handler: str, **changes: Any) -> Plugin:
    """The plugin with one of its handlers alone, some of whose declaration is changed."""
    alone = copy.copy(plugin)
    alone.handlers = [replace(found, **changes) for found in plugin.handlers if found.name == handler]
    return alone


def watched(handler: Handler, calls: list[Call], meanwhile: Meanwhile | None = None) -> dict[str, Any]:
    """What to change in a handler's declaration so that its calls are counted, and held up at its first ``await``."""
    function = handler.function

    async def call(*args: Any, **kwargs: Any) -> Any:
        ctx = next((given for given in (*args, *kwargs.values()) if isinstance(given, Context)), None)
        calls.append(Call(ctx.event_id, ctx.attempt, ctx.replay) if ctx else Call(None, None, None))
        running: Any = function(*args, **kwargs)
        return await (_held_up(running, meanwhile(len(calls))) if meanwhile else running)

    # FastStream reads the signature, and in another module its names would mean nothing.
    marked: Any = call
    marked.__name__, marked.__doc__, marked.__module__ = function.__name__, function.__doc__, function.__module__
    marked.__signature__ = inspect.signature(function, eval_str=True)
    marked.__annotations__ = get_type_hints(function, include_extras=True)
    return {"function": call}


@types.coroutine
def _held_up(running: Coroutine[Any, Any, Any], meanwhile: Awaitable[None]) -> Generator[Any, Any, Any]:
    """Run a coroutine to its first ``await``, wait for something else there, then let it go on.

    An exception that ends the waiting, such as the cancellation at a timeout, is raised at that ``await``: right in
    the middle of the handler.
    """
    try:
        waiting = running.send(None)
    except StopIteration as done:  # it awaits nothing: then at its end
        yield from meanwhile.__await__()
        return done.value
    try:
        try:
            yield from meanwhile.__await__()
        except BaseException as error:
            # Until Python 3.12, asyncio.wait_for takes no cancellation once its result is there (gh-86296).
            while sys.version_info < (3, 12) and waiting is not None and waiting.done():
                try:
                    waiting = running.send(None)
                except StopIteration:
                    raise error from None  # it came at the very end
            if waiting is not None:
                waiting.cancel()
            waiting = running.throw(error)
        while True:
            try:
                sent = yield waiting
            except BaseException as error:
                waiting = running.throw(error)
            else:
                waiting = running.send(sent)
    except StopIteration as done:
        return done.value


@dataclass(slots=True)
class Stall:
    """A time in which the event loop did nothing else."""

    seconds: float = 0.0
    #: Where, innermost last.
    stack: tuple[traceback.FrameSummary, ...] = ()

    def within(self, code: types.CodeType) -> str | None:
        """The innermost line that a function's file has in it; None when the function has no part in it."""
        if not any((frame.filename, frame.name) == (code.co_filename, code.co_name) for frame in self.stack):
            return None
        inner = [frame for frame in self.stack if frame.filename == code.co_filename][-1]
        return f"{Path(inner.filename).name}:{inner.lineno} ({inner.line})"


def _clock(native_id: int) -> float:
    """Seconds that go on while a thread works or waits for something, and stand still while it waits for a core."""
    now = time.monotonic()
    try:
        waited = int(Path(f"/proc/self/task/{native_id}/schedstat").read_text().split()[1])
    except (OSError, IndexError):  # another system than Linux
        waited = 0
    return now - waited / 1e9


@contextmanager
def stall_watch(loop: Any, seconds: float) -> Generator[list[Stall], None, None]:
    """Watch an event loop from another thread, which sees where it stands while it does nothing else.

    Args:
        seconds: shorter stalls are none. Where Linux tells it, the time in which the machine had no core for the loop
            does not count.

    Yields:
        The stalls so far.
    """
    stalls: list[Stall] = []
    over, thread, native_id = threading.Event(), threading.get_ident(), threading.get_native_id()
    beat = _clock(native_id)

    def tick() -> None:
        nonlocal beat
        beat = _clock(native_id)
        if not over.is_set():
            loop.call_later(_BEATS, tick)

    def watch() -> None:
        seen = 0.0
        while not over.wait(_BEATS):
            last = beat
            if (behind := _clock(native_id) - last) < seconds:
                continue
            if seen != last:
                seen = last
                frame = sys._current_frames()[thread]
                stalls.append(Stall(stack=tuple(traceback.extract_stack(frame))))
            stalls[-1].seconds = behind

    loop.call_soon(tick)
    watcher = threading.Thread(target=watch, daemon=True, name="stall-watch")
    watcher.start()
    try:
        yield stalls
    finally:
        over.set()
        watcher.join()
