"""Presentations, by python-pptx."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from lxml.etree import XMLSyntaxError  # type: ignore[import-untyped]
from pptx import Presentation
from pptx.exc import PythonPptxError

from ..archive import check
from ..errors import Unreadable
from ..extracted import Bounds, Extracted
from . import properties, table


def extract(path: Path, bounds: Bounds) -> Extracted:
    """Every slide under its title, with tables and the speaker's notes.

    Raises:
        Unreadable: it is damaged or has too many slides.
    """
    check(path, bounds)
    try:
        slides = Presentation(str(path)).slides
        bounds.pages_read(len(slides))
        parts = [_slide(number, slide) for number, slide in enumerate(slides, start=1)]
    except (PythonPptxError, XMLSyntaxError, BadZipFile, KeyError, ValueError, AttributeError, IndexError) as error:
        raise Unreadable("damaged", "is damaged: its slides cannot be read; save it anew.") from error
    return properties.told(path, "\n\n".join(parts), len(parts))


def _slide(number: int, slide: Any) -> str:
    title = slide.shapes.title
    heading = " ".join(title.text_frame.text.split()) if title is not None else ""
    parts = [f"## {heading or f'Slide {number}'}"]
    for shape in _shapes(slide.shapes, 0):
        if title is not None and shape.shape_id == title.shape_id:
            continue
        if shape.has_text_frame:
            parts += _paragraphs(shape.text_frame)
        elif getattr(shape, "has_table", False):
            parts.append(table.markdown([cell.text for cell in row.cells] for row in shape.table.rows))
    if slide.has_notes_slide and (notes := slide.notes_slide.notes_text_frame) is not None and notes.text.strip():
        parts += ["### Notes", notes.text.strip()]
    return "\n\n".join(part for part in parts if part)


def _shapes(shapes: Any, depth: int) -> Iterator[Any]:
    """Shapes in reading order: from the top, then from the left; groups opened."""
    placed = sorted(shapes, key=lambda shape: (shape.top or 0, shape.left or 0))
    for shape in placed:
        if hasattr(shape, "shapes") and depth < 20:
            yield from _shapes(shape.shapes, depth + 1)
        else:
            yield shape


def _paragraphs(frame: Any) -> list[str]:
    """Paragraphs of a text frame; more than one are the points of a list."""
    lines = [(paragraph.level, " ".join(paragraph.text.split())) for paragraph in frame.paragraphs]
    lines = [(level, text) for level, text in lines if text]
    if len(lines) == 1:
        return [lines[0][1]]
    return ["\n".join(f"{'  ' * level}- {text}" for level, text in lines)] if lines else []
