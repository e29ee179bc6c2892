"""The ``stenobus`` command. Sub-commands are imported when they are called, so that ``--help`` answers at once."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

import click

#: Name → (module, one line of help).
COMMANDS = {
    "process": ("process", "Turn a recording or transcript into a document."),
    "up": ("up", "Run plugins until interrupted."),
    "caretaker": ("up", "Run what has to be done beside the plugins."),
    "publish": ("publish", "Publish an event."),
    "plugins": ("plugins", "List plugins, or check whether they can run."),
    "status": ("status", "Show the running services, or one run."),
    "top": ("top", "Watch handlers, streams and runs live."),
    "trace": ("trace", "Show what followed from what in a run."),
    "replay": ("replay", "Hand past events to a handler again."),
    "pause": ("pause", "Hold a handler's events back for a while."),
    "resume": ("pause", "Deliver a paused handler's events again."),
    "diff": ("diff", "Compare a run with a shadow of it."),
    "dlq": ("dlq", "List, show, retry or purge dead letters."),
    "schedules": ("schedules", "List what runs when, or run it now."),
    "bus": ("bus", "Plan or apply streams, consumers, buckets, schedules."),
    "bench": ("bench", "Measure the bus on this machine, or size the plugins for a load."),
    "schema": ("schema", "Export JSON Schemas, or check for breaking changes."),
    "asyncapi": ("asyncapi", "Print the AsyncAPI 3 document."),
    "new": ("new", "Write a new plugin."),
}
#: Entry point group of further commands.
GROUP = "stenobus.commands"


class LazyGroup(click.Group):
    """A group whose commands live in modules that are imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Our commands, then those of plugins."""
        return [*COMMANDS, *sorted(_plugin_commands().keys() - COMMANDS.keys())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name in COMMANDS:
            module = import_module(f"{__name__}.{COMMANDS[cmd_name][0]}")
            command: click.Command = getattr(module, cmd_name)
            return command
        point = _plugin_commands().get(cmd_name)
        if point is None:
            return None
        try:
            loaded: click.Command = point.load()
        except Exception as error:
            raise click.ClickException(f"The command {cmd_name} ({point.value}) cannot be loaded: {error}") from error
        return loaded

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List commands without importing ours."""
        rows = [(name, text) for name, (_, text) in COMMANDS.items()]
        for name in sorted(_plugin_commands().keys() - COMMANDS.keys()):
            try:
                command = self.get_command(ctx, name)
                rows.append((name, command.get_short_help_str(80) if command else ""))
            except click.ClickException as error:
                rows.append((name, error.message))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="stenobus-core", prog_name="stenobus")
def cli() -> None:
    """Turn recordings into technical documents and searchable knowledge, over NATS JetStream.

    Settings come from the environment (STENOBUS_…) or from stenobus.toml.
    """


def main() -> None:
    """Entry point of the ``stenobus`` command."""
    try:
        cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except Exception as error:
        from ..errors import StenobusError  # not before it is needed: `--help` answers at once

        if not isinstance(error, StenobusError):
            raise
        click.ClickException(str(error)).show()
        sys.exit(1)


def _plugin_commands() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}
