"""Tables, numbers and values are shown so that they fit, align, and can't be broken by what users compute."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from cas_run.phrases import ago, count, duration, shorten
from cas_run.preview import as_json, preview
from cas_run.table import Cell, Column, display_width, lines_of


def plain(text: str, style: str) -> str:
    return text


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0.00 s"),
        (0.314, "0.31 s"),
        (9.99, "9.99 s"),
        (9.999, "10.0 s"),
        (59.94, "59.9 s"),
        (59.97, "1 min 00 s"),
        (125, "2 min 05 s"),
        (4320, "1 h 12 min"),
        (90000, "1 d 1 h"),
    ],
)
def test_durations_are_said_as_people_say_them(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_ages_and_counts() -> None:
    assert [ago(s) for s in (1, 30, 200, 8000, 200_000)] == [
        "just now",
        "30 s ago",
        "3 min ago",
        "2 h ago",
        "2 d ago",
    ]
    assert [count(n, "hit") for n in (0, 1, 100_000)] == ["0 hits", "1 hit", "100,000 hits"]
    assert shorten("a\n  b " + "c" * 20, 10) == "a b ccccc…"


def test_columns_align_and_empty_ones_are_left_out() -> None:
    columns = (Column("name"), Column("saved", right=True), Column("seconds", right=True))
    rows: list[list[Cell]] = [["a", "", "1.00"], ["longer", "", "12.00"]]
    assert lines_of(columns, rows, paint=plain) == ["name    seconds", "a          1.00", "longer    12.00"]


def test_colour_does_not_shift_a_column() -> None:
    def paint(text: str, style: str) -> str:
        return f"<{text}>" if style else text

    lines = lines_of((Column("a"), Column("b")), [[("x", "red"), "y"]], paint=paint)
    assert lines[1] == "<x>  y"


def test_an_elastic_column_gives_way_to_the_terminal() -> None:
    columns = (Column("why", elastic=True), Column("seconds", right=True))
    lines = lines_of(columns, [["x" * 100, "1.00"]], paint=plain, width=40)
    assert lines[1] == "x" * 30 + "…" + "     1.00"
    assert lines_of(columns, [["x" * 100, "1.00"]], paint=plain)[1].startswith("x" * 100)


def test_what_can_be_spared_is_left_out_where_the_terminal_is_narrow() -> None:
    columns = (Column("id"), Column("took", spare=True), Column("ran"), Column("from", spare=True))
    rows = [["i" * 10, "t" * 10, "r" * 10, "f" * 10]]

    def titles(width: int | None) -> list[str]:
        return lines_of(columns, rows, paint=plain, width=width)[0].split()

    assert titles(None) == titles(46) == ["id", "took", "ran", "from"]
    assert titles(45) == ["id", "took", "ran"]
    assert titles(30) == titles(10) == ["id", "ran"]


def test_wide_characters_count_as_what_the_terminal_gives_them() -> None:
    assert display_width("数据") == 4
    lines = lines_of((Column("n"), Column("m")), [["数据", "1"], ["ab", "2"]], paint=plain)
    assert lines[1:] == ["数据  1", "ab    2"]


def test_a_name_can_not_steer_the_terminal() -> None:
    line = lines_of((Column("n"),), [["a\x1b[2Jb\nc"]], paint=plain)[1]
    assert line.isprintable()


def test_a_preview_is_short() -> None:
    assert preview("hello") == "hello"
    assert preview({"score": 0.5}) == "{'score': 0.5}"
    assert len(preview("x" * 1000)) == 100
    assert preview("\n".join("abc" for _ in range(50))).splitlines()[-1] == "… 30 more lines"
    assert preview(list(range(20_000))) == "<list of 20,000 items>"


def test_a_repr_that_fails_fails_nothing() -> None:
    class Rude:
        def __repr__(self) -> str:
            raise RuntimeError

    assert "whose repr fails" in preview(Rude())
    assert "whose repr fails" in preview([Rude()])


@pytest.mark.parametrize(
    "value",
    [None, True, 3, 0.5, "text", [1, [2]], {"a": {"b": [None]}}, {}, []],
    ids=repr,
)
def test_what_json_holds_comes_as_a_value(value: object) -> None:
    found = as_json(value)
    assert found["value"] == value
    assert json.loads(json.dumps(found))["value"] == value


def test_a_tuple_comes_as_a_list_and_the_type_tells() -> None:
    assert as_json((1, 2)) == {"type": "tuple", "preview": "(1, 2)", "value": [1, 2]}


def test_numpy_scalars_come_as_numbers() -> None:
    assert as_json(np.float64(0.5))["value"] == 0.5
    assert as_json(np.int32(3)) == {"type": "numpy.int32", "preview": "np.int32(3)", "value": 3}


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, {1: 2}, {1, 2}, b"x", 1j, [object], np.zeros(3), list(range(200_000)), 10**5000],
    ids=lambda v: type(v).__name__,
)
def test_what_json_would_lose_has_no_value_and_a_preview(value: object) -> None:
    found = as_json(value)
    assert "value" not in found
    assert found["preview"]
    json.dumps(found, allow_nan=False)


def test_what_contains_itself_is_no_endless_loop() -> None:
    knot: list[object] = []
    knot.append(knot)
    assert "value" not in as_json(knot)
