"""A value in a few lines for people, and as JSON where it is that, whatever a user's __repr__ does."""

from __future__ import annotations

import math

LINES, COLUMNS = 20, 100
BIG = 10_000  # items: beyond this not even a shortened repr is asked of a builtin container
JSON_ITEMS = 100_000
MOST_BITS = 10_000


def preview(value: object, *, lines: int = LINES, columns: int = COLUMNS) -> str:
    """At most `lines` lines of `columns`; texts as they are, containers laid out, the rest by its repr."""
    if isinstance(value, str):
        text = value
    elif isinstance(value, (list, tuple, set, frozenset, dict)):
        text = _container(value, columns)
    else:
        text = _repr(value)
    rows = text.splitlines() or [""]
    cut = [row if len(row) <= columns else row[: columns - 1] + "…" for row in rows[:lines]]
    if len(rows) > lines:
        cut.append(f"… {len(rows) - lines:,} more lines")
    return "\n".join(cut)


def type_name(value: object) -> str:
    """`float`, `numpy.ndarray`: how a reader finds out what it is."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def as_json(value: object) -> dict[str, object]:
    """Type and preview; `value` too where JSON holds it without loss (a tuple as a list: the type tells)."""
    found: dict[str, object] = {"type": type_name(value), "preview": preview(value)}
    try:
        plain = _plain(value, [JSON_ITEMS])
    except RecursionError:  # it contains itself
        plain = _NOT_JSON
    if plain is not _NOT_JSON:
        found["value"] = plain
    return found


_NOT_JSON = object()


def _plain(value: object, budget: list[int]) -> object:
    budget[0] -= 1
    if budget[0] < 0:
        return _NOT_JSON
    if value is None or type(value) in (bool, str):
        return value
    if type(value) is int:  # Python itself refuses to write and to read longer ones
        return value if value.bit_length() < MOST_BITS else _NOT_JSON
    if isinstance(value, float):  # numpy's float64 is one
        return float(value) if math.isfinite(value) else _NOT_JSON
    if type(value).__module__ == "numpy" and hasattr(value, "item") and getattr(value, "shape", None) == ():
        return _plain(value.item(), budget)
    if type(value) in (list, tuple):
        items = [_plain(item, budget) for item in value]  # type: ignore[attr-defined]
        return _NOT_JSON if any(item is _NOT_JSON for item in items) else items
    if type(value) is dict and all(type(key) is str for key in value):
        named = {key: _plain(item, budget) for key, item in value.items()}
        return _NOT_JSON if any(item is _NOT_JSON for item in named.values()) else named
    return _NOT_JSON


def _container(
    value: list[object] | tuple[object, ...] | set[object] | frozenset[object] | dict[object, object],
    columns: int,
) -> str:
    if len(value) > BIG:
        return f"<{type_name(value)} of {len(value):,} items>"
    import pprint

    try:
        return pprint.pformat(value, width=columns, compact=True, sort_dicts=False)
    except Exception:  # noqa: BLE001 - somebody's __repr__ or __lt__
        return _repr(value)


def _repr(value: object) -> str:
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - a user's __repr__ may do anything
        return f"<{type_name(value)}, whose repr fails: {type(error).__name__}>"
