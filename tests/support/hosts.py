"""Moved to the conformance kit."""

from stenobus_testing.stage import Stage, stage, unique

__all__ = ["Stage", "stage", "unique"]
