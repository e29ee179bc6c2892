"""What passes from the engine to those who look: fields that are named here, and no others.

Environment, commands, arguments, mounts, the commands of health checks and labels of strangers are not named.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

#: Labels that pass. Others may say anything, secrets included.
_LABELS: Final = ("com.docker.compose.", "stenobus.")
_SECRET: Final = re.compile(r"secret|password|passwd|token|credential|api[-_.]?key|environment|config[-_]hash", re.I)
#: Characters of one label's value.
_LONGEST: Final = 500
#: Names of fields: to themselves as they are, to the fields that pass of what lies in them.
_ALL: Final = None
_PASSING: Final[Mapping[str, Any]] = {
    "version": dict.fromkeys(("Version", "ApiVersion", "MinAPIVersion", "Os", "Arch", "KernelVersion")),
    "info": dict.fromkeys(
        ("ServerVersion", "SystemTime", "OSType", "Architecture", "NCPU", "MemTotal", "CgroupVersion")
    ),
    "containers": dict.fromkeys(("Id", "Names", "Image", "ImageID", "Created", "State", "Status"))
    | {"HostConfig": {"NetworkMode": _ALL}},
    "json": dict.fromkeys(("Id", "Name", "Image", "Created", "RestartCount"))
    | {
        "State": dict.fromkeys(
            ("Status", "Running", "Paused", "Restarting", "OOMKilled", "Dead", "ExitCode", "StartedAt", "FinishedAt")
        )
        | {"Health": _ALL},
        "Config": dict.fromkeys(("Image", "Tty", "StopTimeout")),
        "HostConfig": dict.fromkeys(("NetworkMode", "RestartPolicy", "Memory", "MemorySwap", "NanoCpus")),
    },
    "stats": dict.fromkeys(
        ("read", "preread", "name", "id", "num_procs", "pids_stats", "cpu_stats", "precpu_stats", "memory_stats")
    ),
}
#: Events that pass: those of ``exec`` say which command was run.
_EVENTS: Final = frozenset(
    ("create", "start", "restart", "die", "oom", "kill", "stop", "pause", "unpause", "update", "rename", "destroy")
) | {"health_status: healthy", "health_status: unhealthy", "health_status: starting"}
_ATTRIBUTES: Final = {
    "name": re.compile(r"[\w.-]{1,255}"),
    "image": re.compile(r"[\w.:/@-]{1,500}"),
    "exitCode": re.compile(r"-?[0-9]{1,10}"),
    "signal": re.compile(r"[A-Z0-9+-]{1,12}"),
}


def known_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """The labels that pass: those of Compose and of Stenobus, without what looks like a secret."""
    return {
        name: str(value)[:_LONGEST]
        for name, value in labels.items()
        if name.startswith(_LABELS) and not _SECRET.search(name)
    }


def passing(what: str, answer: Mapping[str, Any]) -> dict[str, Any]:
    """What passes of an answer to a call; of a container its known labels too."""
    found = _picked(answer, _PASSING[what])
    if what == "containers":
        found["Labels"] = known_labels(answer.get("Labels") or {})
    if what == "json":
        # On which networks it is, without its addresses there.
        networks = (answer.get("NetworkSettings") or {}).get("Networks")
        if isinstance(networks, Mapping):
            found["NetworkSettings"] = {"Networks": {str(name)[:_LONGEST]: {} for name in networks}}
        found.setdefault("Config", {})["Labels"] = known_labels((answer.get("Config") or {}).get("Labels") or {})
    return found


def event(said: Mapping[str, Any]) -> dict[str, Any] | None:
    """What passes of an event; None when nothing does."""
    if said.get("Type") != "container" or said.get("Action") not in _EVENTS:
        return None
    actor = said.get("Actor") or {}
    attributes = actor.get("Attributes") or {}
    kept = {name: value for name, value in attributes.items() if name in _ATTRIBUTES}
    found = _picked(said, dict.fromkeys(("Type", "Action", "scope", "time", "timeNano")))
    return found | {
        "status": said["Action"],
        "id": actor.get("ID"),
        "Actor": {
            "ID": actor.get("ID"),
            "Attributes": known_labels(attributes)
            | {name: value for name, value in kept.items() if _ATTRIBUTES[name].fullmatch(str(value))},
        },
    }


def name_of(container: Mapping[str, Any]) -> str:
    """A container's name, from a list, from itself or from an event; links of others carry a second slash."""
    if "Actor" in container:
        return str(container["Actor"]["Attributes"].get("name", ""))
    names = container.get("Names") or [container.get("Name") or ""]
    return next((name[1:] for name in map(str, names) if name.startswith("/") and "/" not in name[1:]), "")


def _picked(answer: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _picked(answer[name], inner) if inner and isinstance(answer[name], dict) else answer[name]
        for name, inner in fields.items()
        if name in answer and (not inner or isinstance(answer[name], dict))
    }
