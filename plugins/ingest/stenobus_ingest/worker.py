"""The process that reads one document: limits first, then the file, then one JSON line on standard output.

It is started anew for every document and holds no secret, so that whatever a hostile file does ends with it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from .detect import detect
from .errors import Unreadable
from .extracted import Bounds
from .formats import formats

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
#: Bytes that the process may write to a file: its answer goes through a pipe.
_FILE_BYTES: Final = 256 * 1024 * 1024


def main() -> None:
    """Read one order from standard input, and answer it."""
    # whatever a library prints must not get into the answer
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    order: dict[str, Any] = json.load(sys.stdin)
    limit(order["memory"], order["seconds"])
    signal.alarm(order["patience"])  # the parent ends it sooner, unless it was killed itself
    bounds = Bounds(**order["bounds"])
    try:
        answer = read(Path(order["path"]), order["name"], order["content_type"], order["formats"], bounds)
    except Unreadable as error:
        answer = {"reason": error.reason, "message": str(error)}
    except MemoryError:
        answer = {"reason": "too_large", "message": "takes more memory than max_memory_bytes allows."}
    except RecursionError:
        answer = {"reason": "too_large", "message": "is nested too deeply."}
    with answers:
        json.dump(answer, answers, ensure_ascii=False)


def read(path: Path, name: str, content_type: str | None, wanted: list[str], bounds: Bounds) -> dict[str, Any]:
    """What a document says, as JSON.

    Raises:
        Unreadable: it cannot be read.
    """
    known = formats()
    found = detect(path, name, content_type, known)
    if wanted and found.name not in wanted:
        return {"format": found.name, "left": True}
    try:
        extracted = found.extract(path, bounds)
    except (Unreadable, MemoryError, RecursionError):
        raise
    except Exception as error:  # parsers of foreign formats raise whatever they like, and it always means the file
        said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise Unreadable(
            "damaged", f"is damaged: the reader of {found.label} gave up ({said}); save it anew."
        ) from error
    if not extracted.markdown.strip():
        raise Unreadable("empty", f"is a {found.label} without any text.")
    if len(extracted.markdown) > bounds.characters:
        raise Unreadable("too_large", f"has more than {bounds.characters} characters; raise max_characters.")
    # a lone surrogate has no UTF-8, and control characters mean nothing in Markdown
    clean = _CONTROL.sub("", extracted.markdown).encode("utf-8", errors="replace").decode("utf-8")
    return {"format": found.name, **asdict(extracted), "markdown": clean}


def limit(memory: int, seconds: int) -> None:
    """Bound what this process may take; where the system knows no such limit, the parent's clock is the only one."""
    try:
        import resource
    except ImportError:
        return
    wanted = {
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_FSIZE: _FILE_BYTES,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 64,
    }
    for what, value in wanted.items():
        hard = resource.getrlimit(what)[1]
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        with suppress(ValueError, OSError):  # macOS refuses RLIMIT_AS
            # one second more until the process is killed outright
            resource.setrlimit(what, (bound, bound + 1 if what == resource.RLIMIT_CPU else bound))


if __name__ == "__main__":
    main()
