"""Web pages."""

from __future__ import annotations

from pathlib import Path

from bs4 import BeautifulSoup

from ..errors import Unreadable
from ..extracted import Bounds, Extracted
from . import markup
from .decoding import declared


def extract(path: Path, bounds: Bounds) -> Extracted:
    """The text of a page: its main part where it names one. Nothing it refers to is loaded.

    Raises:
        Unreadable: it is nested too deeply.
    """
    data = path.read_bytes()
    page = markup.soup(data.decode(declared(data), errors="replace") if declared(data) else data)
    title = page.title.get_text(" ", strip=True) if page.title else None
    language = page.html.get("lang") if page.html else None
    meta = {
        str(each.get("name") or each.get("property") or "").lower(): str(each.get("content") or "")
        for each in page.find_all("meta")
    }
    main = page.find("main") or page.find("article")
    try:
        whole = markup.markdown(BeautifulSoup(str(main), "lxml") if main else page)
    except RecursionError as error:
        raise Unreadable("too_large", "nests its elements too deeply; save it anew.") from error
    return Extracted(
        markdown=whole,
        title=meta.get("og:title") or title or None,
        author=meta.get("author") or None,
        created=meta.get("article:published_time") or meta.get("date") or None,
        modified=meta.get("article:modified_time") or None,
        language=str(language) if language else None,
    )
