"""Files that are not what they should be: one clear error each, and nothing worse."""

from __future__ import annotations

import asyncio
import io
import random
import struct
import zipfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

import pytest

from stenobus_ingest.detect import detect
from stenobus_ingest.errors import Unreadable
from stenobus_ingest.extracted import Bounds
from stenobus_ingest.formats import Format
from stenobus_ingest.reader import Overdue, Reader, Reading

from .conftest import WORD, pdf

Read = Callable[..., Awaitable[Reading]]

GIB: Final = 1 << 30


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Read bytes under a name."""

    async def read(
        data: bytes, name: str, content_type: str | None = None, *, memory: int = GIB, seconds: int = 30, **bounds: int
    ) -> Reading:
        path = tmp_path / "document"
        path.write_bytes(data)
        return await Reader(Bounds(**bounds), memory, seconds).read(path, name, content_type)

    return read


async def refused(reading: Awaitable[Reading]) -> tuple[str, str]:
    with pytest.raises(Unreadable) as error:
        await reading
    return error.value.reason, str(error.value)


def repacked(data: bytes, change: Callable[[str, bytes], bytes | None], more: Mapping[str, bytes] = {}) -> bytes:
    """An archive whose parts were changed."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            if (part := change(name, old.read(name))) is not None:
                new.writestr(name, part)
        for name, part in more.items():
            new.writestr(name, part)
    return target.getvalue()


@pytest.mark.parametrize(
    ("name", "start", "expected"),
    [
        ("docx", "# Disk space policy", "| alpha | 90 % |"),
        ("pptx", "## Quarterly review", "| 2026 | 42 |"),
        ("xlsx", "## Stock", f"| {WORD} | 3 | 2026-01-31 |"),
        ("pdf", "## Page 1", "## Page 2"),
        ("html", "# Horario", "- lunes"),
        ("eml", "# Prüfung der Pumpe", "- pump.bin"),
        ("csv", "| name | size |", "| a; b | 2 |"),
        ("md", "# Restart", "Drain it"),
        ("txt", "Minutes of", WORD),
    ],
)
async def test_every_format_is_read(
    read: Read, samples: Mapping[str, bytes], name: str, start: str, expected: str
) -> None:
    reading = await read(samples[name], f"file.{name}")
    assert reading.markdown.startswith(start) and expected in reading.markdown and WORD in reading.markdown


async def test_what_nobody_is_meant_to_see_is_left_out(read: Read, samples: Mapping[str, bytes]) -> None:
    page = (await read(samples["html"], "page.html")).markdown
    assert "alert" not in page and "Ignore" not in page and "color" not in page and "Inicio" not in page
    assert "salary" not in (await read(samples["xlsx"], "book.xlsx")).markdown


async def test_a_word_cut_by_the_end_of_a_line_is_whole_again(read: Read) -> None:
    from reportlab.pdfgen.canvas import Canvas

    target = io.BytesIO()
    canvas = Canvas(target)
    canvas.drawString(72, 720, "The temper-")
    canvas.drawString(72, 700, "ature rose.")
    canvas.save()
    assert "temperature rose" in (await read(target.getvalue(), "a.pdf")).markdown


async def test_the_content_tells_the_format_where_nothing_else_does(read: Read, samples: Mapping[str, bytes]) -> None:
    for name in ("docx", "pptx", "xlsx", "pdf", "html"):
        assert (await read(samples[name], "0a1b2c")).format == name


@pytest.mark.parametrize(
    ("sample", "name", "content_type", "said"),
    [
        ("html", "report.docx", None, "is Word document (DOCX) by its name .docx, but HTML page by its content"),
        ("pdf", "report.docx", None, "but PDF by its content"),
        ("docx", "report.xlsx", None, "but Word document (DOCX) by its content"),
        ("pdf", "notes.md", None, "is Markdown by its name .md, but PDF by its content"),
        ("pdf", "report", "text/html", "is HTML page by its media type text/html, but PDF by its content"),
        ("pdf", "report.pdf", "text/html", "is PDF by its name .pdf, but HTML page by its media type text/html"),
    ],
)
async def test_name_type_and_content_have_to_agree(
    read: Read, samples: Mapping[str, bytes], sample: str, name: str, content_type: str | None, said: str
) -> None:
    reason, message = await refused(read(samples[sample], name, content_type))
    assert reason == "mismatch" and said in message


@pytest.mark.parametrize("name", ["a.pdf", "a.docx", "a.html", "a.eml", "a.csv", "a.md", "a"])
@pytest.mark.parametrize("data", [b"", b" \r\n\t", b"\xef\xbb\xbf\n"])
async def test_empty_files_are_called_so(read: Read, name: str, data: bytes) -> None:
    assert (await refused(read(data, name)))[0] == "empty"


async def test_a_document_without_text_is_called_so(read: Read) -> None:
    assert (await refused(read(b"<html><body><img src=a.png></body></html>", "a.html")))[0] == "empty"
    from reportlab.pdfgen.canvas import Canvas

    target = io.BytesIO()
    canvas = Canvas(target)
    canvas.rect(10, 10, 100, 100)
    canvas.save()
    reason, message = await refused(read(target.getvalue(), "scan.pdf"))
    assert reason == "empty" and "OCR" in message


async def test_files_behind_a_password_are_called_so(read: Read, samples: Mapping[str, bytes]) -> None:
    assert (await refused(read(pdf(password="secret"), "a.pdf")))[0] == "encrypted"
    # what Office makes: an OLE file whose directory has the stream EncryptedPackage
    ole = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(1016) + "EncryptedPackage".encode("utf-16-le") + bytes(512)
    assert (await refused(read(ole, "a.docx")))[0] == "encrypted"
    locked = bytearray(samples["docx"])
    for at in range(len(locked) - 4):  # the flag "encrypted" of every part, in both directories of the archive
        if locked[at : at + 4] == b"PK\3\4":
            locked[at + 6] |= 1
        elif locked[at : at + 4] == b"PK\1\2":
            locked[at + 8] |= 1
    assert (await refused(read(bytes(locked), "a.docx")))[0] == "encrypted"


def test_a_format_of_others_is_told_by_a_part_of_its_archive(tmp_path: Path) -> None:
    odt = Format("odt", "OpenDocument", "content.xml", ("odt",), ("application/x-odt",), "acme:extract")
    path = tmp_path / "document"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("content.xml", "x")
    assert detect(path, "plan", None, {"odt": odt}) is odt and detect(path, "plan.odt", None, {"odt": odt}) is odt


@pytest.mark.parametrize(("name", "advice"), [("a.doc", "save it as DOCX"), ("a.xls", "XLSX"), ("a.msg", "EML")])
async def test_old_formats_come_with_advice(read: Read, name: str, advice: str) -> None:
    reason, message = await refused(read(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(2000), name))
    assert reason == "unsupported" and advice in message


async def test_a_zip_archive_is_no_document(read: Read) -> None:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("photos/1.txt", "x")
    reason, message = await refused(read(target.getvalue(), "photos"))
    assert reason == "unsupported" and "a ZIP archive" in message


@pytest.mark.parametrize("suffix", ["docx", "pptx", "xlsx"])
async def test_a_bomb_in_an_archive_is_not_unpacked(read: Read, samples: Mapping[str, bytes], suffix: str) -> None:
    bomb = repacked(samples[suffix], lambda _, part: part, {"bomb.bin": bytes(64 << 20)})
    assert len(bomb) < 1 << 20
    reason, message = await refused(read(bomb, f"a.{suffix}"))
    assert reason == "too_large" and "300 to 1" in message
    reason, message = await refused(read(bomb, f"a.{suffix}", ratio=10_000, unpacked=1 << 20))
    assert reason == "too_large" and "max_unpacked_bytes" in message


async def test_the_size_that_an_archive_claims_does_not_count(read: Read, samples: Mapping[str, bytes]) -> None:
    bomb = bytearray(repacked(samples["docx"], lambda _, part: part, {"bomb.bin": bytes(64 << 20)}))
    at = bomb.rindex(b"PK\1\2")
    while not bomb[at + 46 :].startswith(b"bomb.bin"):
        at = bomb.rindex(b"PK\1\2", 0, at)
    bomb[at + 24 : at + 28] = struct.pack("<I", 100)
    assert (await refused(read(bytes(bomb), "a.docx")))[0] in {"too_large", "damaged"}


async def test_an_archive_of_too_many_parts_is_refused(read: Read, samples: Mapping[str, bytes]) -> None:
    many = repacked(samples["docx"], lambda _, part: part, {f"part{number}": b"" for number in range(300)})
    reason, message = await refused(read(many, "a.docx", parts=200))
    assert reason == "too_large" and "parts" in message


@pytest.mark.parametrize(("suffix", "part"), [("docx", "word/document.xml"), ("xlsx", "xl/workbook.xml")])
async def test_entities_that_stand_for_each_other_are_refused(
    read: Read, samples: Mapping[str, bytes], suffix: str, part: str
) -> None:
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    bomb = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY l0 "lol">{laughs}]><x>&l9;</x>'.encode()
    for encoded in (bomb, bomb.decode().encode("utf-16")):
        packed = repacked(samples[suffix], lambda name, old, new=encoded: new if name == part else old)
        reason, message = await refused(read(packed, f"a.{suffix}"))
        assert reason == "damaged" and "entities" in message


async def test_a_file_outside_is_not_read_by_way_of_an_entity(read: Read, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("swordfish")
    page = f'<!DOCTYPE html [<!ENTITY x SYSTEM "{secret.as_uri()}">]><html><body>got &x;</body></html>'
    assert "swordfish" not in (await read(page.encode(), "a.html")).markdown


async def test_pages_rows_and_characters_have_bounds(read: Read, samples: Mapping[str, bytes]) -> None:
    assert "max_pages" in (await refused(read(pdf(pages=4), "a.pdf", pages=3)))[1]
    assert "max_pages" in (await refused(read(samples["pptx"], "a.pptx", pages=1)))[1]
    assert "max_pages" in (await refused(read(samples["xlsx"], "a.xlsx", pages=1)))[1]
    assert "max_rows" in (await refused(read(samples["xlsx"], "a.xlsx", rows=2)))[1]
    assert "max_rows" in (await refused(read(samples["csv"], "a.csv", rows=2)))[1]
    assert "max_characters" in (await refused(read(b"# A\n" + b"word " * 500, "a.md", characters=2000)))[1]


async def test_nesting_without_end_is_refused(read: Read) -> None:
    page = b"<html><body>" + b"<div>" * 20_000 + b"deep" + b"</div>" * 20_000
    try:
        assert "deep" in (await read(page, "a.html")).markdown
    except Unreadable as error:
        assert error.reason == "too_large"
    mail = b"Subject: x\nContent-Type: text/plain\n\ndeep\n"
    for _ in range(40):
        mail = b"Subject: x\nContent-Type: message/rfc822\n\n" + mail
    assert (await refused(read(mail, "a.eml")))[0] == "too_large"


async def test_a_reader_that_eats_memory_ends_with_its_document(read: Read) -> None:
    wide = b"<html><body>" + b"<p>a</p>" * 200_000 + b"</body></html>"
    reason, message = await refused(read(wide, "a.html", memory=200 << 20))
    assert reason == "too_large" and "memory" in message


async def test_a_reader_that_computes_without_end_is_ended(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stenobus_ingest.reader._PATIENCE", 60)
    wide = b"<html><body>" + b"<p>a</p>" * 2_000_000 + b"</body></html>"
    reason, message = await refused(read(wide, "a.html", memory=8 * GIB, seconds=1))
    assert reason == "too_large" and "computing" in message


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Installs another distribution's extractor for .acme files, given what it does."""

    def install(*lines: str) -> None:
        package = tmp_path / "site"
        (package / "acme-1.dist-info").mkdir(parents=True)
        (package / "acme-1.dist-info" / "METADATA").write_text("Name: acme\nVersion: 1\n")
        points = "[stenobus.extractors]\nacme = acme_format:acme\n"
        (package / "acme-1.dist-info" / "entry_points.txt").write_text(points)
        (package / "acme_format.py").write_text(
            "import os, signal, threading\n"
            "from stenobus_ingest.extracted import Extracted\n"
            "from stenobus_ingest.formats import Format\n"
            "acme = Format('acme', 'Acme', 'text', ('acme',), ('text/x-acme',), 'acme_format:extract')\n"
            "def extract(path, bounds):\n" + "".join(f"    {line}\n" for line in lines)
        )
        monkeypatch.syspath_prepend(str(package))

    return install


async def test_the_reading_process_knows_no_secret(
    read: Read, monkeypatch: pytest.MonkeyPatch, acme: Callable[..., None]
) -> None:
    acme(
        "print('noise on standard output')",
        "return Extracted(markdown=' '.join(os.environ) + ' ' + path.read_text())",
    )
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "swordfish")
    reading = await read(b"hello", "a.acme")
    assert reading.format == "acme" and reading.markdown.endswith("hello") and "AWS" not in reading.markdown


@pytest.mark.parametrize(
    ("does", "said"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("os._exit(3)", "exit code 3"),
        ("os._exit(0)", "exit code 0"),
    ],
)
async def test_a_reader_that_breaks_takes_nobody_with_it(
    read: Read, acme: Callable[..., None], does: str, said: str
) -> None:
    acme(does)
    reason, message = await refused(read(b"hello", "a.acme"))
    assert reason == "crashed" and said in message


async def test_a_reader_that_hangs_is_ended(
    read: Read, acme: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stenobus_ingest.reader._PATIENCE", 3)
    acme("threading.Event().wait()")
    with pytest.raises(Overdue):
        await read(b"hello", "a.acme", seconds=1)


#: Wrong files per format.
MUTANTS: Final = 6
CLEAR: Final = frozenset({"damaged", "empty", "mismatch", "unsupported", "too_large", "encrypted"})


def mutated(data: bytes, rng: random.Random) -> bytes:
    """A file that was cut off, or in which bytes were changed, lost, doubled or shuffled."""
    changed = bytearray(data)
    match rng.randrange(5):
        case 0:
            return data[: rng.randrange(1, len(data))]
        case 1:
            for _ in range(rng.randrange(1, 20)):
                changed[rng.randrange(len(changed))] = rng.randrange(256)
        case 2:
            start = rng.randrange(len(changed))
            del changed[start : start + rng.randrange(1, 200)]
        case 3:
            start = rng.randrange(len(changed))
            changed[start:start] = changed[start : start + rng.randrange(1, 200)]
        case _:
            start, length = rng.randrange(len(changed)), rng.randrange(1, 100)
            changed[start : start + length] = rng.randbytes(length)
    return bytes(changed)


def inside(data: bytes, rng: random.Random) -> bytes:
    """An archive that is sound, but one of whose parts is not."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        victim = rng.choice([name for name in archive.namelist() if name.endswith((".xml", ".rels"))])
    return repacked(data, lambda name, part: mutated(part, rng) if name == victim else part)


@pytest.mark.timeout(200)
@pytest.mark.parametrize("suffix", ["docx", "pptx", "xlsx", "pdf", "html", "eml", "csv", "md"])
async def test_a_damaged_file_is_read_or_refused_but_never_breaks_its_reader(
    samples: Mapping[str, bytes], tmp_path: Path, suffix: str
) -> None:
    rng = random.Random(f"seed {suffix}")
    cases = [mutated(samples[suffix], rng) for _ in range(MUTANTS)]
    if suffix in {"docx", "pptx", "xlsx"}:
        cases += [inside(samples[suffix], rng) for _ in range(2 * MUTANTS)]
    reader, hands = Reader(Bounds(), GIB, 20), asyncio.Semaphore(2)

    async def outcome(number: int, data: bytes) -> str:
        path = tmp_path / str(number)
        path.write_bytes(data)
        async with hands:
            try:
                reading = await reader.read(path, f"a.{suffix}", None)
            except Unreadable as error:
                assert error.reason in CLEAR, f"case {number}: {error}"
                return error.reason
        assert reading.markdown.strip()
        return "read"

    found = await asyncio.gather(*(outcome(number, data) for number, data in enumerate(cases)))
    assert len(found) == len(cases)
