"""The kit on plugins that are wrong: the rule that one breaks fails, no other one does, and it says what to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytestmark = pytest.mark.timeout(900)

WRONG = Path(__file__).with_name("wrong.py")

#: rule → what its test says, between the plugin's name and what to do.
RULES = {
    "settings": ("the setting volume has no description.", "Write volume: … = Field(description="),
    "doctor": ("its doctor raises KeyError: 'nobody'.", "return Check(name, False, what to do)"),
    "schema": (
        "Renamed (stenobus.wrong.renamed.v1) is not what stenobus.wrong.renamed.v1.json promised: number is gone.",
        "declare a class with version=2",
    ),
    "example": (
        'ended as a dead letter (permanent): I want large numbers.; it was {"number":1}.',
        "examples=[…]",
    ),
    "declared": ("wrong-declared returns Surprise", "Streams and permissions are made from declarations."),
    "duplicates": (
        "when the same event came again beyond the server's window for duplicates, the handler wrong-duplicates "
        "published 2 × wrong.pong, not 1 × wrong.pong.",
        "Leave ledger=True",
    ),
    "unknown_fields": ("Strict refuses an unknown field", "do not set extra='forbid'"),
    "poison": ("Lenient accepts a list (b'[]').", "Let its validators refuse"),
    "slow": ("the handler wrong-slow goes on when its timeout is over: it ran once", "Catch Exception"),
    "redelivery": ("another one got the event, the event ended as permanent: Another process", "Do not lock an event"),
    "crash": (
        "when its process was killed twice while it handled the event, the handler wrong-crash published nothing, "
        "not 1 × wrong.pong.",
        "Keep no mark of your own",
    ),
    "drain": ("a stop takes longer than 0.5 s.", "End at cancellation"),
    "replay": ("published nothing in a replay, not 1 × wrong.pong.", "skip only outward effects"),
    "blocking": ("the handler wrong-blocking blocks the event loop for 0.", "await asyncio.to_thread"),
}
#: What a rule's own plugin needs.
OPTIONS = {"drain": "stop_within=0.5", "blocking": "blocking=0.2"}
OLD = {"type": "object", "properties": {"number": {"type": "integer"}}, "required": ["number"]}


def run(folder: Path, plugins: Sequence[str]) -> subprocess.Popen[bytes]:
    """Run every rule on some plugins, in a process of its own."""
    tests = ["import wrong", "from stenobus_testing import conformance"]
    for plugin in plugins:
        tests.append(f"Test_{plugin} = conformance(wrong.{plugin}, {OPTIONS.get(plugin, '')})")
    (folder / "wrong.py").write_text(WRONG.read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "test_it.py").write_text("\n".join(tests), encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n", encoding="utf-8")
    promised = folder / "schemas" / "stenobus.wrong.renamed.v1.json"
    promised.parent.mkdir()
    promised.write_text(json.dumps(OLD), encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "--write-schemas", "-p", "no:cacheprovider", "--junitxml=report.xml"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), *filter(None, sys.path)])},
    )


def failures(folder: Path) -> dict[str, dict[str, str]]:
    """What failed, by plugin and rule."""
    found: dict[str, dict[str, str]] = {}
    counts: Counter[str] = Counter()
    for case in ElementTree.parse(folder / "report.xml").iter("testcase"):
        plugin = case.attrib["classname"].rpartition(".Test_")[2]
        counts[plugin] += 1
        for trouble in (*case.iter("failure"), *case.iter("error")):
            rule = case.attrib["name"].removeprefix("test_").partition("[")[0]
            found.setdefault(plugin, {})[rule] = trouble.text or ""
    assert set(counts.values()) == {14}, counts
    return {plugin: found.get(plugin, {}) for plugin in counts}


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """Most of what a rule does is to wait: two processes share the plugins."""
    plugins = ["good", *RULES]
    folders = [tmp_path_factory.mktemp("rules") for _ in range(2)]
    with ExitStack() as stack:
        processes = [run(folder, plugins[number::2]) for number, folder in enumerate(folders)]
        for process in processes:
            stack.callback(process.kill)
        for process in processes:
            process.wait()
    return {plugin: rules for folder in folders for plugin, rules in failures(folder).items()}


@pytest.mark.parametrize("rule", RULES)
def test_exactly_the_broken_rule_fails_and_says_what_to_do(failed: dict[str, dict[str, str]], rule: str) -> None:
    assert list(failed[rule]) == [rule], failed[rule]
    said = failed[rule][rule]
    what, todo = RULES[rule]
    name = rule.replace("_", "-")
    assert said.startswith(f"The plugin wrong-{name} breaks the rule {rule.replace('_', ' ')!r}: ")
    assert what in said
    assert todo in said.partition(what)[2]


def test_a_good_plugin_keeps_every_rule(failed: dict[str, dict[str, str]]) -> None:
    assert failed["good"] == {}
