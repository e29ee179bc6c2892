"""Markdown to DOCX: markdown-it's tree walked into python-docx, byte for byte the same for the same Markdown."""

from .render import Rendered, render

__all__ = ["Rendered", "render"]
