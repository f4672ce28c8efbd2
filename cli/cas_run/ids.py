"""Which texts mean a dispatch, and how ids are shown. Pure."""

from __future__ import annotations

import re

_FULL = re.compile(r"[0-9a-f]{32}")
_ID = re.compile(r"@.*|[0-9a-fA-F]{1,32}")


def looks_like_id(text: str) -> bool:
    """An id, the beginning of one, or @last; else it is a file or a module."""
    return _ID.fullmatch(text) is not None


def is_full(text: str) -> bool:
    """All of an id, which needs no looking up."""
    return _FULL.fullmatch(text) is not None


def short_id(dispatch_id: str) -> str:
    """Twelve digits: enough to type, and unique among tens of millions."""
    return dispatch_id[:12]
