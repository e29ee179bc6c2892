"""What a prompt must not tell a stranger: hidden behind placeholders on the way out, back in place in the answer.

::

    hidden = Redaction(kinds).hide(request)     # hidden.request is what leaves
    completion = hidden.restored(completion)    # the same as if nothing had been hidden
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from pydantic import JsonValue

from stenobus_contracts import LlmRequest, Message, Tool
from stenobus_core.sensitive import FINDERS, Kind, Span, places

from . import structured
from .failures import Failure
from .patterns import Patterns
from .providers import Completion, Piece
from .settings import Settings, Target

#: Characters of a secret that is hidden wherever it stands, without its telling name as well.
_TELLING: Final = 8
#: How many of those are looked for.
_LOOKED_FOR: Final = 1000
_FLAGS: Final = re.IGNORECASE | re.ASCII
_NOTHING: Final[Mapping[str, list[Span]]] = {}
_TAG: Final = re.compile(r"-X(\d{1,9})(?=-)", _FLAGS)


class Redaction:
    """What is hidden.

    Args:
        kinds: which kinds.
        patterns: further ones, by name.
    """

    def __init__(self, kinds: Iterable[Kind], patterns: Mapping[str, str] | None = None) -> None:
        self._finders = [FINDERS[kind] for kind in sorted(kinds)]
        self._patterns = Patterns(patterns or {})

    def hide(self, request: LlmRequest) -> Hidden:
        """The request as it may leave.

        Raises:
            Failure: unsupported, when the patterns of the settings take too long: nothing may leave unseen.
        """
        texts: dict[str, None] = {}

        def look(text: str) -> str:
            texts[text] = None
            return text

        _changed(request, look)
        found: dict[str, list[Span]] = {
            text: [span for finder in self._finders for span in finder(text)] for text in texts
        }
        self._patterns.find(found)
        secrets = {
            value
            for text, spans in found.items()
            for span in spans
            if span.kind == "secret" and _telling(value := text[span.start : span.end])
        }
        for value in sorted(secrets, key=len, reverse=True)[:_LOOKED_FOR]:
            for text, spans in found.items():
                spans += (Span(at, at + len(value), "secret") for at in places(text, value))
        return Hidden(request, {text: _merged(spans) for text, spans in found.items()})


def hide(request: LlmRequest, target: Target, settings: Settings) -> Hidden:
    """The request as a target may see it. Raises as :meth:`Redaction.hide` does."""
    if not settings.redacts(target):
        return Hidden(request)
    return Redaction(settings.redact_kinds, settings.redact_patterns).hide(request)


class Hidden:
    """One request, and what is hidden of it.

    The same value has the same placeholder everywhere, such as ``EMAIL-X1-3``: capitals and hyphens, which models copy,
    and JSON, Markdown, URLs and regular expressions leave alone. Nothing in the request can be taken for one: ``X1``
    is another number where the request has a ``-X1-`` of its own.
    """

    def __init__(self, request: LlmRequest, found: Mapping[str, list[Span]] = _NOTHING) -> None:
        self._asked, self._found = request, found
        kinds: dict[str, str] = {}
        for text, spans in found.items():
            for span in spans:
                kinds.setdefault(text[span.start : span.end], span.kind)
        used = {int(number) for text in found for number in _TAG.findall(text)} if kinds else set()
        tag = next(number for number in range(1, len(used) + 2) if number not in used)
        self._width = len(str(len(kinds)))
        self._stems = tuple(f"{kind.upper()}-X{tag}-" for kind in dict.fromkeys(kinds.values()))
        self._placeholders = {
            value: f"{kind.upper()}-X{tag}-{number:0{self._width}}"
            for number, (value, kind) in enumerate(kinds.items(), 1)
        }
        self._numbered = {placeholder[-self._width :]: value for value, placeholder in self._placeholders.items()}
        self._written = re.compile(rf"(?:{'|'.join(self._stems)})\d{{{self._width}}}", _FLAGS)
        #: How many different values are hidden, by kind.
        self.counts = dict(Counter(kinds.values()))

    @cached_property
    def request(self) -> LlmRequest:
        """What leaves: the request itself where nothing is hidden."""
        if not self._placeholders:
            return self._asked
        request = _changed(self._asked, self.hide)
        first, *rest = request.messages
        note = (
            f"Words such as {next(iter(self._placeholders.values()))} stand for values that are not shown. "
            "Where you mean such a value, write its word exactly as it is."
        )
        changes: dict[str, object] = {
            "messages": (first.model_copy(update={"content": f"{note}\n\n{first.content}"}), *rest)
        }
        if request.response_schema is not None:
            changes["response_schema"] = self._widened(request.response_schema)
        return request.model_copy(update=changes)

    def hide(self, text: str) -> str:
        """A text of the request without what is hidden."""
        parts: list[str] = []
        at = 0
        for span in self._found[text]:
            parts += text[at : span.start], self._placeholders[text[span.start : span.end]]
            at = span.end
        return "".join((*parts, text[at:]))

    def restore(self, text: str, *, as_json: bool = False) -> str:
        """A text of the answer with everything back in its place.

        Args:
            as_json: it is JSON, and so values stand there as in strings of JSON.
        """
        if not self._placeholders:
            return text

        def value(written: re.Match[str]) -> str:
            found = self._numbered.get(written[0][-self._width :])
            if found is None or not written[0].upper().endswith(placeholder := self._placeholders[found]):
                return written[0]  # a number, or a kind, that the model made up
            head = written[0][: -len(placeholder)]  # what stood before an IP may make a ZIP of it
            return head + (json.dumps(found, ensure_ascii=False)[1:-1] if as_json else found)

        return self._written.sub(value, text)

    def restored(self, completion: Completion) -> Completion:
        """The answer as if nothing had been hidden.

        Raises:
            Failure: invalid_answer, when it breaks the request's schema now.
        """
        if not self._placeholders:
            return completion
        schema = self._asked.response_schema
        text = self.restore(completion.text, as_json=schema is not None)
        calls = tuple(
            call.model_copy(update={"arguments": self.restore(call.arguments, as_json=True)})
            for call in completion.tool_calls
        )
        data = completion.data
        if schema is not None and data is not None:
            try:
                data = structured.parse(text, schema)
            except Failure as failure:
                message, known = self.covered(failure.message), completion
                raise Failure(failure.code, message, usage=known.usage, text=text, model=known.model) from None
        return replace(completion, text=text, data=data, tool_calls=calls)

    def failed(self, failure: Failure) -> None:
        """Put back what the model wrote before it failed. The message stays as it is: it is logged."""
        failure.text = self.restore(failure.text, as_json=self._asked.response_schema is not None)

    def covered(self, text: str) -> str:
        """A sentence of ours without the values, in whichever form it quotes them."""
        for value, placeholder in self._placeholders.items():
            for form in (value, json.dumps(value, ensure_ascii=False)[1:-1], repr(value)[1:-1]):
                text = text.replace(form, placeholder)
        return text

    def pieces(self, piece: Piece) -> Pieces:
        """What takes the pieces of the answer, and hands them on restored."""
        return Pieces(self, piece, as_json=self._asked.response_schema is not None)

    def unfinished(self, text: str) -> int:
        """How many characters at the end may be the beginning of a placeholder."""
        if not self._placeholders:
            return 0
        longest = max(map(len, self._stems)) + self._width - 1
        for length in range(min(longest, len(text)), 0, -1):
            tail = text[-length:].upper()
            for stem in self._stems:
                digits = tail[len(stem) :]
                begun = stem.startswith(tail)
                if begun or (tail.startswith(stem) and digits.isdecimal() and len(digits) < self._width):
                    return length
        return 0

    def _widened(self, schema: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
        """The schema for an answer with placeholders: what a value fits, its placeholder fits.

        The answer is held against the schema itself once the values are back.
        """
        ratios = [len(placeholder) / len(value) for value, placeholder in self._placeholders.items()]
        growth, shrinkage = max(1.0, *ratios), min(1.0, *ratios)
        placeholder = rf"(?:{'|'.join(self._stems)})[0-9]{{{self._width}}}"

        def widen(part: JsonValue) -> JsonValue:
            if isinstance(part, list):
                return [widen(each) for each in part]
            if not isinstance(part, dict):
                return part
            result = {name: widen(each) for name, each in part.items()}
            kind = part.get("type")
            if kind == "string" or (isinstance(kind, list) and "string" in kind):
                if isinstance(result.get("format"), str):
                    del result["format"]
                if isinstance(pattern := result.get("pattern"), str):
                    result["pattern"] = f"(?:{pattern})|{placeholder}"
                if isinstance(most := result.get("maxLength"), int):
                    result["maxLength"] = math.ceil(most * growth)
                if isinstance(least := result.get("minLength"), int):
                    result["minLength"] = int(least * shrinkage)
            return result

        return {name: widen(part) for name, part in schema.items()}


@dataclass(slots=True)
class Pieces:
    """Restores an answer that comes piece by piece: what may be the beginning of a placeholder waits for the rest."""

    hidden: Hidden
    piece: Piece
    as_json: bool = False
    _held: str = ""

    async def take(self, text: str) -> None:
        """The next piece."""
        text = self._held + text
        ready = len(text) - self.hidden.unfinished(text)
        self._held = text[ready:]
        await self._send(text[:ready])

    async def end(self) -> None:
        """Nothing follows."""
        held, self._held = self._held, ""
        await self._send(held)

    async def _send(self, text: str) -> None:
        if text:
            await self.piece(self.hidden.restore(text, as_json=self.as_json))


def _changed(request: LlmRequest, change: Callable[[str], str]) -> LlmRequest:
    """The request with every text changed that leaves with it."""

    def walk(part: JsonValue) -> JsonValue:
        if isinstance(part, str):
            return change(part)
        if isinstance(part, list):
            return [walk(each) for each in part]
        if isinstance(part, dict):
            return {change(name): walk(each) for name, each in part.items()}
        return part

    def arguments(text: str) -> str:
        try:
            return json.dumps(walk(json.loads(text)), ensure_ascii=False)
        except (ValueError, RecursionError):
            return change(text)

    def message(each: Message) -> Message:
        calls = tuple(call.model_copy(update={"arguments": arguments(call.arguments)}) for call in each.tool_calls)
        return each.model_copy(update={"content": change(each.content), "tool_calls": calls})

    def tool(each: Tool) -> Tool:
        return each.model_copy(
            update={"description": change(each.description), "parameters": walk(dict(each.parameters))}
        )

    schema = request.response_schema
    return request.model_copy(
        update={
            "messages": tuple(map(message, request.messages)),
            "tools": tuple(map(tool, request.tools)),
            "response_schema": None if schema is None else walk(dict(schema)),
        }
    )


def _merged(spans: Iterable[Span]) -> list[Span]:
    """The spans in order; those that overlap are one, of the kind of the first."""
    result: list[Span] = []
    for span in sorted(spans, key=lambda each: (each.start, -each.end)):
        if result and span.start < result[-1].end:
            result[-1] = result[-1]._replace(end=max(span.end, result[-1].end))
        else:
            result.append(span)
    return result


def _telling(value: str) -> bool:
    return len(value) >= _TELLING and not value.isalpha()
