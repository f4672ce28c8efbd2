"""What became of a dispatch, in a word. Pure."""

from __future__ import annotations

from enum import Enum


class Status(str, Enum):
    """What became of a dispatch."""

    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    INTERRUPTED = "INTERRUPTED"  # its process is gone, and it was not done

    def __str__(self) -> str:
        return self.value

    @property
    def is_final(self) -> bool:
        """Whether nothing more will come of it."""
        return self is not Status.RUNNING
