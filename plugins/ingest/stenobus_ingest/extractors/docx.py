"""Word documents, by mammoth: it knows what styles mean, and drops what is only looks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mammoth

from ..archive import check
from ..errors import Unreadable
from ..extracted import Bounds, Extracted
from . import markup, properties


def extract(path: Path, bounds: Bounds) -> Extracted:
    """Headings, lists, tables, notes and links of a document; its images are left out.

    Raises:
        Unreadable: it is damaged or too large.
    """
    check(path, bounds)

    def no_image(image: Any) -> list[Any]:
        return []

    try:
        with path.open("rb") as file:
            result = mammoth.convert_to_html(file, convert_image=no_image, include_embedded_style_map=False)
    except (KeyError, ValueError, OSError, AttributeError, IndexError, SyntaxError) as error:
        raise Unreadable("damaged", "is damaged: it has no readable main part; save it anew.") from error
    return properties.told(path, markup.markdown(result.value))
