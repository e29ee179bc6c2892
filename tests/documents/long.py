"""A technical document of any length."""

from __future__ import annotations

import random

WORDS = """the server kept a deleted file open so nobody saw where the space went until we listed what each process
holds disk rotation service restart portal cache queue index replica timeout certificate latency gateway snapshot"""
CODE = '''def free(path: str, least: int = 10) -> int:
    """Bytes that are free, asked of the file system."""
    # a deleted file counts until its last reader is gone
    found = os.statvfs(path)
    if found.f_bavail * found.f_frsize < least << 30:
        raise RuntimeError(f"{path} has less than {least} GB")
    return found.f_bavail * found.f_frsize'''
SHELL = "sudo lsof -nP +L1 | sort -k7 -n | tail -5\ndf -h /var/log\nsystemctl restart portal.service"


def markdown(sections: int) -> str:
    """A technical document: prose, lists, tables, code, quotes, notes, links; nearly a page for each section."""
    chance = random.Random(7)

    def prose(least: int, most: int) -> str:
        return " ".join(chance.choices(WORDS.split(), k=chance.randint(least, most))).capitalize() + "."

    parts = [
        '---\ntitle: "The portal, its disks and what fills them"\nsource: "file:///talks/portal.mp4"\nlanguage: "en"\n'
        'method: "model"\n---\n\n# The portal, its disks and what fills them\n'
    ]
    for number in range(sections):
        at = f"[00:{number % 60:02d}:07](file:///talks/portal.mp4#t={number * 60 + 7})"
        rows = "\n".join(
            f"| `E{number:03d}{row}` | {prose(4, 9)} | {prose(6, 14)} {at} | {chance.randint(1, 900)} |"
            for row in range(chance.randint(3, 6))
        )
        parts.append(
            f"## Finding {number + 1}\n\n{prose(40, 70)} It is **not** the `rotate` job, see "
            f"[above](#finding-1).[^{number}]\n\n### How it was found\n\n{prose(25, 45)} {at}\n\n"
            f"1. {prose(8, 14)}\n2. {prose(8, 14)}\n"
            f"    - {prose(5, 9)}\n    - {prose(5, 9)} {at}\n3. {prose(8, 14)}\n\n"
            f"| Code | Symptom | Diagnosis | Times |\n|:--|---|---|--:|\n{rows}\n\n"
            f"```{'python' if number % 2 else 'bash'}\n{CODE if number % 2 else SHELL}\n```\n\n"
            f"> {prose(12, 24)} {at}\n\n- [x] {prose(4, 8)}\n- [ ] {prose(4, 8)}\n\n[^{number}]: {prose(6, 12)}\n"
        )
    return "\n".join(parts)
