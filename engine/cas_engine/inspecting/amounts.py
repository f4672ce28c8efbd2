"""How much two results differ, where that is a question of numbers. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any


def amount(a: Any, b: Any) -> str:
    """`24 → 36 (+12)`; of arrays, frames and containers the largest difference and where it is."""
    if _is_number(a) and _is_number(b):
        return f"{a:.6g} → {b:.6g} ({b - a:+.6g})"
    found = _differences(a, b, "", 0)
    if found is None:
        return ""
    largest, where, count = found
    if not count:
        return ""
    at = f" at {where}" if where else ""
    more = f", {count:,} numbers differ" if count > 1 else ""
    return f"by at most {largest:.6g}{at}{more}"


_Found = tuple[float, str, int]  # the largest difference, where, how many numbers differ


def _differences(a: Any, b: Any, where: str, depth: int) -> _Found | None:
    """None where something else than numbers differs."""
    if _is_number(a) and _is_number(b):
        gap = abs(float(b) - float(a))
        same = a == b or (math.isnan(a) and math.isnan(b))
        return (0.0, where, 0) if same else (math.inf if math.isnan(gap) else gap, where, 1)
    if type(a) is not type(b) or depth > 6:
        return None
    if isinstance(a, dict):
        if a.keys() != b.keys():
            return None
        return _largest([_differences(a[key], b[key], f"{where}[{key!r}]", depth + 1) for key in a])
    if isinstance(a, (list, tuple)):
        if len(a) != len(b):
            return None
        pairs = enumerate(zip(a, b, strict=True))
        return _largest([_differences(x, y, f"{where}[{i}]", depth + 1) for i, (x, y) in pairs])
    array = getattr(a, "to_numpy", None)
    if callable(array) and getattr(a, "shape", None) == getattr(b, "shape", None):
        names = [list(getattr(one, "columns", ())) for one in (a, b)]
        if names[0] != names[1]:
            return None
        if names[0]:
            return _largest([_differences(a[n], b[n], f"{where}[{n!r}]", depth + 1) for n in names[0]])
        return _array_differences(array(), b.to_numpy(), where)
    if hasattr(a, "__array__") and hasattr(a, "dtype"):
        return _array_differences(a, b, where)
    try:
        return (0.0, where, 0) if bool(a == b) else None
    except Exception:  # noqa: BLE001 - a user's own comparison
        return None


def _array_differences(a: Any, b: Any, where: str) -> _Found | None:
    if a.shape != b.shape:
        return None
    if a.dtype.kind not in "fiucb" or b.dtype.kind not in "fiucb":
        return (0.0, where, 0) if bool((a == b).all()) else None
    if a.dtype.kind in "uib":
        a, b = a.astype("float64"), b.astype("float64")
    differs = (a != b) & ~((a != a) & (b != b))  # noqa: PLR0124 - nan, the one that is not itself
    count = int(differs.sum())
    if not count:
        return 0.0, where, 0
    gaps = abs(b[differs] - a[differs])
    gap = float(gaps.max())
    return math.inf if math.isnan(gap) else gap, where, count


def _largest(found: Sequence[_Found | None]) -> _Found | None:
    known = [one for one in found if one is not None]
    if len(known) < len(found) or not known:
        return None if found else (0.0, "", 0)
    top = max(known, key=lambda one: (one[2] > 0, one[0]))
    return top[0], top[1], sum(one[2] for one in known)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
