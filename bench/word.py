"""How long a DOCX of a hundred pages takes, ours beside pandoc, and how many features of a document each carries.

python bench/word.py [--sections 120] [--runs 5] [--keep DIR]

The contestants take turns on the same Markdown, wall clock, from text to the bytes of the file:

ours            this package in a process that runs, as the output stage does
ours, started   the same in a new Python process, its imports included
by pandoc       our backend on pandoc: our parser, styles, cover and checks around it
pandoc          the program alone, as one would call it: --from markdown --toc

Pages are those that LibreOffice counts. Features are those of tests/documents/features.py; pandoc alone reads images
from files, and gets the template as its reference document.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from stenobus_documents.manuscript import Manuscript  # noqa: E402
from stenobus_documents.word import Look, pandoc, render  # noqa: E402
from tests.documents.features import FEATURES, LOOK, PICTURE, Feature, File  # noqa: E402
from tests.documents.long import markdown  # noqa: E402

STARTED = (
    "import sys\nfrom stenobus_documents.manuscript import Manuscript\n"
    "from stenobus_documents.word import Look, render\n"
    "sys.stdout.buffer.write(render(Manuscript.read(sys.stdin.read()), Look()).docx)"
)


def alone(text: str, folder: Path, *options: str) -> bytes:
    """What the program makes of the text."""
    command = [pandoc.program(), "--from=markdown", "--to=docx", "--toc", "--output=-", *options]
    return subprocess.run(command, input=text.encode(), capture_output=True, check=True, cwd=folder).stdout


def carried_alone(feature: Feature, folder: Path) -> bool:
    """Whether the program by itself carries a feature."""
    picture = LOOK.pictures[PICTURE]
    (folder / "picture.png").write_bytes(picture.data)
    options = []
    if feature.template:
        (folder / "template.docx").write_bytes(feature.template)
        options.append("--reference-doc=template.docx")
    made = File(alone(feature.markdown.replace(PICTURE, "picture.png"), folder, *options))
    return _holds(feature, made)


def _holds(feature: Feature, made: File) -> bool:
    try:
        return feature.file(made)
    except (LookupError, ValueError):  # what the check looks into is not there at all
        return False


def pages(docx: bytes, folder: Path) -> int | None:
    """Pages as LibreOffice counts them; None where it is not installed."""
    if not (shutil.which("soffice") and shutil.which("pdfinfo")):
        return None
    (folder / "made.docx").write_bytes(docx)
    profile = f"-env:UserInstallation=file://{folder}/profile"
    convert = [
        "soffice",
        profile,
        "--headless",
        "--convert-to",
        "pdf",
        "--outdir",
        str(folder),
        str(folder / "made.docx"),
    ]
    subprocess.run(convert, check=True, capture_output=True, timeout=300)
    told = subprocess.run(["pdfinfo", str(folder / "made.pdf")], check=True, capture_output=True, text=True).stdout
    return int(next(line.split()[1] for line in told.splitlines() if line.startswith("Pages")))


def main() -> None:
    """Print a table."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--sections", type=int, default=120)
    options.add_argument("--runs", type=int, default=5)
    options.add_argument("--keep", type=Path, help="folder for the files that are made")
    chosen = options.parse_args()
    text = markdown(chosen.sections)
    with tempfile.TemporaryDirectory(prefix="stenobus-bench-") as name:
        folder = Path(name)
        contestants: dict[str, Callable[[], bytes]] = {
            "ours": lambda: render(Manuscript.read(text), Look()).docx,
            "ours, started": lambda: (
                subprocess.run(
                    [sys.executable, "-c", STARTED], input=text.encode(), capture_output=True, check=True
                ).stdout
            ),
            "by pandoc": lambda: pandoc.render(Manuscript.read(text), Look()).docx,
            "pandoc": lambda: alone(text, folder),
        }
        features = {
            "ours": sum(_carried(render, feature) for feature in FEATURES.values()),
            "by pandoc": sum(_carried(pandoc.render, feature) for feature in FEATURES.values()),
            "pandoc": sum(carried_alone(feature, folder) for feature in FEATURES.values()),
        }
        made: dict[str, bytes] = {}
        times: dict[str, list[float]] = {each: [] for each in contestants}
        for _ in range(chosen.runs):
            for each, contestant in contestants.items():
                started = time.perf_counter()
                made[each] = contestant()
                times[each].append(time.perf_counter() - started)
        print(f"{len(text) / 1000:.0f} KB of Markdown, {chosen.runs} runs; {pandoc.version()}")
        print(
            f"{'':<16}{'median s':>10}{'best s':>10}{'of pandoc':>11}{'pages':>8}{'KB':>7}  features of {len(FEATURES)}"
        )
        whole = statistics.median(times["pandoc"])
        for each, taken in times.items():
            median = statistics.median(taken)
            count = pages(made[each], folder) if each in features else None
            told = f"{count or '':>8}{len(made[each]) // 1000:>7}  {features.get(each, '')}"
            print(f"{each:<16}{median:>10.3f}{min(taken):>10.3f}{median / whole:>11.2f}{told}")
        if chosen.keep:
            chosen.keep.mkdir(parents=True, exist_ok=True)
            for each, data in made.items():
                (chosen.keep / f"{each.replace(', ', '-').replace(' ', '-')}.docx").write_bytes(data)


def _carried(backend: Callable[..., object], feature: Feature) -> bool:
    rendered = backend(Manuscript.read(feature.markdown), replace(LOOK, template=feature.template))
    return _holds(feature, File(rendered.docx))


if __name__ == "__main__":
    main()
