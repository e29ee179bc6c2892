"""The monitor's evaluation: real faults in real containers, scored without a model; ``stenobus monitor eval``.

This alone writes to the engine, and only to what it made itself: containers, networks and volumes under a prefix that
it always removes, and one image. The monitor knows nothing of it.
"""
