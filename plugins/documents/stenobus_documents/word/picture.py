"""Images as DrawingML."""

from __future__ import annotations

import io
from html import escape
from typing import Final

from ..images import Image
from .build import Build
from .xml import Xml

#: English Metric Units of a twentieth of a point.
_EMU: Final = 635
#: The part of a page's height that an image may take, so that its caption stays with it.
_TALLEST: Final = 0.7


def drawing(build: Build, image: Image, description: str) -> Xml:
    """A run with the image in its own size, made smaller where the page has less room."""
    relation, stored = build.document.part.get_or_add_image(io.BytesIO(image.data))
    build.picture += 1
    width, height = int(stored.width), int(stored.height)
    shrink = min(1.0, build.width * _EMU / width, build.height * _EMU * _TALLEST / height)
    size = f'cx="{max(1, int(width * shrink))}" cy="{max(1, int(height * shrink))}"'
    name = f'id="{build.picture}" name="Picture {build.picture}" descr="{escape(description)}"'
    return (
        f'<w:r><w:drawing><wp:inline distT="0" distB="0" distL="0" distR="0"><wp:extent {size}/>'
        f'<wp:docPr {name}/><wp:cNvGraphicFramePr><a:graphicFrameLocks noChangeAspect="1"/></wp:cNvGraphicFramePr>'
        '<a:graphic><a:graphicData uri="http://schemas.openxmlformats.org/drawingml/2006/picture"><pic:pic>'
        f"<pic:nvPicPr><pic:cNvPr {name}/><pic:cNvPicPr/></pic:nvPicPr>"
        f'<pic:blipFill><a:blip r:embed="{relation}"/><a:stretch><a:fillRect/></a:stretch></pic:blipFill>'
        f'<pic:spPr><a:xfrm><a:off x="0" y="0"/><a:ext {size}/></a:xfrm>'
        '<a:prstGeom prst="rect"><a:avLst/></a:prstGeom></pic:spPr></pic:pic></a:graphicData></a:graphic>'
        "</wp:inline></w:drawing></w:r>"
    )
