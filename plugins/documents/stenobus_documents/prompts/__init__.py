"""Prompts are files with a version: ``extract.md`` holds a front matter, a system part and a user part."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from stenobus_contracts import Message

_FILE = re.compile(
    r"---\nversion: (?P<version>\d+)\n---\n+## system\n(?P<system>.*?)\n## user\n(?P<user>.*)", re.DOTALL
)
_FIELD = re.compile(r"\{\{(\w+)\}\}")


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt. ``id`` names it for people; ``key`` changes with every letter of it, for the cache."""

    name: str
    version: int
    system: str
    user: str

    @property
    def id(self) -> str:
        """Name and version, such as extract@1."""
        return f"{self.name}@{self.version}"

    @property
    def key(self) -> str:
        """The id with a digest of the text, so that an edit without a new version is never answered from the cache."""
        return f"{self.id}:{hashlib.sha256(f'{self.system}{self.user}'.encode()).hexdigest()[:12]}"

    def messages(self, **fields: str) -> tuple[Message, ...]:
        """The chat messages. Every field is foreign text and goes in as delimited data.

        Raises:
            KeyError: the prompt names a field that is not given.
        """
        return (
            Message(role="system", content=self.system),
            Message(role="user", content=_FIELD.sub(lambda match: as_data(match[1], fields[match[1]]), self.user)),
        )


@cache
def prompt(name: str) -> Prompt:
    """Load a prompt of this package.

    Raises:
        ValueError: the file has no version, no system part or no user part.
    """
    match = _FILE.fullmatch(files(__name__).joinpath(f"{name}.md").read_text(encoding="utf-8"))
    if not match:
        raise ValueError(f"prompts/{name}.md needs a version, a '## system' part and a '## user' part")
    return Prompt(name, int(match["version"]), match["system"].strip(), match["user"].strip())


def as_data(name: str, text: str) -> str:
    """The text between marks that it cannot contain: they carry its own digest."""
    mark = f"{name}-{hashlib.sha256(text.encode(errors='replace')).hexdigest()[:16]}"
    return f"<{mark}>\n{text}\n</{mark}>"
