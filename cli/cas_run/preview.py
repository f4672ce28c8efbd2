"""A value in a few lines for people, and as JSON where it is that, whatever a user's __repr__ does."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from cas_engine.bookkeeping.previews import type_name
from cas_engine.plans.plain import NOT_JSON, plain
from cas_run.elsewhere import Valued

if TYPE_CHECKING:
    from cas_run.shapes import Dispatch, Node

LINES, COLUMNS = 20, 100
BIG = 10_000  # items: beyond this not even a shortened repr is asked of a builtin container
JSON_ITEMS = 100_000


def told_of(one: Dispatch | Node) -> dict[str, object]:
    """The result of a dispatch or node for `--json`. Raises what loading it does."""
    return one.told() if isinstance(one, Valued) else as_json(one.result)


def preview_of(one: Dispatch | Node, *, whole: bool = False) -> str:
    """The result for people; with `whole` all of it, where it is here."""
    size = {"lines": sys.maxsize, "columns": sys.maxsize} if whole else {}
    if not isinstance(one, Valued):
        return preview(one.result, **size)
    told = one.told()
    return one.text(told, lambda value: preview(value, **size)) if whole else str(told.get("preview"))


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


def as_json(value: object) -> dict[str, object]:
    """Type and preview; `value` too where JSON holds it without loss (a tuple as a list: the type tells)."""
    found: dict[str, object] = {"type": type_name(value), "preview": preview(value)}
    if (held := plain(value, JSON_ITEMS)) is not NOT_JSON:
        found["value"] = held
    return found


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
