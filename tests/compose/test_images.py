"""What is in the images, and what a container made of one may do."""

from __future__ import annotations

import pytest

from ..support.engine import UID, Stack

#: Plugins without heavy models, and the most their images may have.
SLIM = ("nats", "documents", "ingest", "llm", "kb")
MEGABYTES = 300


def test_images_without_heavy_models_are_small(stack: Stack) -> None:
    sizes = {name: stack.image(name).attrs["Size"] / 1e6 for name in (*SLIM, "asr", "tools")}
    for name, size in sizes.items():
        print(f"stenobus-{name:<12} {size:4.0f} MB")
    assert {name: size for name, size in sizes.items() if name in SLIM and size >= MEGABYTES} == {}


@pytest.mark.parametrize("name", [*SLIM, "asr", "tools"])
def test_an_image_says_what_it_is_and_runs_as_nobody_special(stack: Stack, name: str) -> None:
    config = stack.image(name).attrs["Config"]
    assert config["User"] == f"{UID}:{UID}"
    assert config["Healthcheck"]["Test"][0] == "CMD"
    for label in ("title", "description", "licenses", "version", "revision"):
        assert config["Labels"][f"org.opencontainers.image.{label}"]
    assert not any(word in variable for variable in config["Env"] for word in ("PIP_", "TOKEN", "PASSWORD"))
    assert config["StopSignal"] == ("SIGUSR2" if name == "nats" else "SIGTERM")
