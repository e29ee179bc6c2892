"""The command: what it prints, how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stenobus_bus import Bus, EmbeddedServer, apply
from stenobus_core.services import topology
from stenobus_testing.waiting import DEADLINE

from ..support.command import Command, work
from ..support.installed import ACME, Site

COMMAND = [sys.executable, "-c", "from stenobus_core.cli import main; main()"]


# --- publish ---------------------------------------------------------------------------------------------------------


def test_publish_says_where_the_event_is_stored(stenobus: Command) -> None:
    first = stenobus.json("publish", "acme.ping", '{"number": 1}', "--run", "r", "--id", "i")
    assert first == {"event_id": "i", "run": "r", "stream": "ACME", "sequence": 1, "duplicate": False}
    again = stenobus("publish", "acme.ping", '{"number": 1}', "--id", "i")
    assert again.stdout == "acme.ping: stored as ACME/1 (it was there already), run i\n"


def test_publish_reads_files_and_stdin(stenobus: Command, tmp_path: Path) -> None:
    (tmp_path / "event.json").write_text('{"number": 1}')
    assert stenobus.json("publish", "acme.ping", f"@{tmp_path}/event.json")["sequence"] == 1
    assert "ACME/2" in stenobus("publish", "acme.ping", "-", input='{"number": 2}').stdout


def test_publish_takes_the_lane_that_is_named_or_that_the_event_says(stenobus: Command) -> None:
    batch = {"task": "t", "messages": [{"role": "user", "content": "?"}]}
    for subject, event, said in (
        ("llm.request", batch, "llm.request"),
        ("llm.request.interactive", batch, "llm.request.interactive"),
        ("llm.request", {**batch, "priority": "interactive"}, "llm.request.interactive"),
    ):
        assert stenobus("publish", subject, json.dumps(event)).stdout.startswith(f"{said}: stored as LLM/")


def test_publish_says_that_it_waits_and_then_that_the_stream_is_full(stenobus: Command, server: EmbeddedServer) -> None:
    stenobus("publish", "acme.ping", '{"number": 1}')

    async def fill() -> None:
        async with await Bus.connect(server.url) as bus:
            config = (await bus.api("STREAM.INFO.ACME"))["config"]
            await bus.api("STREAM.UPDATE.ACME", {**config, "max_msgs": 1})

    asyncio.run(fill())
    said = stenobus("publish", "acme.ping", '{"number": 2}', "--timeout", "0.3", expect=1).stderr
    assert "publish.stream_full" in said
    assert "up to 0.3 s" in said
    assert "Error: acme.ping: the stream ACME was full for 0.3 s (maximum messages exceeded, max_msgs 1); raise" in said


def test_publish_refuses_what_breaks_the_contract_in_one_sentence(stenobus: Command) -> None:
    assert stenobus.fails("publish", "acme.ping", "{").startswith("acme.ping: the payload: Invalid JSON")
    assert stenobus.fails("publish", "acme.ping", "{}") == "acme.ping: number: Field required."
    unknown = stenobus.fails("publish", "acme.pang", "{}")
    assert unknown.startswith("No contract has the subject acme.pang; known: acme.ping, acme.pong, ")
    assert (
        stenobus.fails("publish", "acme.ping", "@nowhere.json")
        == "nowhere.json cannot be read: No such file or directory."
    )


def test_without_a_server_it_is_one_sentence(stenobus: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STENOBUS_NATS_URL", "nats://127.0.0.1:1")
    message = stenobus.fails("publish", "acme.ping", '{"number": 1}')
    assert message.startswith("No NATS server answers at nats://127.0.0.1:1")


def test_a_wrong_setting_is_one_sentence(stenobus: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STENOBUS_ACK_WAIT", "soon")
    for arguments in (["publish", "acme.ping", "{}"], ["status"], ["up"], ["plugins", "list"]):
        assert stenobus.fails(*arguments).startswith("STENOBUS_ACK_WAIT (or ack_wait in [core]): ")


# --- pause, resume ---------------------------------------------------------------------------------------------------


def test_a_handler_is_paused_and_resumed(stenobus: Command) -> None:
    stenobus("bus", "apply")
    stenobus("publish", "acme.ping", '{"number": 1}')
    said = stenobus("pause", "acme").stdout
    assert said.startswith("acme is paused until 20")
    assert said.endswith(", 1 waiting; `stenobus resume acme` ends it.\n")
    until = datetime.fromisoformat(stenobus.json("pause", "acme", "15m")["paused_until"])
    assert timedelta(minutes=14) < until - datetime.now(UTC) < timedelta(minutes=16)
    assert "Paused: acme until 20" in stenobus("status").stdout
    (held,) = stenobus.json("status")["paused"]
    assert (held["stream"], held["consumer"], held["pending"]) == ("ACME", "acme", 1)
    assert stenobus("resume", "acme").stdout == "acme goes on, 1 waiting.\n"
    assert stenobus("resume", "acme").stdout == "acme was not paused, 1 waiting.\n"
    assert "Paused" not in stenobus("status").stdout


def test_a_pause_needs_a_handler_and_a_time_to_come(stenobus: Command) -> None:
    assert stenobus.fails("pause", "acme") == (
        "The server has no handler acme; known: none yet; `stenobus up` declares them."
    )
    stenobus("bus", "apply")
    assert stenobus.fails("pause", "acne") == "The server has no handler acne; known: acme, undertaker."
    assert "is over already" in stenobus("pause", "acme", "2020-01-01", expect=2).stderr
    assert "'soon' is no duration" in stenobus("pause", "acme", "soon", expect=2).stderr


# --- replay, trace, status -------------------------------------------------------------------------------------------


def test_replay_says_what_it_would_do_and_does_it(stenobus: Command) -> None:
    for number in (1, 2):
        stenobus("publish", "acme.ping", json.dumps({"number": number}), "--run", f"run-{number}")
    work(until=2)
    plan = stenobus.json("replay", "acme", "--since", "1h", "--dry-run")
    assert (plan["replay"], plan["dry_run"], len(plan["events"])) == (None, True, 2)
    assert "2 events of acme.ping would be handed to acme again." in stenobus(
        "replay", "acme", "--from-seq", "1", "--dry-run"
    ).stdout  # fmt: skip
    assert stenobus.json("replay", "acme", "--run", "run-2", "--dry-run")["events"][0]["run"] == "run-2"
    assert "No event of acme.ping matches" in stenobus("replay", "acme", "--run", "no such run").stdout
    done = stenobus.json("replay", "acme", "--run", "run-2")
    assert done["replay"]
    work(until=1)
    events = stenobus.json("trace", "run-2")["events"]
    assert [event["subject"] for event in events] == ["acme.ping", "acme.pong", "acme.ping", "acme.pong"]
    again = stenobus.json("replay", "acme", "--since", "1h", "--dry-run")
    assert len(again["events"]) == 2  # an earlier replay is no further event


def test_a_replay_needs_a_handler_and_a_choice(stenobus: Command) -> None:
    assert stenobus.fails("replay", "acne", "--since", "1h") == "No handler is named acne; known: acme."
    assert "Say which events" in stenobus("replay", "acme", expect=2).stderr
    assert "'soon' is no duration" in stenobus("replay", "acme", "--since", "soon", expect=2).stderr


def test_a_run_can_be_traced_and_its_status_seen(stenobus: Command) -> None:
    stenobus("publish", "acme.ping", '{"number": 1}', "--run", "my run")
    work(until=1)
    overview = stenobus.json("status")
    assert [(run["status"], run["steps"]) for run in overview["runs"]] == [("done", 1)]
    run = overview["runs"][0]["run"]
    for name in (run, "my run"):
        (step,) = stenobus.json("status", name)["steps"]
        assert (step["handler"], step["status"], step["subject"]) == ("acme", "done", "acme.ping")
        ping, pong = stenobus.json("trace", name)["events"]
        assert pong["causation"] == ping["id"]
    document = stenobus.json("trace", run)
    assert (document["totals"]["events"], document["totals"]["steps"], document["dead_letters"]) == (2, 1, [])
    assert document["trace"] in ping["traceparent"]
    tree = stenobus("trace", run).stdout
    assert tree.index("acme.ping") < tree.index("acme.pong")
    assert "no event of a run nothing" in stenobus.fails("trace", "nothing")
    assert "no run nothing" in stenobus.fails("status", "nothing")
    assert "no run a b.*" in stenobus.fails("status", "a b.*")


def test_a_bare_event_is_part_of_its_own_trace(stenobus: Command, server: EmbeddedServer) -> None:
    async def publish() -> None:
        async with await Bus.connect(server.url) as bus:
            await apply(bus, topology("stenobus"))
            await bus.store("acme.ping", b'{"number": 1}', {})

    stenobus("bus", "apply")
    asyncio.run(publish())
    work(until=1)
    run = stenobus.json("status")["runs"][0]["run"]
    assert [event["subject"] for event in stenobus.json("trace", run)["events"]] == ["acme.ping", "acme.pong"]


def test_top_prints_one_picture_or_one_document(stenobus: Command) -> None:
    stenobus("publish", "acme.ping", '{"number": 1}')
    work(until=1)
    stenobus("publish", "acme.ping", '{"number": 2}')
    document = stenobus.json("top", "--interval", "0.2")
    (row,) = document["rows"]
    assert (row["handler"], row["plugin"], row["state"], row["lag"]) == ("acme", "acme", "nobody", 1)
    assert row["oldest"] > 0
    assert "ACME" in {size["name"] for size in document["streams"]}
    text = stenobus("top", "--once", "--interval", "0.2").stdout
    assert "1 with nobody at work" in text and "acme" in text


# --- bus, plugins, schema --------------------------------------------------------------------------------------------


def test_the_bus_is_planned_and_applied(stenobus: Command) -> None:
    plan = stenobus.json("bus", "plan", expect=2)
    created = {change["what"] for change in plan if change["action"] == "create"}
    assert {"stream ACME", "consumer ACME/acme", "consumer ADVISORIES/undertaker"} <= created
    stenobus("bus", "apply")
    assert {change["action"] for change in stenobus.json("bus", "plan")} == {"none"}


def test_plugins_are_listed_with_those_that_are_broken_or_off(stenobus: Command, site: Site) -> None:
    site.install("acme-broken", "raise RuntimeError('no licence')")
    listed = stenobus.json("plugins", "list")
    (acme,) = listed["plugins"]
    assert (acme["plugin"], acme["handlers"][0]["receives"], acme["handlers"][0]["sends"]) == (
        "acme", "acme.ping", ["acme.pong"],
    )  # fmt: skip
    assert acme["settings"][0]["name"] == "STENOBUS_ACME_VOLUME"
    assert listed["broken"] == {"acme-broken": "RuntimeError: no licence"}
    assert "asr" in listed["off"] or listed["off"] == []
    assert "broken acme-broken: RuntimeError: no licence" in stenobus("plugins", "list").stdout


def test_the_doctor_tells_what_is_wrong_and_exits_with_one(
    stenobus: Command, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stenobus.json("plugins", "doctor")["ok"] is True
    monkeypatch.setenv("STENOBUS_ACME_VOLUME", "11")
    checks = stenobus.json("plugins", "doctor", expect=1)["plugins"]["acme"]
    assert {"name": "volume", "ok": False, "detail": "it goes to 11"} in checks
    monkeypatch.setenv("STENOBUS_ACME_VOLUME", "loud")
    (check,) = stenobus.json("plugins", "doctor", expect=1)["plugins"]["acme"]
    assert check["detail"].startswith("STENOBUS_ACME_VOLUME (or volume in [acme]): ")
    monkeypatch.delenv("STENOBUS_ACME_VOLUME")
    site.install("acme-sick", ACME.replace("acme", "acme-sick").replace("return [Check(", "return [1 / 0, Check("))
    (check,) = stenobus.json("plugins", "doctor", expect=1)["plugins"]["acme-sick"]
    assert check == {"name": "doctor", "ok": False, "detail": "ZeroDivisionError: division by zero"}


def test_schemas_are_exported_and_checked(stenobus: Command, tmp_path: Path) -> None:
    stenobus("schema", "export", str(tmp_path / "schemas"))
    assert stenobus("schema", "check", str(tmp_path / "schemas")).stdout == "No breaking change.\n"
    file = tmp_path / "schemas" / "stenobus.acme.ping.v1.json"
    schema = json.loads(file.read_text())
    schema["properties"]["volume"] = {"type": "integer"}
    file.write_text(json.dumps(schema))
    result = stenobus("schema", "check", str(tmp_path / "schemas"), expect=1)
    assert result.stderr == "stenobus.acme.ping.v1: volume is gone\n"


def test_the_asyncapi_document_has_the_installed_handlers(stenobus: Command) -> None:
    document = json.loads(stenobus("asyncapi").stdout)
    assert {"acme.receive", "acme.send.acme.pong"} <= set(document["operations"])


# --- new plugin ------------------------------------------------------------------------------------------------------


def test_a_new_plugin_passes_its_own_test(stenobus: Command, tmp_path: Path) -> None:
    target = tmp_path / "acme-words"
    output = stenobus("new", "plugin", "acme-words").stdout
    assert str(Path("acme-words") / "stenobus_acme_words" / "__init__.py") in output
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--write-schemas"],
        cwd=target, env=os.environ | {"PYTHONPATH": os.pathsep.join((str(target), *sys.path))},
        capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert "15 passed" in done.stdout, done.stdout + done.stderr
    assert stenobus.fails("new", "plugin", "acme-words") == "acme-words is not empty."


@pytest.mark.parametrize("name", ["Acme", "1acme", "acme_words", "acme-", "class", "../acme", "a b"])
def test_a_new_plugin_needs_a_name(stenobus: Command, name: str) -> None:
    assert "must be lower-case words joined by hyphens" in stenobus.fails("new", "plugin", name)
    assert sorted(path.name for path in Path().iterdir()) in (["site"], ["data", "site"])


# --- processes -------------------------------------------------------------------------------------------------------


@pytest.fixture
def process_environment(site: Site, tmp_path: Path) -> dict[str, str]:
    """An embedded server of its own, and the plugin of the test."""
    site.install("acme", ACME)
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(site.folder), os.environ.get("PYTHONPATH")])),
        "STENOBUS_DATA_DIR": str(tmp_path / "data"), "STENOBUS_NATS_PORT": "0",
        "STENOBUS_PLUGINS": "acme",
    }  # fmt: skip


def servers(folder: Path) -> list[str]:
    return [str(path) for path in (folder / "data" / "nats" / "ports").glob("*.ports")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_up_drains_on_a_signal_and_leaves_no_server_behind(
    process_environment: dict[str, str], tmp_path: Path, number: signal.Signals
) -> None:
    patient = process_environment | {"STENOBUS_GRACE": "300"}  # for handlers that run, and none does
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "up", env=patient, stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
    )
    assert process.stderr
    async with asyncio.timeout(DEADLINE):
        async for line in process.stderr:
            if b'"event": "up"' in line:
                break
    assert servers(tmp_path)
    process.send_signal(number)
    async with asyncio.timeout(DEADLINE):
        _, rest = await process.communicate()
    assert process.returncode == 0
    assert b"Traceback" not in rest
    assert rest.endswith(b"Stopped.\n")
    assert servers(tmp_path) == []


async def test_up_serves_metrics_where_it_is_told_to(process_environment: dict[str, str]) -> None:
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "up", "--metrics-port", "0", env=process_environment, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr
    url = ""
    async with asyncio.timeout(DEADLINE):
        async for line in process.stderr:
            url = json.loads(line).get("url", url) if b"metrics.listening" in line else url
            if b'"event": "up"' in line:
                break
    address, path = url.removeprefix("http://").split("/")
    host, port = address.split(":")
    assert (host, path) == ("127.0.0.1", "metrics")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /readyz HTTP/1.1\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 200 OK")
    writer.close()
    process.terminate()
    await process.communicate()
    assert process.returncode == 0


def test_help_imports_nothing_heavy(process_environment: dict[str, str]) -> None:
    code = (
        "import sys; from stenobus_core.cli import cli\n"
        "cli.main(['--help'], standalone_mode=False)\n"
        "print([m for m in ('pydantic', 'nats', 'faststream', 'rich') if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=process_environment, capture_output=True, text=True, check=True
    )
    assert "Turn recordings into technical documents" in done.stdout
    assert done.stderr == "[]\n"


def test_an_unknown_command_is_a_usage_error(process_environment: dict[str, str]) -> None:
    done = subprocess.run([*COMMAND, "sing"], env=process_environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "No such command 'sing'" in done.stderr


def test_a_broken_command_of_a_plugin_is_reported_and_breaks_no_help(
    process_environment: dict[str, str], site: Site
) -> None:
    site.install("sing", "raise RuntimeError('no voice')", group="stenobus.commands", dist="singer")
    done = subprocess.run([*COMMAND, "--help"], env=process_environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "no voice" in " ".join(done.stdout.split())
    done = subprocess.run([*COMMAND, "sing"], env=process_environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "Error: The command sing (installed_singer:plugin) cannot be loaded: no voice\n"


def test_the_bench_measures_on_a_server_of_its_own(process_environment: dict[str, str], tmp_path: Path) -> None:
    command = [*COMMAND, "bench", "--events", "100", "--rounds", "1", "--json"]
    done = subprocess.run(command, env=process_environment, capture_output=True, text=True)
    figures = json.loads(done.stdout)
    assert len(figures) == 7, done.stderr
    assert all(value > 0 for value in figures.values())
    assert servers(tmp_path) == []


def test_a_load_is_sized_by_what_past_runs_took(stenobus: Command) -> None:
    assert stenobus.fails("bench", "--load", "60/h").startswith("There is no finished run")
    stenobus("publish", "acme.ping", '{"number": 1}', "--run", "run-1")
    work(until=1)
    found = stenobus.json("bench", "--load", "2/m")
    assert (found["per_hour"], found["runs"]) == (120, 1)
    assert [need["handler"] for need in found["handlers"]] == ["acme"]
    assert "acme gives in first, and needs 1 process " in stenobus("bench", "--load", "60/h").output


@pytest.mark.parametrize("load", ["60", "x/h", "0/h", "-1/h", "60/y"])
def test_a_load_that_is_none_is_one_sentence(stenobus: Command, load: str) -> None:
    assert "is no load; write 60/h" in stenobus("bench", f"--load={load}", expect=2).stderr
