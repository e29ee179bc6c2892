"""An answer as far as it came: in one reply, or in many."""

from __future__ import annotations

from typing import Final, NamedTuple

from stenobus_contracts import TokenUsage, ToolCall

from . import wire
from .wire import Malformed

#: Most characters of an answer's text and tool calls together: beyond what any model writes.
LONGEST: Final = 4 * 1024 * 1024
#: Most tool calls of an answer.
MOST_CALLS: Final = 128


class Endless(Exception):
    """The model writes more than any answer has."""


class _Asked(NamedTuple):
    """A tool call while it comes."""

    id: str
    name: list[str]
    arguments: list[str]


class Answer:
    """Gathers the replies of one request."""

    def __init__(self) -> None:
        self.model: str | None = None
        self.finish: str | None = None
        self.usage: TokenUsage | None = None
        self.refused = False
        #: Something came.
        self.heard = False
        #: The model has begun to answer.
        self.begun = False
        self._texts: list[str] = []
        self._calls: dict[int, _Asked] = {}
        self._size = 0

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._texts)

    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The functions that the model asks for.

        Raises:
            Malformed: one of them has no name.
        """
        found = []
        for index, call in sorted(self._calls.items()):
            if not (name := "".join(call.name)):
                raise Malformed("a tool call has no name")
            # Some servers number them only; the id just has to be another one for each.
            found.append(ToolCall(id=call.id or f"call_{index}", name=name, arguments="".join(call.arguments)))
        return tuple(found)

    @property
    def so_far(self) -> str:
        """All that the model wrote, as far as it is to be counted."""
        return self.text + "".join(part for call in self._calls.values() for part in (*call.name, *call.arguments))

    def add(self, reply: wire.Reply) -> str:
        """Take the next reply, and give back the text that it adds.

        Raises:
            Endless: it is too much by now.
            Malformed: there are too many tool calls.
        """
        self.heard = True
        self.model = reply.model or self.model
        if reply.usage is not None:
            self.usage = wire.usage(reply.usage) or self.usage
        added = ""
        for choice in reply.choices:
            if choice.index != 0:
                continue
            self.finish = choice.finish_reason or self.finish
            if (part := choice.message or choice.delta) is not None:
                added += self._take(part)
        return added

    def _take(self, part: wire.Part) -> str:
        self.refused = self.refused or bool(part.refusal)
        text = part.content or ""
        if text:
            self._texts.append(text)
        for call in part.tool_calls or ():
            self._call(call)
        self._size += len(text)
        self.begun = self.begun or self._size > 0 or bool(self._calls)
        if self._size > LONGEST:
            raise Endless
        return text

    def _call(self, part: wire.Call) -> None:
        """A new call, or more of one: its index says which; without one, a new id begins a new call."""
        latest = max(self._calls, default=-1)
        index = part.index
        if index is None:
            index = latest + 1 if part.id or latest < 0 else latest
        if index not in self._calls:
            if len(self._calls) >= MOST_CALLS:
                raise Malformed(f"it asks for more than {MOST_CALLS} tools")
            self._calls[index] = _Asked(part.id or "", [], [])
        call = self._calls[index]
        for written, into in ((part.function.name, call.name), (part.function.arguments, call.arguments)):
            if written:
                into.append(written)
                self._size += len(written)
