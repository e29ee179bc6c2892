"""Speech to text: ``media.uploaded`` comes in, ``asr.done`` goes out."""

from .plugin import plugin

__all__ = ["plugin"]
