"""Moved to the conformance kit."""

from stenobus_testing.waiting import DEADLINE, Gate, eventually, still

__all__ = ["DEADLINE", "Gate", "eventually", "still"]
