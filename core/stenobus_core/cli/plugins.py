"""``stenobus plugins``."""

from __future__ import annotations

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..discovery import discover
from ..errors import StenobusError
from ..plugin import Check, Plugin
from .running import print_json, settings


@click.group()
def plugins() -> None:
    """List plugins, or check whether they can run."""


@plugins.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--settings", "with_settings", is_flag=True, help="Show every plugin's settings as well.")
def list_(as_json: bool, with_settings: bool) -> None:
    """Show what is installed, what it listens to and what it publishes."""
    found = discover(settings())
    rows = [
        {
            "plugin": plugin.name,
            "version": plugin.version,
            "summary": plugin.summary,
            "handlers": [
                {
                    "name": handler.name,
                    "receives": handler.contract.subject,
                    "sends": [output.subject for output in handler.outputs],
                    "concurrency": handler.concurrency,
                    "fleet_concurrency": handler.fleet_concurrency,
                    "lanes": dict(handler.lanes),
                    "attempts": handler.retry.attempts,
                    "timeout": handler.timeout,
                }
                for handler in plugin.handlers
            ],
            "settings": _settings(plugin),
        }
        for plugin in found.plugins.values()
    ]
    if as_json:
        print_json({"plugins": rows, "broken": found.broken, "off": list(found.off)})
        return
    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False)
    for name in ("Handler", "Receives", "Sends", "Summary"):
        table.add_column(name)
    for plugin in found.plugins.values():
        for handler in plugin.handlers:
            sends = ", ".join(output.subject for output in handler.outputs)
            table.add_row(handler.name, handler.contract.subject, sends, escape(plugin.summary))
        if not plugin.handlers:  # it works by its schedules or its lifespan
            table.add_row(plugin.name, "", "", escape(plugin.summary))
    console.print(table)
    if with_settings:
        for plugin in found.plugins.values():
            console.print(f"\n[bold]{plugin.name}[/]")
            for setting in _settings(plugin):
                console.print(
                    f"  {setting['name']} = {escape(repr(setting['default']))}  [dim]{escape(setting['description'])}",
                    soft_wrap=True,
                )
    for name, why in found.broken.items():
        console.print(f"[red]broken[/] {name}: {escape(why)}", soft_wrap=True)
    if found.off:
        console.print(f"off: {', '.join(found.off)}")


@plugins.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def doctor(as_json: bool) -> None:
    """Check whether every plugin could run here; exits with 1 when one could not."""
    found = discover(settings())
    checks = {name: [Check("import", False, why)] for name, why in found.broken.items()}
    for name, plugin in found.plugins.items():
        try:
            checks[name] = plugin.check()
        except StenobusError as error:
            checks[name] = [Check("settings", False, str(error))]
        except Exception as error:  # a stranger's checks can raise anything
            checks[name] = [Check("doctor", False, f"{type(error).__name__}: {error}")]
    healthy = all(check.ok for results in checks.values() for check in results)
    if as_json:
        print_json(
            {
                "ok": healthy,
                "plugins": {
                    name: [{"name": check.name, "ok": check.ok, "detail": check.detail} for check in results]
                    for name, results in checks.items()
                },
            }
        )
    else:
        console = Console(highlight=False)
        for name, results in sorted(checks.items()):
            for check in results:
                mark = "[green]✓[/]" if check.ok else "[red]✗[/]"
                console.print(f"{mark} {name}: {escape(f'{check.name}: {check.detail}')}", soft_wrap=True)
    raise SystemExit(0 if healthy else 1)


def _settings(plugin: Plugin) -> list[dict[str, str]]:
    prefix = f"STENOBUS_{plugin.name.upper().replace('-', '_')}_"
    return [
        {
            "name": f"{prefix}{name.upper()}",
            "default": ""
            if field.is_required()
            else str(field.get_default(call_default_factory=True, validated_data={})),
            "description": field.description or "",
        }
        for name, field in plugin.settings_class.model_fields.items()
    ]
