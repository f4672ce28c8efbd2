"""How much a store may hold and for how long, as people say it: `20GB`, `30d`. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cas_engine.errors import BadOption

_SIZES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_MOST = 2**63 - 1
_TIMES = {"s": 1, "min": 60, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "y": 365 * 86400}


@dataclass(frozen=True, slots=True)
class Limits:
    """What a collection has to bring about; without a size and an age only what nothing needs goes.

    max_size    bytes of blobs
    older_than  seconds since a result was last of use
    keep_last   dispatches of each lattice whose results stay, whatever the rest says
    """

    max_size: int | None = None
    older_than: float | None = None
    keep_last: int = 1


def checked_limits(max_size: int | str | None, older_than: float | str | None, keep_last: int) -> Limits:
    """The limits that were meant. Raises BadOption."""
    if isinstance(keep_last, bool) or not isinstance(keep_last, int) or keep_last < 0:
        raise BadOption(f"keep_last={keep_last!r} is not a count\n  -> give a whole number from 0")
    return Limits(
        None if max_size is None else size_of(max_size), None if older_than is None else age_of(older_than), keep_last
    )


def size_of(said: float | str) -> int:
    """Bytes: a number, or a text such as 500MB, 20 GB, 1.5GiB. Raises BadOption."""
    text = str(said).strip().lower()
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?", text)
    if found is None or found[2] not in _SIZES or isinstance(said, bool):
        raise BadOption(f"`{said}` is not a size\n  -> say for instance 500MB, 20GB or 1.5TiB")
    return int(min(float(found[1]) * _SIZES[found[2]], _MOST))


def age_of(said: float | str) -> float:
    """Seconds: a number, or a text such as 12h, 30d, 2w. Raises BadOption."""
    text = str(said).strip().lower()
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|min|m|h|d|w|y)?", text)
    if found is None or isinstance(said, bool) or (isinstance(said, str) and found[2] is None and float(found[1])):
        raise BadOption(f"`{said}` is not a length of time\n  -> say for instance 12h, 30d or 2w")
    return float(found[1]) * _TIMES[found[2] or "s"]
