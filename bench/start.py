"""How long a command takes to start: `stenobus --help`, and what `stenobus search` loads before it looks.

python bench/start.py [--rounds 9]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

STARTS = {
    "python alone": "pass",
    "stenobus --help": "from stenobus_core.cli import cli; cli.main(['--help'], standalone_mode=False)",
    "stenobus search": "import stenobus_kb.search_command",
}


def main(rounds: int) -> None:
    for label, code in STARTS.items():
        seconds = []
        for _ in range(rounds):
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=True)
            seconds.append(time.perf_counter() - began)
        print(f"{label:<16} {statistics.median(seconds):.3f} s  ({min(seconds):.3f}–{max(seconds):.3f})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    main(**vars(parser.parse_args()))
