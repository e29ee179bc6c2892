"""Server-sent events."""

from __future__ import annotations

from collections.abc import Iterator

from .wire import LARGEST, Malformed


class Events:
    """Server-sent events out of the bytes of a stream (HTML Living Standard, section 9.2.6)."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._data: list[bytes] = []
        self._size = 0
        self._after_return = False

    def feed(self, part: bytes) -> Iterator[bytes]:
        """The data of each event that these bytes complete.

        Raises:
            Malformed: an event is larger than any answer.
        """
        if self._after_return and part.startswith(b"\n"):  # the other half of a line's end
            part = part[1:]
        self._after_return = part.endswith(b"\r")
        if b"\n" not in part and b"\r" not in part:
            self._rest += part
            self._bound()
            return
        lines = (bytes(self._rest) + part).splitlines(keepends=True)
        self._rest = bytearray(lines.pop()) if not lines[-1].endswith((b"\n", b"\r")) else bytearray()
        for line in lines:
            yield from self._line(line.rstrip(b"\r\n"))
        self._bound()

    def _line(self, line: bytes) -> Iterator[bytes]:
        if not line:
            if self._data:
                yield b"\n".join(self._data)
            self._data, self._size = [], 0
        elif line.startswith(b"data:"):
            self._data.append(line[5:].removeprefix(b" "))
            self._size += len(line)
            self._bound()

    def _bound(self) -> None:
        if self._size + len(self._rest) > LARGEST:
            raise Malformed(f"an event of its stream is larger than {LARGEST} bytes")
