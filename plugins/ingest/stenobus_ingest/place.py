"""Where a document goes: its collection, its id there, and who may find it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from pydantic import TypeAdapter, ValidationError

from stenobus_contracts import MediaUploaded
from stenobus_contracts.kb import Collection
from stenobus_core import PermanentError

from .settings import Settings

_LONGEST_ID: Final = 500
_COLLECTION: Final = TypeAdapter[str](Collection)


@dataclass(frozen=True, slots=True)
class Place:
    """A document's place in the knowledge base."""

    collection: str
    id: str
    #: Where people read it.
    uri: str
    principals: tuple[str, ...]

    @classmethod
    def of(cls, event: MediaUploaded, settings: Settings) -> Place:
        """The place that the event's metadata names, or else the settings.

        ``collection``, ``document_id``, ``url`` and ``principals`` are the names in the metadata. Without an id of its
        own a document is known by its address, so that its next version takes its place.

        Raises:
            PermanentError: the metadata names something that cannot be.
        """
        told = event.metadata
        try:
            collection = _COLLECTION.validate_python(told.get("collection") or settings.collection_of(event.media.uri))
        except ValidationError as error:
            raise PermanentError(
                f"The metadata of {event.media.title} names a collection that cannot be: {told.get('collection')!r}."
            ) from error
        principals = told.get("principals")
        # who may see it is no place for a guess
        if principals is not None and not (
            isinstance(principals, list) and all(isinstance(each, str) and each for each in principals)
        ):
            raise PermanentError(f"The metadata of {event.media.title} names principals that are no list of names.")
        return cls(
            collection=collection,
            id=document_id(str(told.get("document_id") or event.media.uri)),
            uri=str(told.get("url") or event.media.uri),
            principals=settings.principals if principals is None else tuple(map(str, principals)),
        )


def document_id(name: str) -> str:
    """A name as an id: itself, or its digest where it is too long."""
    return name if len(name) <= _LONGEST_ID else hashlib.sha256(name.encode()).hexdigest()
