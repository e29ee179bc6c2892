"""Plugins are found by their entry points, and a broken one stops nothing else."""

from __future__ import annotations

import subprocess
import sys

import pytest

from stenobus_core import CoreSettings, PluginError
from stenobus_core.discovery import Discovered, discover

from ..support.installed import ACME, Site


def found(*only: str, plugins: tuple[str, ...] = (), plugins_off: tuple[str, ...] = ()) -> Discovered:
    return discover(CoreSettings(plugins=plugins, plugins_off=plugins_off), only)


def test_an_installed_plugin_is_found_by_its_entry_point(site: Site) -> None:
    site.install("acme", ACME)
    plugin = found("acme").plugins["acme"]
    assert (plugin.name, plugin.summary) == ("acme", "Pings and pongs")
    (handler,) = plugin.handlers
    assert (handler.contract.subject, [output.subject for output in handler.outputs]) == ("acme.ping", ["acme.pong"])
    assert handler.summary == "Pong."


BROKEN = {
    "import": ("import nosuchmodule", "ModuleNotFoundError: No module named 'nosuchmodule'"),
    "syntax": ("def (", "SyntaxError"),
    "raises": ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
    "exits": ("import sys; sys.exit('unsupported')", "SystemExit: unsupported"),
    "nothing": ("", "AttributeError"),
    "other": ("plugin = 3", "PluginError: installed_acme_other:plugin is no Plugin"),
    "name": (
        "from stenobus_core import Plugin\nplugin = Plugin('else')",
        "PluginError: installed_acme_name:plugin is named 'else', but its entry point 'acme-name'",
    ),
    "version": (
        "from stenobus_core import Plugin\nplugin = Plugin('acme-version', api_version=99)",
        "it is made for plugin interface 99, this host speaks 1",
    ),
    "empty": ("from stenobus_core import Plugin\nplugin = Plugin('acme-empty')", "it declares no handler"),
    "taken": (
        "from stenobus_contracts import Event\nclass Mine(Event, subject='media.uploaded'): pass",
        "ContractError: Mine: stenobus.media.uploaded.v1 is already the contract MediaUploaded",
    ),
}


@pytest.mark.parametrize(("code", "why"), BROKEN.values(), ids=BROKEN)
def test_a_broken_plugin_is_reported_by_name_and_stops_nothing_else(
    site: Site, request: pytest.FixtureRequest, code: str, why: str
) -> None:
    name = f"acme-{request.node.callspec.id}"
    site.install("acme", ACME)
    site.install(name, code)
    result = found("acme")
    assert list(result.plugins) == ["acme"]
    assert why in result.broken[name]


def test_two_distributions_that_claim_one_name_are_reported(site: Site) -> None:
    site.install("acme", ACME)
    site.install("acme", ACME, dist="imitation")
    assert "claimed by installed_acme:plugin and installed_imitation:plugin" in found("acme").broken["acme"]


def test_names_and_families_are_allowed_and_denied(site: Site) -> None:
    for name in ("acme", "acme-one", "acme-two", "acmeother"):
        site.install(name, ACME.replace('"acme"', f'"{name}"').replace("acme.p", f"{name}.p"))
    ours = {"acme", "acme-one", "acme-two", "acmeother"}

    def names(result: Discovered) -> set[str]:
        return ours & result.plugins.keys()

    assert names(found()) == ours
    assert names(found("acme")) == names(found(plugins=("acme",))) == {"acme", "acme-one", "acme-two"}
    assert names(found("acme-one", plugins=("acme-two",))) == {"acme-one"}
    result = found(plugins_off=("acme",))
    assert names(result) == {"acmeother"}
    assert {"acme", "acme-one", "acme-two"} <= set(result.off)
    assert names(found("acme", plugins_off=("acme-two",))) == {"acme", "acme-one"}


def test_a_name_that_nothing_has_is_an_error_with_those_there_are(site: Site) -> None:
    site.install("acme", ACME)
    with pytest.raises(PluginError, match=r"No plugin is named acne; installed: .*\bacme\b"):
        found("acne")


def test_what_is_off_is_not_even_imported(site: Site) -> None:
    site.install("acme", "raise RuntimeError('imported')")
    result = found(plugins_off=("acme",))
    assert "acme" not in result.broken
    assert "installed_acme" not in sys.modules


def test_a_plugin_module_does_not_import_faststream() -> None:
    code = "import sys; from stenobus_core import Plugin; print('faststream' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
