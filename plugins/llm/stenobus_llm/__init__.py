"""Answers ``llm.request``: OpenAI-compatible models, and an extractive provider that needs none."""

from .plugin import plugin

__all__ = ["plugin"]
