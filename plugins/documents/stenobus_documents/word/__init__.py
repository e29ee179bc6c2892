"""Markdown to DOCX, by two backends behind one port: our own, which is always there, and pandoc."""

from .look import Backend, Look, Rendered
from .render import render
from .template import TemplateError
from .validate import InvalidDocument

__all__ = ["Backend", "InvalidDocument", "Look", "Rendered", "TemplateError", "render"]
