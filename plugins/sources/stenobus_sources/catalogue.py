"""The configured sources by name, each with what all steps need to know of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from stenobus_bus.errors import first_fault

from .errors import Misconfigured
from .kinds import Page, Text, shape
from .places import Places
from .records import Record
from .settings import Files, PostType, Settings, WordPress
from .state import PIPELINE


@dataclass(frozen=True, slots=True)
class Posts:
    """One type of posts of a site."""

    name: str
    places: Places
    site: WordPress
    type: PostType

    @property
    def collection(self) -> str:
        """Where its documents go."""
        return self.type.collection

    def digest(self, record: Record) -> str:
        """Of the record and of whatever its text follows from."""
        return record.digest(PIPELINE, self.type.kind, json.dumps(dict(self.type.fields), sort_keys=True))

    def shape(self, record: Record) -> Page:
        """The record as its kind. Raises ValidationError."""
        return shape(self.type.kind, record.data, self.type.fields)


@dataclass(frozen=True, slots=True)
class Tree:
    """A folder or the objects under a prefix."""

    name: str
    places: Places
    files: Files

    @property
    def collection(self) -> str:
        """Where its documents go."""
        return self.files.collection

    def digest(self, record: Record) -> str:
        """Of the record and of whatever its text follows from."""
        return record.digest(PIPELINE)

    def shape(self, record: Record) -> Page:
        """The file as a page. Raises ValidationError."""
        return Text.model_validate(record.data)


Origin = Posts | Tree


def catalogue(settings: Settings) -> dict[str, Origin]:
    """Every configured source by its name."""
    posts = [
        (f"{site.name}.{kind.type}", kind.collection, site, kind) for site in settings.wordpress for kind in site.types
    ]
    trees = [(files.name, files.collection, files) for files in settings.files]
    fed = [one[1] for one in posts] + [one[1] for one in trees]

    def places(name: str, collection: str) -> Places:
        shared = fed.count(collection) > 1
        return Places(settings.output_uri, settings.kb, name, collection, settings.timezone, shared)

    found: dict[str, Origin] = {}
    for name, collection, site, kind in posts:
        found[name] = Posts(name, places(name, collection), site, kind)
    for name, collection, files in trees:
        found[name] = Tree(name, places(name, collection), files)
    return found


def pick(known: Mapping[str, Origin], name: str) -> Origin:
    """A source by its name. Raises Misconfigured."""
    if name not in known:
        there = f"configured are {', '.join(sorted(known))}" if known else "none is configured"
        raise Misconfigured(f"There is no source {name}: {there}; see [[sources.wordpress]] and [[sources.files]].")
    return known[name]


def reason(error: ValidationError) -> str:
    """Why a record breaks its schema, in a few words."""
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{first_fault(error)}{more}"
