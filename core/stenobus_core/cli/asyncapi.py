"""``stenobus asyncapi``."""

from __future__ import annotations

from importlib.metadata import version

import click

from stenobus_contracts import Operation, registry
from stenobus_contracts import asyncapi as describe

from ..discovery import discover
from .running import print_json, settings


@click.command()
def asyncapi() -> None:
    """Print the AsyncAPI 3 document of all contracts and installed handlers, as JSON."""
    handlers = [handler for plugin in discover(settings()).plugins.values() for handler in plugin.handlers]
    operations = [Operation(handler.name, handler.contract, handler.outputs, handler.summary) for handler in handlers]
    print_json(describe(registry, operations, version=version("stenobus-core")))
