"""Durations, ages, counts and states as people say them. Pure."""

from __future__ import annotations

MINUTE, HOUR, DAY = 60, 3600, 86400


def duration(seconds: float) -> str:
    """`0.31 s`, `12.4 s`, `2 min 05 s`, `1 h 12 min`, `3 d 4 h`."""
    if seconds < 9.995:  # what still prints as three digits
        return f"{max(seconds, 0):.2f} s"
    if seconds < MINUTE - 0.05:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < HOUR:
        return f"{whole // MINUTE} min {whole % MINUTE:02d} s"
    if whole < DAY:
        return f"{whole // HOUR} h {whole % HOUR // MINUTE:02d} min"
    return f"{whole // DAY} d {whole % DAY // HOUR} h"


def roughly(number: float) -> str:
    """`3 s`, `2 min`, `1 h 12 min`: a guess must not look like a measurement."""
    if number < MINUTE:
        return f"{max(round(number), 1)} s"
    return f"{round(number / MINUTE)} min" if number < HOUR else duration(number)


def seconds(number: float) -> str:
    """For a column headed so: `0.003`, `1.204`, `12.41`, `125.0`."""
    return f"{number:.3f}" if number < 10 else f"{number:.2f}" if number < 100 else f"{number:.1f}"


def ago(seconds: float) -> str:
    """`just now`, `3 min ago`, `2 h ago`, `5 d ago`."""
    if seconds < 5:
        return "just now"
    for size, word in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min"), (1, "s")):
        if seconds >= size:
            return f"{int(seconds // size)} {word} ago"
    return "just now"


def count(number: int, one: str, many: str = "") -> str:
    """`1 hit`, `3 hits`, `100,000 nodes`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def shorten(text: str, width: int) -> str:
    """One line of at most `width` characters."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: max(width - 1, 0)] + "…"


def size(number: float) -> str:
    """`312 B`, `4.1 kB`, `20.0 GB`: powers of 1000, as disks are sold."""
    if number < 1000:
        return f"{number:.0f} B"
    for unit in ("kB", "MB", "GB"):
        number /= 1000
        if number < 999.95:
            return f"{number:.1f} {unit}"
    return f"{number / 1000:.1f} TB"


def become_of(status: str) -> str:
    """What has become of a dispatch or a node, behind its name: `has failed`."""
    return _BECOME.get(status.lower(), f"is {status.lower()}")


_BECOME = {
    "running": "still runs",
    "failed": "has failed",
    "skipped": "was skipped",
    "cancelled": "was cancelled",
    "interrupted": "was interrupted",
    "pending": "has not begun",
}
