"""What JSON holds of a value without loss, if it is not too much. Pure."""

from __future__ import annotations

import math

MOST_BITS = 10_000  # Python itself refuses to write and to read longer integers
NOT_JSON = object()


def plain(value: object, items: int) -> object:
    """The value as `json` takes it, a tuple as a list, numpy's scalars as Python's; NOT_JSON for others, and for more
    than so many items.
    """
    try:
        return _plain(value, [items])
    except RecursionError:  # it contains itself
        return NOT_JSON


def _plain(value: object, budget: list[int]) -> object:
    budget[0] -= 1
    if budget[0] < 0:
        return NOT_JSON
    if value is None or type(value) in (bool, str):
        return value
    if type(value) is int:
        return value if value.bit_length() < MOST_BITS else NOT_JSON
    if isinstance(value, float):  # numpy's float64 is one
        return float(value) if math.isfinite(value) else NOT_JSON
    if type(value).__module__ == "numpy" and hasattr(value, "item") and getattr(value, "shape", None) == ():
        return _plain(value.item(), budget)
    if type(value) in (list, tuple):
        found: list[object] = []
        for item in value:  # type: ignore[attr-defined]
            found.append(_plain(item, budget))
            if found[-1] is NOT_JSON:
                return NOT_JSON
        return found
    if type(value) is dict and all(type(key) is str for key in value):
        named: dict[str, object] = {}
        for key, item in value.items():
            named[key] = _plain(item, budget)
            if named[key] is NOT_JSON:
                return NOT_JSON
        return named
    return NOT_JSON
