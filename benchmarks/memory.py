"""How much memory this process has, for the scripts that measure themselves. Any Python that a contender needs."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")


def peak() -> int:
    """The most that was resident, in bytes.

    Not what `getrusage` says where there is another source: that starts from the size of the process that started this
    one, so that a harness of 300 MB makes each of its scripts one of 300 MB.
    """
    told = _told("VmHWM:")
    return told or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def resident() -> int:
    """What is resident now, in bytes; 0 where the system does not tell."""
    return _told("VmRSS:")


def own() -> int:
    """That part of it that is no file's; 0 where the system does not tell."""
    return _told("RssAnon:")


def _told(name: str) -> int:
    lines = _STATUS.read_text().splitlines() if _STATUS.exists() else []
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith(name))
