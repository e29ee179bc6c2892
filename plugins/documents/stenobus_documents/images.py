"""Images of a document: which may be loaded, and what they have to be."""

from __future__ import annotations

import posixpath
import struct
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias
from urllib.parse import unquote, urlsplit

from docx.image.exceptions import InvalidImageStreamError, UnexpectedEndOfFileError, UnrecognizedImageError
from docx.image.image import Image as Header
from markdown_it.tree import SyntaxTreeNode

from stenobus_contracts import Media
from stenobus_core import PermanentError

#: Bytes of one image, and of all images of a document together.
LARGEST: Final = 10 * 1024 * 1024
_ALL: Final = 50 * 1024 * 1024
#: Images of a document.
_COUNT: Final = 500
#: Pixels of an image: a small file may unpack to more than any program survives.
_PIXELS: Final = 50_000_000
_TYPES: Final = frozenset({"image/png", "image/jpeg", "image/gif"})


@dataclass(frozen=True, slots=True)
class Image:
    """An image that may stand in a document. Sizes in pixels."""

    data: bytes
    content_type: str
    width: int
    height: int


#: By the address that the Markdown names: the image, or why it is not there.
Pictures: TypeAlias = Mapping[str, Image | str]
#: Reads an address up to a number of bytes; raises PermanentError.
Read: TypeAlias = Callable[[Media, int], Awaitable[bytes]]


async def load(tree: SyntaxTreeNode, read: Read, allowed: Sequence[str]) -> Pictures:
    """Load the images of a document.

    Args:
        tree: the document.
        read: reads an address.
        allowed: beginnings of addresses that may be read, such as ``nats://stenobus/``.
    """
    found: dict[str, Image | str] = {}
    room = _ALL
    for address in dict.fromkeys(str(node.attrs.get("src", "")) for node in tree.walk() if node.type == "image"):
        if not may_read(address, allowed):
            found[address] = "its address is on no list of addresses that may be read"
        elif len(found) >= _COUNT:
            found[address] = f"the document has more than {_COUNT} images"
        else:
            try:
                image = checked(await read(Media(uri=address), min(LARGEST, room)))
            except (PermanentError, ValueError) as error:
                found[address] = f"it could not be used ({str(error).rstrip('.')})"
            else:
                found[address], room = image, room - len(image.data)
    return found


def may_read(address: str, allowed: Sequence[str]) -> bool:
    """True when the address begins as one of ``allowed``, also after ``..`` and ``%2e`` are worked out."""
    parts = urlsplit(address)
    path = unquote(parts.path)
    if "\\" in path or parts.query or parts.fragment or posixpath.normpath(path) != path:
        return False
    return any(address.startswith(start) for start in allowed if start.endswith("/") and "://" in start)


def checked(data: bytes) -> Image:
    """The bytes as an image.

    Raises:
        ValueError: they are no PNG, JPEG or GIF, or it is too large when unpacked.
    """
    try:
        header = Header.from_blob(data)
        kind, width, height = header.content_type, header.px_width, header.px_height
        drawable = min(header.width, header.height) > 0
    except (UnrecognizedImageError, InvalidImageStreamError, UnexpectedEndOfFileError, struct.error, ArithmeticError,
            LookupError, ValueError, TypeError, AttributeError) as error:  # fmt: skip
        raise ValueError("it is no PNG, JPEG or GIF image") from error
    if kind not in _TYPES:
        raise ValueError("it is no PNG, JPEG or GIF image")
    if not (drawable and 0 < width * height <= _PIXELS):
        raise ValueError(f"it has {width} × {height} pixels")
    return Image(data, kind, width, height)
