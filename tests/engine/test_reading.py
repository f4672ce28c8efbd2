"""Code that only looks into a table is told from code that may change it; what is not plain to see is no reading."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cas_engine.capsules.reading import is_simple_table, only_reads

TABLE = {1: 2, 3: 4}
ROWS = [1, 2, 3]
PACKED = [TABLE]


def _hand(table: Any) -> Any:
    return table


READ: list[Callable[..., Any]] = [
    lambda x: TABLE[x],
    lambda x, y: TABLE[x + y] + 1,
    lambda x: ROWS[x % 3 : x],
    lambda x: x in TABLE,
    lambda x: [row * x for row in ROWS],
    lambda x: sum(TABLE[n] for n in x),
    lambda x: TABLE.get(x, 0),
    lambda x: len(ROWS) + x,
    lambda x: max(ROWS),
    lambda x: sorted(TABLE.items()),
    lambda x: [n for n in x if not TABLE],
]
CHANGED_OR_IN_DOUBT: list[Callable[..., Any]] = [
    lambda x: TABLE.update({x: x}),
    lambda x: TABLE.setdefault(x, 1),
    lambda x: TABLE.__setitem__(x, 1),
    lambda x: ROWS.append(x + 1),
    lambda x: ROWS.append,
    lambda x: _hand(ROWS),
    lambda x: [ROWS],
    lambda x: x(ROWS),
    lambda x: x + ROWS,
    lambda x: x[ROWS],
    lambda x: x < ROWS,
    lambda x: ROWS or x,
    lambda x: ROWS,
    lambda x: x.of(len, ROWS),
    lambda x: sum(x, ROWS),
    lambda x: [x for x in x if [ROWS for _ in x]],
]


def _stores(x: int) -> None:
    ROWS[x] = 1


def _adds(x: int) -> None:
    ROWS[0] += x


def _names(x: int) -> int:
    rows = ROWS
    return rows[x]


def _deletes(x: int) -> None:
    del TABLE[x]


@pytest.mark.parametrize("fn", READ)
def test_what_is_only_looked_into_is_only_read(fn: Any) -> None:
    assert all(only_reads(fn, table) for table in (TABLE, ROWS) if _mentions(fn, table))


@pytest.mark.parametrize("fn", [*CHANGED_OR_IN_DOUBT, _stores, _adds, _names, _deletes])
def test_what_is_changed_or_handed_on_is_not(fn: Any) -> None:
    assert not any(only_reads(fn, table) for table in (TABLE, ROWS) if _mentions(fn, table))


def test_a_function_of_the_users_that_is_called_as_one_of_pythons_is_not_taken_for_it() -> None:
    space: dict[str, Any] = {"ROWS": ROWS, "len": _hand}
    exec("def f(): return len(ROWS)", space)
    assert not only_reads(space["f"], ROWS)


def test_a_table_of_what_can_change_is_not_simple() -> None:
    assert is_simple_table(ROWS)
    assert is_simple_table(TABLE)
    assert not is_simple_table(PACKED)
    assert not is_simple_table((1, 2))


def _mentions(fn: Any, table: object) -> bool:
    name = "TABLE" if table is TABLE else "ROWS"
    codes = [fn.__code__, *(const for const in fn.__code__.co_consts if hasattr(const, "co_names"))]
    codes += [inner for code in codes[1:] for inner in code.co_consts if hasattr(inner, "co_names")]
    return any(name in code.co_names for code in codes)
