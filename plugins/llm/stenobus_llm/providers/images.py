"""What an image is, by its bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from stenobus_contracts import BlobRef, Message

from ..failures import Failure

Format = Literal["png", "jpeg", "gif", "webp"]

_ALIASES: Final = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "image/x-png": "image/png"}
#: What says nothing about the content.
_ANYTHING: Final = frozenset({"", "application/octet-stream", "binary/octet-stream"})


def shown(message: Message, images: Mapping[str, bytes]) -> list[tuple[Format, bytes]]:
    """The images of a message, in the formats that models take.

    Args:
        message: a turn of the prompt.
        images: the bytes behind the URIs.

    Raises:
        Failure: bad_request, when the message may show none, the bytes are no such image, or differ from what their
            reference promises.
    """
    if message.images and message.role != "user":
        raise Failure("bad_request", f"A message of the {message.role} cannot show images; only the user's can.")
    return [(_format(image, images[image.uri]), images[image.uri]) for image in message.images]


def _format(image: BlobRef, data: bytes) -> Format:
    found = _by_bytes(data)
    if found is None:
        raise Failure("bad_request", f"The image {image.uri} is not PNG, JPEG, GIF or WebP.")
    promised = image.content_type.partition(";")[0].strip().lower()
    if promised not in _ANYTHING and _ALIASES.get(promised, promised) != f"image/{found}":
        raise Failure("bad_request", f"The image {image.uri} is said to be {promised}, and its bytes are {found}.")
    return found


def _by_bytes(data: bytes) -> Format | None:
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "webp"
    return None
