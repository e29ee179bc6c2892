"""Fills the environment that an image ships, from the folders of the repository. Runs in the image's builder.

``install.py needs FOLDER…`` installs what others publish: a layer that lasts until a pyproject.toml or the constraints
change. ``install.py ours FOLDER…`` builds the wheels of the folders and installs them, and nothing beside them.
A folder may carry extras, ``llm[bedrock]``, and plugins may leave out theirs, ``plugins/``.
"""

import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

#: What is shipped.
ENVIRONMENT = "/opt/stenobus"
#: Every service answers /readyz and /metrics.
ALWAYS = {"core": ["metrics"]}
_OURS = re.compile(r"stenobus-([a-z0-9-]+(?:\[[a-z0-9,-]+\])?)")
_FOLDER = re.compile(r"([a-z0-9/-]+)(?:\[([a-z0-9,-]+)\])?")


def folder(wanted: str) -> tuple[Path, list[str]]:
    """Where a distribution lies, and which of its extras are wanted."""
    found = _FOLDER.fullmatch(wanted)
    parents = ("plugins", ".", "monitor")
    places = [place for place in (Path(parent, found[1]) for parent in parents) if place.is_dir()] if found else []
    if not found or not places:
        raise SystemExit(f"{wanted!r} is no folder of a plugin")
    extras = found[2].split(",") if found[2] else []
    return places[0], ALWAYS.get(found[1], []) + extras


def needs(wanted: list[str]) -> list[str]:
    """The requirements of folders and of our own distributions that they name, as others publish them."""
    found: dict[str, None] = {}
    for each in wanted:
        place, extras = folder(each)
        project = tomllib.loads((place / "pyproject.toml").read_text())["project"]
        lists = [project.get("dependencies", []), *(project["optional-dependencies"][extra] for extra in extras)]
        for requirement in (requirement for lines in lists for requirement in lines):
            if requirement.startswith("stenobus-"):
                ours = _OURS.match(requirement)
                found |= dict.fromkeys(needs([ours[1] if ours else requirement]))
            else:
                found[requirement] = None
    return list(found)


def pip(*arguments: str) -> None:
    """Run pip; it takes index and certificates from its own environment variables and files."""
    subprocess.run([sys.executable, "-m", "pip", *arguments], check=True)


def main(what: str, *wanted: str) -> None:
    """Install what others publish, or what is ours."""
    into = ("--python", f"{ENVIRONMENT}/bin/python", "install", "--quiet", "--only-binary", ":all:")
    if what == "needs":
        pip(*into, "--find-links", "/opt/wheels", "--constraint", "constraints.txt", *needs(list(wanted)))
        return
    with tempfile.TemporaryDirectory() as wheels:
        places = [f"./{folder(each)[0]}" for each in wanted]
        pip("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", wheels, *places)
        pip(*into, "--no-deps", *map(str, Path(wheels).iterdir()))


if __name__ == "__main__":
    main(*sys.argv[1:])
