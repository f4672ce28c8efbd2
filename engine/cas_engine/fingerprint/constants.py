"""Constants of code, written in one way only. Pure."""

from __future__ import annotations

import marshal
from typing import Any

# Marshal's second format knows no sharing and no interning: equal constants, equal bytes, with their types.
FORMAT = 2
SIMPLE = frozenset({int, str, float, bool, type(None), bytes, complex, type(...)})


def dumped(value: Any) -> bytes:
    """The bytes of a structure of plain types."""
    return marshal.dumps(value, FORMAT)


def plain(value: object) -> object:
    """A constant as marshal writes it in one way only."""
    kind = type(value)
    if kind in SIMPLE:
        return value
    if kind is tuple:
        return ("tuple", *map(plain, value))  # type: ignore[call-overload]
    if kind is frozenset:
        return ("frozenset", *sorted(dumped(plain(item)) for item in value))  # type: ignore[attr-defined]
    if kind is slice:
        return ("slice", plain(value.start), plain(value.stop), plain(value.step))  # type: ignore[attr-defined]
    return ("constant", repr(value))
