"""The events of converse_stream, and what they add up to."""

from __future__ import annotations

from typing import Any, Final

from ...failures import Failure
from ...settings import Target
from .call import Answer
from .failures import failed, member, strange

#: Characters of an answer, its text and what it asks of tools: no model writes as much.
LARGEST: Final = 4 << 20
#: Times that an answer asks for a tool, at most.
MOST_CALLS: Final = 128


class Gathering:
    """An answer as far as it has come."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._texts: list[str] = []
        self._tools: dict[int, dict[str, Any]] = {}
        self._stop: str | None = None
        self._usage: Any = None
        self._size = 0
        #: The model has begun to answer, be it to think.
        self.begun = False

    @property
    def whole(self) -> bool:
        """The answer is complete; nothing follows it but what it took."""
        return self._stop is not None

    @property
    def text(self) -> str:
        """Its text so far."""
        return "".join(self._texts)

    def take(self, event: dict[str, Any]) -> str:
        """The next event; returns the text that it adds.

        Raises:
            Failure: transport, the event is not Converse's; truncated, the answer is too large.
        """
        for kind, body in event.items():
            if not isinstance(body, dict):
                raise strange(self._target, f"{kind} without a body")
            if kind == "contentBlockStart":
                self._start(body)
            elif kind == "contentBlockDelta":
                self.begun = True
                return self._delta(body)
            elif kind == "messageStop":
                self._stop = member(self._target, body, "stopReason", str)
            elif kind == "metadata":
                self._usage = body.get("usage")
        return ""

    def answer(self) -> Answer:
        """The whole answer, as converse would have given it.

        Raises:
            Failure: transport, it is not whole.
        """
        if self._stop is None:
            raise failed(self._target, "transport", "ended its stream before the answer was complete")
        tools = [{"toolUse": tool | {"input": "".join(tool["input"])}} for _, tool in sorted(self._tools.items())]
        content = [{"text": self.text}, *tools]
        return {"output": {"message": {"content": content}}, "stopReason": self._stop, "usage": self._usage}

    def _start(self, body: dict[str, Any]) -> None:
        start = body.get("start") or {}
        if "toolUse" not in start:
            return  # a text needs none
        if len(self._tools) >= MOST_CALLS:
            raise strange(self._target, f"more than {MOST_CALLS} calls of tools")
        tool = member(self._target, start, "toolUse", dict)
        name, call = member(self._target, tool, "name", str), member(self._target, tool, "toolUseId", str)
        self._grow(len(name) + len(call))
        self._tools[member(self._target, body, "contentBlockIndex", int)] = {
            "toolUseId": call,
            "name": name,
            "input": [],
        }

    def _delta(self, body: dict[str, Any]) -> str:
        delta = member(self._target, body, "delta", dict)
        if "text" in delta:
            # A lone surrogate, which JSON can spell, would fail in everything that is written as UTF-8.
            text = member(self._target, delta, "text", str).encode(errors="replace").decode()
            self._grow(len(text))
            self._texts.append(text)
            return text
        if "toolUse" in delta:
            tool = self._tools.get(member(self._target, body, "contentBlockIndex", int))
            if tool is None:
                raise strange(self._target, "a part of a toolUse that never began")
            part = member(self._target, member(self._target, delta, "toolUse", dict), "input", str)
            self._grow(len(part))
            tool["input"].append(part)
        return ""  # what a model thinks, or quotes, is not its answer

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > LARGEST:
            raise endless(self._target)


def endless(target: Target) -> Failure:
    """An answer that was left because of its size."""
    return failed(target, "truncated", f"was left: its answer is larger than {LARGEST} characters")
