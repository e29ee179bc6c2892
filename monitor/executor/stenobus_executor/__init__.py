"""The one process that holds the container engine's socket: it reads without secrets, and writes in two ways."""
