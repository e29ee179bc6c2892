"""Structured logs: JSON for machines, colours for a terminal. Always on stderr: stdout belongs to results."""

from __future__ import annotations

import logging
import sys

import structlog

from .settings import CoreSettings


def configure(settings: CoreSettings, level: str | None = None) -> None:
    """Set up logging for a process.

    Args:
        level: instead of the setting.
    """
    threshold = getattr(logging, (level or settings.log_level).upper())
    human = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            *([] if human else [structlog.processors.format_exc_info]),
            # rich's tracebacks show local variables, which may be secrets
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
            if human
            else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=max(threshold, logging.WARNING), stream=sys.stderr, format="%(name)s: %(message)s")
