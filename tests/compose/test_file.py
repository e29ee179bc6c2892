"""What compose.yaml says, read by Compose itself."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from ..support.engine import COMPOSE, ROOT, engine

PROFILES = ("api", "gpu", "aws", "kb-bedrock", "kb-opensearch", "kb-pinecone", "sources", "monitor", "tools", "setup")
#: They have no way out.
INTERNAL = {"bus", "watch", "models"}


@pytest.fixture(scope="module")
def said() -> dict[str, Any]:
    """The file as Compose understands it, with every profile."""
    engine()
    arguments = [word for profile in PROFILES for word in ("--profile", profile)]
    command = ["docker-compose", "--env-file", ".env.example", *arguments, "config"]
    done = subprocess.run(command, cwd=COMPOSE, capture_output=True, text=True, check=True)
    found: dict[str, Any] = yaml.safe_load(done.stdout)
    return found


def plugins() -> set[str]:
    """Every plugin of the repository."""
    paths = [*(ROOT / "plugins").glob("*/pyproject.toml"), ROOT / "monitor" / "pyproject.toml"]
    projects = [tomllib.loads(path.read_text())["project"] for path in paths]
    return {name for project in projects for name in project.get("entry-points", {}).get("stenobus.plugins", {})}


def test_every_plugin_is_a_service_with_a_secret_of_its_own(said: dict[str, Any]) -> None:
    running = {
        service["labels"]["stenobus.plugin"]: service for service in said["services"].values() if plugin(service)
    }
    assert set(running) == plugins()
    for name, service in running.items():
        more = ["monitor-remedies"] if name == "monitor" else []
        assert [secret["source"] for secret in service["secrets"]] == [name, *more]
        assert service["environment"]["STENOBUS_NATS_CREDS"] == f"/run/secrets/{name}"
        assert said["secrets"][name]["file"].endswith(f"/users/credentials/{name}.nk")


def plugin(service: dict[str, Any]) -> bool:
    return "stenobus.plugin" in service.get("labels", {})


def test_every_service_has_the_least_rights_and_limits(said: dict[str, Any]) -> None:
    for name, service in said["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["logging"]["options"] == {"max-file": "3", "max-size": "10m"}, name
        assert "privileged" not in service, name
        holds_engine = any("docker.sock" in volume for volume in service.get("volumes", []))
        assert holds_engine == (name == "executor"), name
        if name.startswith("vllm-"):  # somebody else's image
            continue
        assert service["read_only"], name
        assert service["mem_limit"] and service["cpus"] and service["pids_limit"], name
        assert set(service.get("cap_add", [])) <= ({"CHOWN", "SETUID", "SETGID"} if name == "users" else set()), name


def test_the_executor_is_alone_with_the_engine(said: dict[str, Any]) -> None:
    executor = said["services"]["executor"]
    assert executor["network_mode"] == "none" and "networks" not in executor and "ports" not in executor
    assert [secret["source"] for secret in executor["secrets"]] == ["approval"]
    assert not any("NATS" in name or "AWS" in name for name in executor["environment"])
    shared = {name for name, each in said["services"].items() if "executor-socket" in str(each.get("volumes"))}
    assert shared == {"executor", "monitor"}
    assert "executor-socket:/run/stenobus:ro" in said["services"]["monitor"]["volumes"]
    assert [name for name, each in said["services"].items() if "executor-data" in str(each.get("volumes"))] == [
        "executor"
    ]


def test_who_watches_cannot_approve(said: dict[str, Any]) -> None:
    key = said["secrets"]["approval"]["file"]
    for name, service in said["services"].items():
        approves = name in {"executor", "monitor-api", "cli"}
        assert ("approval" in [each["source"] for each in service.get("secrets", [])]) == approves, name
        assert ("/run/secrets/approval" in str(service.get("environment"))) == approves, name
        if name != "users":  # which makes the key, once, and has no network
            folders = [Path(str(volume).split(":")[0]) for volume in service.get("volumes", [])]
            assert not any(Path(key).is_relative_to(folder) for folder in folders), name
    assert said["services"]["users"]["network_mode"] == "none"


def test_what_a_service_needs_is_there(said: dict[str, Any]) -> None:
    for name, service in said["services"].items():
        needs = service.get("labels", {}).get("stenobus.needs", "").split(",")
        assert {need for need in needs if need} <= set(said["services"]), name
    assert {name for name, network in said["networks"].items() if (network or {}).get("internal")} == INTERNAL
    for name, service in said["services"].items():
        for port in service.get("ports", []):
            assert str(port).startswith("127.0.0.1:"), name


def test_no_secret_is_written_down() -> None:
    for path in COMPOSE.rglob("*"):
        if path.is_file() and "state" not in path.parts:
            assert "-----BEGIN" not in path.read_text(), path
    ignored = Path(ROOT / ".gitignore").read_text().split()
    assert {"/compose/state/", "/compose/.env"} <= set(ignored)
