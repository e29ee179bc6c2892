"""Prompts are files with a version: ``extract.md`` holds a front matter, a system part and a user part.

This is the one place where foreign text (a transcript, a title, what a model answered before) becomes part of a prompt.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

from stenobus_contracts import DocumentLanguage, Message
from stenobus_core.foreign import DATA_RULE, delimited

_FILE = re.compile(
    r"---\nversion: (?P<version>\d+)\n---\n+## system\n(?P<system>.*?)\n## user\n(?P<user>.*)", re.DOTALL
)
_FIELD = re.compile(r"\{\{(\w+)\}\}")

#: How a prompt calls a language.
_NAMES: Final[dict[DocumentLanguage, str]] = {"en": "English", "pt": "Portuguese", "es": "Spanish"}
_RECORDINGS_OWN: Final = "the language of the recording"


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
        text = f"{self.system}\n{DATA_RULE}\n{self.user}"
        return f"{self.id}:{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def messages(self, language: DocumentLanguage | None, **fields: str) -> tuple[Message, ...]:
        """The chat messages. Equal arguments give equal messages.

        Args:
            language: of the answer; that of the recording when None. The only words of others that stand bare.
            fields: foreign texts by the names they have in the prompt; each goes in as delimited data.

        Raises:
            KeyError: the prompt names a field that is not given.
        """
        shown = delimited(fields) | {"language": _NAMES[language] if language else _RECORDINGS_OWN}

        def fill(match: re.Match[str]) -> str:
            return shown[match[1]]

        return (
            Message(role="system", content=f"{_FIELD.sub(fill, self.system)}\n\n{DATA_RULE}"),
            Message(role="user", content=_FIELD.sub(fill, self.user)),
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
