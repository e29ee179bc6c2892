"""The kit on plugins that are wrong: the rule that one breaks fails, no other one does, and it says what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

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


def run(pytester: pytest.Pytester, plugin: str, options: str = "") -> dict[str, str]:
    """Run every rule on a plugin.

    Returns:
        What failed, by rule.
    """
    (pytester.path / "wrong.py").write_text(WRONG.read_text(encoding="utf-8"), encoding="utf-8")
    pytester.syspathinsert()
    pytester.makepyfile(
        test_it=f"""
        import wrong
        from stenobus_testing import conformance

        TestIt = conformance(wrong.{plugin}, {options})
        """
    )
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    promised = pytester.mkdir("schemas") / "stenobus.wrong.renamed.v1.json"
    promised.write_text(json.dumps(OLD), encoding="utf-8")
    reports = pytester.inline_run("--write-schemas", "-p", "no:cacheprovider", "-p", "no:randomly").getreports(
        "pytest_runtest_logreport"
    )
    assert len({report.nodeid for report in reports}) == 14
    return {
        report.nodeid.rpartition("::test_")[2].partition("[")[0]: str(report.longrepr)
        for report in reports
        if report.failed
    }


@pytest.mark.parametrize("rule", RULES)
def test_exactly_the_broken_rule_fails_and_says_what_to_do(pytester: pytest.Pytester, rule: str) -> None:
    failed = run(pytester, rule, OPTIONS.get(rule, ""))
    assert list(failed) == [rule], failed
    what, todo = RULES[rule]
    name = rule.replace("_", "-")
    assert failed[rule].startswith(f"The plugin wrong-{name} breaks the rule {rule.replace('_', ' ')!r}: ")
    assert what in failed[rule]
    assert todo in failed[rule].partition(what)[2]


def test_a_good_plugin_keeps_every_rule(pytester: pytest.Pytester) -> None:
    assert run(pytester, "good") == {}
